"""Calls of a LlamaIndex LLM, and what is compared of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock
from llama_index.core.llms import LLM
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from bestroute.types.usage import Usage
from llamaindex_bestroute.responses import usage_of

from .stub import Stub


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Product(BaseModel):
    """A product of two numbers."""

    product: int
    unit: str


TOOLS = [FunctionTool.from_defaults(multiply)]
PROMPT = PromptTemplate("What is {a} times {b}?")
QUESTION = "What is 12 times 7?"
HUMAN = [ChatMessage(role="user", content=QUESTION)]


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a response in its parts, an object, or an error."""

    content: Any = None
    blocks: Any = None
    tool_calls: Any = None
    raw: Any = None
    """The names under which a reply's parts are read, and its model."""
    usage: Usage | None = None
    value: Any = None
    error: type[BaseException] | None = None
    bodies: Any = None
    """Of the requests that were sent."""

    @classmethod
    def of(cls, call: Callable[[LLM], Any], llm: LLM, stub: Stub) -> Outcome:
        """Make a call."""
        try:
            found = call(llm)
        except Exception as error:
            return cls(error=type(error), bodies=_bodies(stub))
        if not isinstance(found, ChatResponse | CompletionResponse):
            return cls(value=found, bodies=_bodies(stub))
        if isinstance(found, CompletionResponse):
            return cls(content=found.text, raw=_parts(found.raw), usage=usage_of(found), bodies=_bodies(stub))
        return cls(
            content=found.message.content or "",
            blocks=[block.model_dump() for block in found.message.blocks if _holds_more(block)],
            tool_calls=_tool_calls(llm, found),
            raw=_parts(found.raw),
            usage=usage_of(found),
            bodies=_bodies(stub),
        )


def _bodies(stub: Stub) -> list[Any]:
    return [
        (request.path, {k: v for k, v in request.body.items() if k != "stream_options"}) for request in stub.requests
    ]


def _parts(raw: Any) -> Any:
    """Return what a reply that is an object, or a dict, is read by."""
    names = raw.keys() if isinstance(raw, dict) else dict(raw) if isinstance(raw, BaseModel) else ()
    return {name for name in names if name != "usage"}, getattr(raw, "model", None)


def _holds_more(block: Any) -> bool:
    return not isinstance(block, TextBlock) and block.block_type != "tool_call"


def _tool_calls(llm: Any, response: ChatResponse) -> Any:
    try:
        found = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    except Exception:  # of an integration that finds none
        return []
    return [(call.tool_name, call.tool_kwargs) for call in found]


async def _alast(pieces: Any) -> Any:
    last = None
    async for piece in await pieces:
        last = piece
    return last


def chat(llm: Any) -> Any:
    return llm.chat(HUMAN)


def achat(llm: Any) -> Any:
    return asyncio.run(llm.achat(HUMAN))


def complete(llm: Any) -> Any:
    return llm.complete(QUESTION)


def acomplete(llm: Any) -> Any:
    return asyncio.run(llm.acomplete(QUESTION))


def stream_chat(llm: Any) -> Any:
    return list(llm.stream_chat(HUMAN))[-1]


def astream_chat(llm: Any) -> Any:
    return asyncio.run(_alast(llm.astream_chat(HUMAN)))


def stream_complete(llm: Any) -> Any:
    return list(llm.stream_complete(QUESTION))[-1]


def astream_complete(llm: Any) -> Any:
    return asyncio.run(_alast(llm.astream_complete(QUESTION)))


def tool_call(llm: Any) -> Any:
    return llm.chat_with_tools(TOOLS, chat_history=list(HUMAN))


def streamed_tool_call(llm: Any) -> Any:
    return list(llm.stream_chat_with_tools(TOOLS, chat_history=list(HUMAN)))[-1]


def tool_round(llm: Any) -> Any:
    called = llm.chat_with_tools(TOOLS, chat_history=list(HUMAN))
    (call,) = llm.get_tool_calls_from_response(called)
    about = {"tool_call_id": call.tool_id, "name": call.tool_name}
    result = ChatMessage(role="tool", content=json.dumps(84), additional_kwargs=about)
    return llm.chat_with_tools(TOOLS, chat_history=[*HUMAN, called.message, result])


def structured(llm: Any) -> Any:
    return llm.structured_predict(Product, PROMPT, a=12, b=7)


def astructured(llm: Any) -> Any:
    return asyncio.run(llm.astructured_predict(Product, PROMPT, a=12, b=7))


def streamed_structured(llm: Any) -> Any:
    return list(llm.stream_structured_predict(Product, PROMPT, a=12, b=7))[-1].model_dump()
