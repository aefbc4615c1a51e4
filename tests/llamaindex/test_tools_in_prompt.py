"""Tools in the prompt, as a member of the pool: an LLM is asked in words and answers with tool calls."""

import asyncio
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.tools import FunctionTool

from bestroute import Price
from bestroute.testing import FakeGenerator
from llamaindex_bestroute import BestRouteLLM, ToolsInPrompt

CALL = '[{"name": "add", "arguments": {"a": 2}}]'


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


class Scripted(CustomLLM):
    """Answers a chat with a text; has no tools of its own."""

    text: str = CALL
    heard: list[Any]

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="scripted", is_chat_model=True)

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        self.heard.append(list(messages))
        return ChatResponse(message=ChatMessage(role="assistant", content=self.text))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self.text)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield CompletionResponse(text=self.text, delta=self.text)


def pool(small: Any, other: Any) -> BestRouteLLM:
    members = {"small": small, "other": other, "large": Scripted(text="reference", heard=[])}
    models = {name: ToolsInPrompt(member) for name, member in members.items()}
    return BestRouteLLM(models=models, prices={"small": Price(1, 1), "other": Price(1, 1), "large": Price(50, 50)})


def test_a_member_with_tools_in_its_prompt_answers_with_tool_calls():
    small = Scripted(heard=[])
    llm = pool(small, Scripted(heard=[]))
    tools = [FunctionTool.from_defaults(add)]
    response = llm.chat_with_tools(tools, user_msg="What is 2 + 1?", model="small")
    calls = llm.get_tool_calls_from_response(response)
    assert [(c.tool_name, c.tool_kwargs) for c in calls] == [("add", {"a": 2})]
    assert "Add two numbers." in small.heard[0][0].content
    again = asyncio.run(llm.achat_with_tools(tools, user_msg="What is 2 + 1?", model="small"))
    assert llm.get_tool_calls_from_response(again)[0].tool_name == "add"


def test_two_members_that_make_the_same_call_answer_by_default():
    llm = pool(FakeGenerator([CALL]), FakeGenerator(['[{"name": "add", "arguments": {"a": 2, "b": 1}}]']))
    response = llm.chat_with_tools([FunctionTool.from_defaults(add)], user_msg="What is 2 + 1?")
    samples = response.message.additional_kwargs["bestroute"]["samples"]
    assert {s["model"] for s in samples} == {"small", "other"}
    assert llm.get_tool_calls_from_response(response)[0].tool_name == "add"
