"""Tool calls that an integration notes beside the message's blocks: they are the member's calls all the same."""

import json

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata, ToolCallBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import FunctionTool

from bestroute import Price
from llamaindex_bestroute import BestRouteLLM

WHOLE = '{"a": 1, "b": 2}'


def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


TOOLS = [FunctionTool.from_defaults(add)]


class Noting(FunctionCallingLLM):
    """Calls a tool once, and notes the call in ``additional_kwargs`` alone, in OpenAI's form."""

    arguments: list
    received: list

    @property
    def metadata(self):
        return LLMMetadata(is_chat_model=True, is_function_calling_model=True, model_name="noting")

    def _answer(self, messages, arguments, tools):
        self.received.append(list(messages))
        if messages[-1].role == "tool" or not tools:
            return ChatResponse(message=ChatMessage(role="assistant", content="3"))
        call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": arguments}}
        noted = {"tool_calls": [call]}
        return ChatResponse(message=ChatMessage(role="assistant", content="", additional_kwargs=noted))

    def chat(self, messages, tools=(), **kwargs):
        return self._answer(messages, self.arguments[-1], tools)

    async def achat(self, messages, **kwargs):
        return self.chat(messages, **kwargs)

    def stream_chat(self, messages, tools=(), **kwargs):
        for arguments in self.arguments:
            yield self._answer(messages, arguments, tools)

    async def astream_chat(self, messages, **kwargs):
        async def pieces():
            for piece in self.stream_chat(messages, **kwargs):
                yield piece

        return pieces()

    def complete(self, *args, **kwargs):
        raise NotImplementedError

    acomplete = stream_complete = astream_complete = complete

    def _prepare_chat_with_tools(self, tools, user_msg=None, chat_history=None, **kwargs):
        return {"messages": [*(chat_history or [])], "tools": [tool.metadata.to_openai_tool() for tool in tools]}

    def get_tool_calls_from_response(self, response, error_on_no_tool_call=True, **kwargs):
        return [
            ToolSelection(
                tool_id=call["id"],
                tool_name=call["function"]["name"],
                tool_kwargs=json.loads(call["function"]["arguments"]),
            )
            for call in response.message.additional_kwargs["tool_calls"]
        ]


@pytest.fixture
def noting():
    """Makes a pool of one such member."""

    def build(*arguments, n=1):
        member = Noting(arguments=list(arguments or [WHOLE]), received=[])
        return member, BestRouteLLM(
            models={"a": member},
            prices={"a": Price(1, 2)},
            router=lambda query: ("a", n),
            reward_model=lambda query, texts: [float(len(text)) for text in texts],
        )

    return build


def history():
    return [ChatMessage(role="user", content="1 + 2?")]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_calls_the_tool_that_the_member_noted(noting, n, streaming):
    _, llm = noting(n=n)
    result = await FunctionAgent(tools=TOOLS, llm=llm, streaming=streaming).run("1 + 2?")
    assert [(call.tool_name, call.tool_kwargs) for call in result.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert str(result) == "3"


def test_a_noted_call_is_a_block_of_the_answer_and_is_read_by_the_reward(noting):
    _, llm = noting(n=2)
    message = llm.chat_with_tools(TOOLS, chat_history=history()).message
    (block,) = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    assert (block.tool_call_id, block.tool_name, block.tool_kwargs) == ("c1", "add", {"a": 1, "b": 2})
    rewards = message.additional_kwargs["bestroute"]["rewards"]
    assert rewards == [float(len('add({"a": 1, "b": 2})'))] * 2


def test_a_member_is_sent_its_own_turn_as_it_notes_calls(noting):
    member, llm = noting()
    called = llm.chat_with_tools(TOOLS, chat_history=history()).message
    answer = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "c1"})
    llm.chat([*history(), called, answer])
    turn = member.received[-1][1]
    assert not any(isinstance(block, ToolCallBlock) for block in turn.blocks)
    assert turn.additional_kwargs["tool_calls"][0]["function"]["name"] == "add"


def test_anothers_call_is_noted_for_a_member_that_reads_no_blocks(noting):
    member, llm = noting()
    block = ToolCallBlock(tool_call_id="call_1", tool_name="add", tool_kwargs={"a": 1, "b": 2})
    about = {"bestroute": {"model": "another"}}
    called = ChatMessage(role="assistant", blocks=[block], additional_kwargs=about)
    answer = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "call_1"})
    llm.chat([*history(), called, answer], model="a")
    turn, result = member.received[-1][1:]
    (noted,) = turn.additional_kwargs["tool_calls"]
    assert noted["id"] == result.additional_kwargs["tool_call_id"]
    assert json.loads(noted["function"]["arguments"]) == {"a": 1, "b": 2}


def test_arguments_that_do_not_parse_are_a_flaw_and_not_an_answer_without_calls(noting):
    _, llm = noting('{"a": 1,')
    samples = llm.chat_with_tools(TOOLS, chat_history=history()).message.additional_kwargs["bestroute"]["samples"]
    assert "do not parse" in llm.ledger.rows()[0]["error"]
    assert len(samples) == 1


def test_half_of_a_call_is_streamed_as_far_as_it_is_there(noting):
    _, llm = noting('{"a": 1', WHOLE)
    read = [
        llm.get_tool_calls_from_response(piece)[0].tool_kwargs
        for piece in llm.stream_chat_with_tools(TOOLS, chat_history=history())
    ]
    assert read[0] == {"a": 1}
    assert read[-1] == {"a": 1, "b": 2}
