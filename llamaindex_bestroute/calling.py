"""One call of a member: its quiet copy, and the call's parameters in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from bestroute.query import Query
from bestroute.selection import Demand, read_demand
from llamaindex_bestroute import tools
from llamaindex_bestroute.dialects import for_provider, stream_options, variant
from llamaindex_bestroute.messages import for_member

_TIMEOUTS = ("timeout", "request_timeout")
_OWN_FIELDS = ("temperature", "max_tokens")
"""Settings for which members' fields win over call arguments, so that they have to be set as fields."""


def quiet(member: LLM, timeout: float | None = None) -> LLM:
    """Return a copy of a member that tells no callback and does not retry by itself.

    Clients that the member has made already are shared, with their retries off.
    """
    known = type(member).model_fields
    nobody = CallbackManager([])
    nobody.handlers = []  # the constructor puts in those of Settings.callback_manager
    update: dict[str, Any] = {"callback_manager": nobody}
    options: dict[str, Any] = {"max_retries": 0}
    if "max_retries" in known:
        update["max_retries"] = 0
    if timeout is not None:
        update |= {name: timeout for name in _TIMEOUTS if name in known}
        options["timeout"] = timeout
    copied = member.model_copy(update=update)
    private = copied.__pydantic_private__ or {}
    for name, value in private.items():
        if hasattr(value, "max_retries") and callable(getattr(value, "with_options", None)):
            private[name] = value.with_options(**options)
    return copied


class Call:
    """What one call of a member is made of: messages and parameters in the member's own words.

    Args:
        name: Pool name of the member.
        member: The quiet copy that is called.
        query: With the caller's messages.
        params: The call's parameters.
        n: Choices to ask for.
        stream: Whether it is to stream.
    """

    def __init__(
        self,
        name: str,
        member: LLM,
        query: Query,
        params: Mapping[str, Any],
        n: int,
        *,
        stream: bool = False,
    ) -> None:
        """Say a query to a member; nothing is sent."""
        asked = dict(params)
        self.n = n
        formatted = getattr(query.messages, "is_formatted", None)
        settings = {k: asked.pop(k) for k in _OWN_FIELDS if k in asked and k in type(member).model_fields}
        about_tools = {name: asked.pop(name) for name in tools.TOOL_ARGUMENTS if name in asked}
        self.member, arguments = for_provider(variant(member, settings), asked)
        self.max_tokens: int | None = getattr(self.member, "max_tokens", None) or asked.get("max_tokens")
        self.demand = _demand(query, about_tools, asked)
        self.messages = for_member(query.messages or (), name)
        self.prompt: str | None = None
        if formatted is not None and not query.tools and not member.metadata.is_chat_model:
            text = self.messages[-1].content or ""
            self.prompt = text if formatted else member.completion_to_prompt(text)  # type: ignore[misc]
        if query.tools and isinstance(member, FunctionCallingLLM):
            history = list(self.messages)
            arguments = {**tools.offered_to(member, history, query.tools, about_tools), **arguments}
        if n > 1:
            arguments["n"] = n
        if stream:
            arguments = {**stream_options(member), **arguments}
        self.arguments = arguments


def _demand(query: Query, about_tools: Mapping[str, Any], asked: Mapping[str, Any]) -> Demand:
    """Return what the request asks of the form of its answer."""
    choice = about_tools.get("tool_choice") or ("required" if about_tools.get("tool_required") else None)
    wanted = asked.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    schema = (wanted.get("json_schema") or {}).get("schema") if isinstance(wanted, Mapping) else None
    return read_demand(query.tools, choice, is_json=kind in ("json_object", "json_schema"), schema=schema)
