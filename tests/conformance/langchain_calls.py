"""Calls of a LangChain chat model, and what is compared of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from .stub import Stub


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Product(BaseModel):
    """A product of two numbers."""

    product: int
    unit: str


_VOLATILE = ("bestroute", "ResponseMetadata", "created_at", "total_duration")
"""What the pool adds, and what two calls alone do not share: times of day, headers."""


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a message in its parts, an object, or an error."""

    content: Any = None
    tool_calls: Any = None
    additional: Any = None
    metadata: Any = None
    usage: Any = None
    id: Any = None
    value: Any = None
    error: str | None = None
    """Of which class; Amazon's client makes its own classes anew, so that the name has to do."""
    bodies: Any = None
    """Of the requests that were sent."""

    @classmethod
    def of(cls, call: Callable[[], Any], stub: Stub) -> Outcome:
        """Make a call."""
        try:
            found = call()
        except Exception as error:
            return cls(error=f"{type(error).__module__}.{type(error).__qualname__}", bodies=_bodies(stub))
        if not isinstance(found, AIMessage):
            return cls(value=found, bodies=_bodies(stub))
        return cls(
            found.content,
            [{k: v for k, v in call.items() if k != "id" or not _is_random(v)} for call in found.tool_calls],
            found.additional_kwargs,
            {k: v for k, v in found.response_metadata.items() if k not in _VOLATILE},
            found.usage_metadata,
            None if _is_random(found.id) else found.id,
            bodies=_bodies(stub),
        )


def _bodies(stub: Stub) -> list[Any]:
    return [(request.path, request.body) for request in stub.requests]


def _is_random(id_: Any) -> bool:
    """Whether LangChain or the integration made an id up."""
    return id_ is None or (str(id_).startswith(("run-", "lc_")) or len(str(id_)) >= 32)


_LOOP = asyncio.new_event_loop()
"""One for all: some classes share connections between their objects, and those belong to one loop."""
HUMAN = [HumanMessage("What is 12 times 7?")]


def _joined(chunks: list[Any]) -> Any:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


async def _acollected(model: Any, messages: Any) -> Any:
    return _joined([chunk async for chunk in model.astream(messages)])


def invoke(model: BaseChatModel) -> Any:
    return model.invoke(HUMAN)


def ainvoke(model: BaseChatModel) -> Any:
    return _LOOP.run_until_complete(model.ainvoke(HUMAN))


def stream(model: BaseChatModel) -> Any:
    return _joined(list(model.stream(HUMAN)))


def astream(model: BaseChatModel) -> Any:
    return _LOOP.run_until_complete(_acollected(model, HUMAN))


def tool_call(model: BaseChatModel) -> Any:
    return model.bind_tools([multiply]).invoke(HUMAN)


def streamed_tool_call(model: BaseChatModel) -> Any:
    return _joined(list(model.bind_tools([multiply]).stream(HUMAN)))


def tool_round(model: BaseChatModel) -> Any:
    bound = model.bind_tools([multiply])
    called = bound.invoke(HUMAN)
    return bound.invoke([*HUMAN, called, ToolMessage("84", tool_call_id=called.tool_calls[0]["id"])])


def structured(model: BaseChatModel) -> Any:
    return model.with_structured_output(Product).invoke(HUMAN)


def by_tool(model: BaseChatModel) -> Any:
    return model.with_structured_output(Product, method="function_calling").invoke(HUMAN)
