"""Tools: plain JSON on the way through, each member's own format where it is called.

The JSON still knows what it was made from: traces and caches see the JSON, a member the user's own object.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import (
    convert_to_openai_function,
    convert_to_openai_tool,
)

from bestroute.errors import ConfigError
from bestroute.selection import Call
from bestroute.types.query import Query
from bestroute.types.sample import Sample

_OF_A_FUNCTION = ("name", "title", "properties", "function", "toolSpec")
"""One of them is in every dict that describes a function, whoever's format it is."""
EXTRAS = "extras"
"""What a ``BaseTool`` is told for single providers (``cache_control``, ``defer_loading``), beside its function."""


def plain_tool(tool: Any) -> dict[str, Any]:
    """Return a tool as plain JSON in OpenAI's form, which carries the tool; a provider's own tool stays as it is."""
    if isinstance(tool, Carried):
        return tool
    if isinstance(tool, Mapping) and _is_providers_own(tool):
        return dict(tool)
    plain, extras = convert_to_openai_tool(tool), getattr(tool, "extras", None)
    return Carried({**plain, EXTRAS: dict(extras)} if extras and isinstance(tool, BaseTool) else plain, tool)


def _is_providers_own(tool: Mapping[str, Any]) -> bool:
    """Whether a dict is no function but a tool that a provider has built in (Google's: ``{"google_search": {}}``)."""
    if "type" in tool:
        return tool["type"] not in ("function", "object")
    return tool.keys().isdisjoint(_OF_A_FUNCTION)


def plain_choice(choice: Any) -> Any:
    """Return a tool choice in the words that every member understands: ``"any"``, ``"auto"``, a tool's name.

    Example:
        >>> plain_choice("required"), plain_choice({"type": "function", "function": {"name": "add"}})
        ('any', 'add')
    """
    if choice in ("required", True):
        return "any"
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        if choice.get("type") in ("function", "tool") and isinstance(function, Mapping) and "name" in function:
            return function["name"]
        if choice.get("type") in ("any", "auto"):
            return choice["type"]
    return choice


def bound_tools(
    member: BaseChatModel,
    tools: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    *,
    beside_schema: bool = False,
    schema_strict: bool | None = None,
) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the model to call and the arguments by which it is offered tools, in its own format.

    Args:
        member: The chat model.
        tools: As ``plain_tool`` makes them.
        options: What was asked about them: ``tool_choice``, ``parallel_tool_calls``, ``strict``, ``response_format``.
        beside_schema: The same call asks for JSON of a schema.
        schema_strict: What was said of the schema's enforcement, which OpenAI's classes take for the tools' too.

    Raises:
        ConfigError: If the member's ``bind_tools`` returns what cannot be called.
    """
    known = inspect.signature(member.bind_tools).parameters
    # OpenAI's chat completions take a response format only beside strict tools, and a tool that is plain JSON already
    # is taken by ``bind_tools`` as it is, whatever its ``strict`` says.
    is_format = beside_schema or options.get("response_format")
    by_responses = getattr(member, "use_responses_api", False)
    if beside_schema and "response_format" in known and (schema_strict or (schema_strict is False and by_responses)):
        options = {"strict": schema_strict, **options}
    needs_strict = "response_format" in known and is_format and options.get("strict") is not False
    is_strict = bool(options.get("strict") or (needs_strict and not by_responses))
    if beside_schema and needs_strict and "strict" in known and is_strict:
        options = {**options, "strict": True}
    own = [_own_tool(tool, is_strict=is_strict and "strict" in known) for tool in tools]
    return bound_call(member.bind_tools(own, **options), member, "bind_tools")


def _own_tool(tool: Mapping[str, Any], *, is_strict: bool) -> Any:
    """Return the tool that the user bound; where only its JSON has come, what is nearest to it."""
    if isinstance(tool, Carried):
        return tool.source
    return _with_extras(_as_strict(tool) if is_strict else tool)


def _with_extras(tool: Mapping[str, Any]) -> Any:
    """Return a tool that has extras as an object again: only from objects do members take them."""
    if not (extras := tool.get(EXTRAS)) or "function" not in tool:
        return tool
    function = tool["function"]
    return StructuredTool(
        name=function["name"],
        description=function.get("description", ""),
        args_schema=function.get("parameters") or {"type": "object", "properties": {}},
        extras=extras,
    )


def _as_strict(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    if tool.get("type") != "function" or "function" not in tool:
        return tool
    return {**tool, "function": convert_to_openai_function(copy.deepcopy(tool["function"]), strict=True)}


def calls_of(message: BaseMessage) -> list[Call]:
    """Return a message's tool calls, those that do not parse among them."""
    if not isinstance(message, AIMessage):
        return []
    broken = [Call(call["name"] or "", None) for call in message.invalid_tool_calls]
    return [Call(call["name"], call["args"]) for call in message.tool_calls] + broken


