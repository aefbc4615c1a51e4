"""One call of a member: its quiet copy, and the call's parameters in its own words."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Protocol

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from bestroute._utils.text import encodable
from bestroute.adapters import client_retries
from bestroute.selection import Demand, read_demand
from bestroute.types.query import Query
from bestroute.types.sample import Delta
from llamaindex_bestroute import tools
from llamaindex_bestroute.events import Muted
from llamaindex_bestroute.methods import METHODS, methods_for
from llamaindex_bestroute.providers import arguments_without_retries, constructed, for_provider, variant
from llamaindex_bestroute.responses import as_chat, completion_response
from llamaindex_bestroute.structured import Outcome, Structure

_TIMEOUTS = ("timeout", "request_timeout")
_OWN_FIELDS = ("temperature", "max_tokens")
"""Settings for which members' fields win over call arguments, so that they have to be set as fields."""


def quiet(member: LLM, timeout: float | None = None, settings: Mapping[str, Any] | None = None) -> LLM:
    """Return a copy of a member that tells no callback and does not retry by itself.

    What the member keeps beside its fields is the copy's too. Clients that it has made already are shared, with their
    retries off; what its class caches is made anew.

    Args:
        member: The caller's object; it is not changed.
        timeout: Seconds for one request; ``None`` leaves the member's own.
        settings: The router's own settings, which win over the member's.
    """
    known = type(member).model_fields
    update: dict[str, Any] = {"callback_manager": Muted()}
    options: dict[str, Any] = {}
    if "max_retries" in known:
        update["max_retries"] = 0
    if timeout is not None:
        update |= {name: timeout for name in _TIMEOUTS if name in known}
        options["timeout"] = timeout
    own = getattr(member, "additional_kwargs", None) or {}
    arguments = {**own, **arguments_without_retries(member)}
    arguments.pop("n", None)  # how many samples is the router's to say
    if arguments != own:
        update["additional_kwargs"] = arguments
    if "n" in known:
        update["n"] = 1
    wanted = {name: value for name, value in (settings or {}).items() if name in known}
    copied = constructed(member, wanted).model_copy(update=update)
    for name in [name for name in copied.__dict__ if name not in known]:
        if isinstance(inspect.getattr_static(type(member), name, None), functools.cached_property):
            del copied.__dict__[name]
    for kept in (copied.__dict__, copied.__pydantic_private__ or {}):
        for name, value in kept.items():
            kept[name] = client_retries.without_retries(value, options)
    return copied


class Collected(Protocol):
    """What notes the pieces of a stream."""

    def add(self, response: ChatResponse) -> Iterator[Delta]:
        """Note a piece; yield it as it is to be read."""
        ...

    def end(self) -> None:
        """Look at a stream that brings no more."""
        ...


