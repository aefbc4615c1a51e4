"""Tools in the prompt, as a member of the pool: a chat model is asked in words and answers with tool calls."""

import asyncio
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from bestroute import Price
from langchain_bestroute import BestRouteChat, ToolsInPrompt

CALL = '[{"name": "add", "arguments": {"a": 2}}]'


@tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


class Scripted(BaseChatModel):
    """Answers with a text, or calls ``add`` where it is offered tools; keeps what it was sent."""

    text: str = CALL
    heard: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools, **kwargs: Any):
        return self.bind(tools=tools)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs: Any) -> ChatResult:
        self.heard.append(messages)
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        if kwargs.get("tools"):
            call = {"name": "add", "args": {"a": 2}, "id": "native", "type": "tool_call"}
            message = AIMessage("", tool_calls=[call], usage_metadata=usage)
        else:
            message = AIMessage(self.text, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


def pool(small: Scripted, **options: Any) -> BestRouteChat:
    models = {"small": small, "small-in-prompt": ToolsInPrompt(small), "large": Scripted(text="reference", heard=[])}
    prices = {"small": Price(1, 1), "small-in-prompt": Price(1, 1), "large": Price(50, 50)}
    return BestRouteChat(models=models, prices=prices, **options)


def test_a_member_with_tools_in_its_prompt_answers_with_tool_calls_and_streams_them_whole():
    small = Scripted(heard=[])
    chat = pool(small).bind_tools([add])
    reply = chat.invoke("What is 2 + 1?", model="small-in-prompt")
    assert [(c["name"], c["args"]) for c in reply.tool_calls] == [("add", {"a": 2})]
    assert "Add two numbers." in small.heard[0][0].text
    chunks = list(chat.stream("What is 2 + 1?", model="small-in-prompt"))
    assert [c["name"] for chunk in chunks for c in chunk.tool_calls] == ["add"]
    again = asyncio.run(chat.ainvoke("What is 2 + 1?", model="small-in-prompt"))
    assert again.tool_calls[0]["args"] == {"a": 2}


def test_two_modes_of_one_model_answer_by_default_and_the_reference_is_not_asked():
    reply = pool(Scripted(heard=[])).bind_tools([add]).invoke("What is 2 + 1?")
    samples = reply.response_metadata["bestroute"]["samples"]
    assert {s["model"] for s in samples} == {"small", "small-in-prompt"}
    assert reply.tool_calls[0]["name"] == "add"


def test_a_conversation_with_tool_turns_is_sent_in_words():
    small = Scripted(text="It is 3.", heard=[])
    history = [
        HumanMessage("What is 2 + 1?"),
        AIMessage("", tool_calls=[{"name": "add", "args": {"a": 2}, "id": "1", "type": "tool_call"}]),
        ToolMessage("3", tool_call_id="1", name="add"),
    ]
    reply = pool(small).bind_tools([add]).invoke(history, model="small-in-prompt")
    assert (reply.text, reply.tool_calls) == ("It is 3.", [])
    sent = small.heard[0]
    assert not any(isinstance(m, ToolMessage) or getattr(m, "tool_calls", None) for m in sent)
    assert "returned: 3" in sent[-1].text