class Carried(dict[str, Any]):
    """A plain dict with the tool, or the class of a schema, that it describes.

    It is equal to the dict, and written and pickled as one. A member that is handed the object itself sends what it
    sends alone; where the object was lost on the way (a checkpoint, another process) the dict has to do.

    Args:
        plain: The JSON.
        source: What it was made from.
    """

    def __init__(self, plain: Mapping[str, Any], source: Any) -> None:
        """Keep both."""
        super().__init__(plain)
        self.source = source

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy; the object is shared."""
        return type(self)(deepcopy(dict(self), memo), self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a dict."""
        return dict, (dict(self),)


def source_of(plain: Any) -> Any:
    """Return what a dict was made from; the dict itself, as a plain one, where it does not know.

    Example:
        >>> source_of(Carried({"title": "int"}, int)), source_of({"title": "int"})
        (<class 'int'>, {'title': 'int'})
    """
    return plain.source if isinstance(plain, Carried) else plain


def bound_call(bound: Runnable[Any, Any], member: BaseChatModel, method: str) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the chat model that is to be called and the arguments that were bound to it.

    Args:
        bound: What the member returned: ``member.bind(...)``, a chat model (itself, or a copy that has the tools).
        member: The member.
        method: Its method, for the error.

    Raises:
        ConfigError: If it is anything else, of which the pool cannot call the model alone.
    """
    model: Any = bound
    kwargs: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        model, kwargs = model.bound, {**model.kwargs, **kwargs}
    if isinstance(model, BaseChatModel):
        return model, kwargs
    raise ConfigError(
        f"{type(member).__name__}.{method} returned a {type(model).__name__}; in a pool it has to return the chat "
        "model, or the chat model with arguments bound (self.bind(...))"
    )


class InMessages:
    """How LangChain's messages say what a member is told of tools in words, and what it is read to have called."""

    def ask(self, query: Query, rules: str) -> Query:
        """Put the instructions into the system message, and turns of tools into words."""
        messages = [_in_words(message) for message in query.messages or ()]
        if messages and isinstance(messages[0], SystemMessage) and isinstance(messages[0].content, str):
            messages[0] = SystemMessage(f"{rules}\n\n{messages[0].content}")
        else:
            messages.insert(0, SystemMessage(rules))
        return replace(query, messages=messages)

    def reply(self, sample: Sample, calls: Sequence[tuple[str, Call]]) -> Any:
        """Return the member's message with calls in the place of its text."""
        tool_calls = [
            {"name": c.name, "args": dict(c.arguments or {}), "id": id_, "type": "tool_call"} for id_, c in calls
        ]
        if not isinstance(message := sample.payload, AIMessage):
            return AIMessage(content="", tool_calls=tool_calls)
        return message.model_copy(update={"content": "", "tool_calls": tool_calls})


def _in_words(message: BaseMessage) -> BaseMessage:
    if isinstance(message, ToolMessage):
        return HumanMessage(f"The function {message.name or ''} returned: {message.text}")
    if isinstance(message, AIMessage) and message.tool_calls:
        requested = [{"name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
        return AIMessage("\n".join(filter(None, (message.text, json.dumps(requested, default=str)))))
    return message
