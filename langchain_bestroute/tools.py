"""What a request asks for: of the form of the answer, and of the model that gives it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import (
    convert_to_json_schema,
    convert_to_openai_function,
    convert_to_openai_tool,
)

from bestroute.adapters.capabilities import Abilities, Needs
from bestroute.selection import Call, Demand, read_demand
from bestroute.types.query import Query
from langchain_bestroute.binding import bound_call
from langchain_bestroute.carried import Carried
from langchain_bestroute.messages import IMAGES
from langchain_bestroute.structured import WANTED

_AUDIO = ("audio", "input_audio")
_FILES = ("file", "document", "input_file")
NOTHING = Demand()
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
        told = choice.get("function", choice)
        if choice.get("type") in ("function", "tool") and isinstance(told, Mapping) and "name" in told:
            return told["name"]
        if choice.get("type") in ("any", "auto"):
            return choice["type"]
    return choice


def bound_tools(
    member: BaseChatModel, tools: Sequence[Mapping[str, Any]], asked: Mapping[str, Any], *, beside_schema: bool = False
) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the model to call and the arguments by which it is offered tools, in its own format.

    Args:
        member: The chat model.
        tools: As ``plain_tool`` makes them.
        asked: What was asked about them: ``tool_choice``, ``parallel_tool_calls``, ``strict``, ``response_format``.
        beside_schema: The same call asks for JSON of a schema.

    Raises:
        ConfigError: If the member's ``bind_tools`` returns what cannot be called.
    """
    known = inspect.signature(member.bind_tools).parameters
    # OpenAI's chat completions take a response format only beside strict tools, and a tool that is plain JSON already
    # is taken by ``bind_tools`` as it is, whatever its ``strict`` says.
    is_format = beside_schema or asked.get("response_format")
    needs_strict = "response_format" in known and is_format and asked.get("strict") is not False
    is_strict = bool(asked.get("strict") or (needs_strict and not getattr(member, "use_responses_api", False)))
    if beside_schema and needs_strict and "strict" in known and is_strict:
        asked = {**asked, "strict": True}
    own = [_own_tool(tool, is_strict=is_strict and "strict" in known) for tool in tools]
    return bound_call(member.bind_tools(own, **asked), member, "bind_tools")


def _own_tool(tool: Mapping[str, Any], *, is_strict: bool) -> Any:
    """Return the tool that the user bound; where only its JSON has come, what is nearest to it."""
    if isinstance(tool, Carried):
        return tool.source
    return _with_extras(_as_strict(tool) if is_strict else tool)


def _with_extras(tool: Mapping[str, Any]) -> Any:
    """Return a tool that has extras as an object again: only from objects do members take them."""
    if not (extras := tool.get(EXTRAS)) or "function" not in tool:
        return tool
    told = tool["function"]
    return StructuredTool(
        name=told["name"],
        description=told.get("description", ""),
        args_schema=told.get("parameters") or {"type": "object", "properties": {}},
        extras=extras,
    )


def _as_strict(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    if tool.get("type") != "function" or "function" not in tool:
        return tool
    return {**tool, "function": convert_to_openai_function(copy.deepcopy(tool["function"]), strict=True)}


def demand_of(query: Query, *, by_tool: bool = False) -> Demand:
    """Return what a query's samples are checked against.

    Args:
        query: The query.
        by_tool: The member was asked for its structured output by a tool.
    """
    asked, reply_format = query.params.get(WANTED), query.params.get("response_format")
    if not query.tools and asked is None and reply_format is None:
        return NOTHING
    if asked is not None and (by_tool or asked["method"] == "function_calling"):
        tool = {"type": "function", "name": asked["schema"]["title"], "parameters": asked["schema"]}
        return read_demand([tool], tool["name"])
    schema = asked["schema"] if asked is not None else _schema_in(reply_format)
    is_json = asked is not None or reply_format is not None
    return read_demand(query.tools, query.params.get("tool_choice"), is_json=is_json, schema=schema)


def _schema_in(reply_format: Any) -> Mapping[str, Any] | None:
    if isinstance(reply_format, Mapping):
        told = reply_format.get("json_schema", reply_format)
        return told.get("schema") if isinstance(told, Mapping) else None
    return None if reply_format is None else convert_to_json_schema(reply_format)


def calls_of(message: BaseMessage) -> list[Call]:
    """Return a message's tool calls, those that do not parse among them."""
    if not isinstance(message, AIMessage):
        return []
    broken = [Call(call["name"] or "", None) for call in message.invalid_tool_calls]
    return [Call(call["name"], call["args"]) for call in message.tool_calls] + broken


def needs_of(query: Query) -> Needs:
    """Return what a query needs of the model that answers it."""
    asked, choice = query.params.get(WANTED), query.params.get("tool_choice")
    kinds = _kinds_in(query.messages or ())
    by_call = asked is not None and asked["method"] == "function_calling"
    return Needs(
        tools=bool(query.tools) or by_call,
        tool_choice=by_call or (bool(query.tools) and choice not in (None, "auto", "none")),
        structured_output=asked is not None and asked["method"] in (None, "json_schema"),
        images=not kinds.isdisjoint(IMAGES),
        audio=not kinds.isdisjoint(_AUDIO),
        files=not kinds.isdisjoint(_FILES),
        tokens=query.prompt_tokens,
    )


def _kinds_in(messages: Sequence[BaseMessage]) -> set[str]:
    """Return the types of all content blocks that the user or a tool sent."""
    return {
        str(block.get("type"))
        for message in messages
        if not isinstance(message, AIMessage) and isinstance(message.content, list)
        for block in message.content
        if isinstance(block, dict)
    }


def abilities_of(member: BaseChatModel) -> Abilities:
    """Return what a member can do, as its class and its profile tell."""
    told = member.profile or {}
    has_tools = type(member).bind_tools is not BaseChatModel.bind_tools
    has_schemas = has_tools or type(member).with_structured_output is not BaseChatModel.with_structured_output
    return Abilities(
        tools=told.get("tool_calling") if has_tools else False,
        tool_choice=told.get("tool_choice") if has_tools else False,
        structured_output=told.get("structured_output") if has_schemas else False,
        images=told.get("image_inputs"),
        audio=told.get("audio_inputs"),
        files=told.get("pdf_inputs"),
        context_window=told.get("max_input_tokens"),
    )