class Call:
    """What one call of a member is made of: messages and parameters in the member's own words.

    Args:
        name: Pool name of the member.
        member: The quiet copy that is called.
        query: With the caller's messages.
        params: The call's parameters.
        n: Choices to ask for.
        settings: The router's own settings, which the copy has been made with.
        refused: Options that the member's server is known to refuse; it is added to.
        calls_in_blocks: Whether the member's integration keeps tool calls in blocks.
    """

    def __init__(
        self,
        name: str,
        member: LLM,
        query: Query,
        params: Mapping[str, Any],
        n: int,
        *,
        settings: Mapping[str, Any],
        refused: set[str],
        calls_in_blocks: bool,
    ) -> None:
        """Say a query to a member; nothing is sent."""
        given = {k: v for k, v in params.items() if k not in settings or settings[k] != v}
        self.n, self.prompt_tokens = n, query.prompt_tokens
        formatted = getattr(query.messages, "is_formatted", None)
        fields = {k: given.pop(k) for k in _OWN_FIELDS if k in given and k in type(member).model_fields}
        about_tools = {name: given.pop(name) for name in tools.TOOL_ARGUMENTS if name in given}
        self.member, arguments = for_provider(variant(member, fields), given)
        self.max_tokens: int | None = getattr(self.member, "max_tokens", None) or given.get("max_tokens")
        self.demand = _demand(query, about_tools, given)
        self.messages = list(query.messages or ())
        self.structure: Structure | None = getattr(query.messages, "structure", None)
        self.prompt: str | None = None
        self.is_formatted = bool(formatted)
        if formatted is not None and not query.tools:
            self.prompt = encodable(self.messages[-1].content or "")
        if query.tools and isinstance(member, FunctionCallingLLM):
            history = list(self.messages)
            arguments = {**tools.offered_to(member, history, query.tools, about_tools), **arguments}
        self.arguments = arguments
        self.methods = methods_for(self.member, name, n, refused, calls_in_blocks=calls_in_blocks)

    def pieces(self) -> Iterator[ChatResponse]:
        """Stream what is asked."""
        if self.prompt is None:
            yield from self.methods.stream_chat(self.messages, **self.arguments)
        else:
            for piece in self.methods.stream_complete(self.prompt, self.is_formatted, **self.arguments):
                yield as_chat(piece)

    async def apieces(self) -> AsyncIterator[ChatResponse]:
        """Stream what is asked without blocking the loop."""
        if self.prompt is None:
            async for response in await self.methods.astream_chat(self.messages, **self.arguments):
                yield response
        else:
            async for piece in await self.methods.astream_complete(self.prompt, self.is_formatted, **self.arguments):
                yield as_chat(piece)

    def structured_member(self, collected: Collected | None = None) -> LLM:
        """Return the member whose ``structured_predict`` calls our methods; a stream's pieces are noted."""
        assert self.structure is not None
        methods = {name: getattr(self.methods, name) for name in METHODS}
        if collected is not None:
            methods |= {name: _noting(methods[name], collected) for name in ("stream_chat", "stream_complete")}
            methods |= {name: _anoting(methods[name], collected) for name in ("astream_chat", "astream_complete")}
        return self.structure.member(self.member, methods)

    def structure_arguments(self) -> dict[str, Any]:
        """Return the arguments of the member's ``structured_predict``."""
        assert self.structure is not None
        return self.structure.arguments(self.arguments)

    def read_object(self, reply: ChatResponse) -> Outcome:
        """Let the member read an object from a reply that is there; nothing is sent."""
        assert self.structure is not None
        methods = {"chat": lambda *_, **__: reply, "complete": lambda *_, **__: completion_response(reply)}
        try:
            return Outcome(self.structure.member(self.member, methods).structured_predict(**self.structure_arguments()))
        except Exception as error:  # whatever the member, or pydantic, says of the reply
            return Outcome(error=error)


def _noting(method: Callable[..., Iterator[Any]], collected: Collected) -> Callable[..., Iterator[Any]]:
    def noted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for piece in method(*args, **kwargs):
            yield from _as_read(piece, collected)
        collected.end()

    return noted


def _anoting(method: Callable[..., Any], collected: Collected) -> Callable[..., Any]:
    async def noted(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async def pieces() -> AsyncIterator[Any]:
            async for piece in await method(*args, **kwargs):
                for read in _as_read(piece, collected):
                    yield read
            collected.end()

        return pieces()

    return noted


def _as_read(piece: ChatResponse | CompletionResponse, collected: Collected) -> Iterator[Any]:
    """Note a piece; yield it as the member is to read it."""
    if isinstance(piece, ChatResponse):
        for delta in collected.add(piece):
            if delta.payload is not None:
                yield delta.payload.response
    else:
        for delta in collected.add(as_chat(piece)):
            if delta.payload is not None:
                yield piece


def _demand(query: Query, about_tools: Mapping[str, Any], asked: Mapping[str, Any]) -> Demand:
    """Return what the request asks of the form of its answer."""
    choice = about_tools.get("tool_choice") or ("required" if about_tools.get("tool_required") else None)
    wanted = asked.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    schema = (wanted.get("json_schema") or {}).get("schema") if isinstance(wanted, Mapping) else None
    return read_demand(query.tools, choice, is_json=kind in ("json_object", "json_schema"), schema=schema)
