"""Tools: plain dicts on the way through, each member's own format where it is called."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, ToolCallBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools.types import BaseTool, ToolMetadata, ToolOutput

from bestroute.errors import ConfigError
from bestroute.selection import Call
from bestroute.types.query import Query
from bestroute.types.sample import Sample
from llamaindex_bestroute.messages import tool_calls
from llamaindex_bestroute.responses import part

TOOL_ARGUMENTS = ("tool_choice", "tool_required", "allow_parallel_tool_calls", "parallel_tool_calls", "strict")
"""Call arguments that are about tools."""


class ToolSpec(dict[str, Any]):
    """A tool as OpenAI's dict, plain JSON, that remembers the LlamaIndex tool it was made of."""

    tool: BaseTool | None = None


def as_spec(tool: BaseTool | Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool as a plain dict; dicts, a provider's built-in tools among them, stay as they are."""
    if not isinstance(tool, BaseTool):
        return dict(tool) if not isinstance(tool, ToolSpec) else tool
    spec = ToolSpec(tool.metadata.to_openai_tool(skip_length_check=True))
    spec.tool = tool
    return spec


@dataclass
class _Metadata(ToolMetadata):
    parameters: dict[str, Any] = field(default_factory=dict)

    def get_parameters_dict(self) -> dict[str, Any]:
        return copy.deepcopy(self.parameters)


class _DictTool(BaseTool):
    """A tool of which only the dict is known: it can be offered, not called."""

    def __init__(self, function: Mapping[str, Any]) -> None:
        self._metadata = _Metadata(
            description=function.get("description") or "",
            name=function.get("name"),
            fn_schema=None,
            parameters=dict(function.get("parameters") or {"type": "object", "properties": {}}),
        )

    @property
    def metadata(self) -> ToolMetadata:
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:
        raise NotImplementedError(f"the tool {self._metadata.name!r} was given as a dict, which cannot be called")


def offered_to(
    member: FunctionCallingLLM,
    messages: list[ChatMessage],
    tools: Sequence[Mapping[str, Any]],
    call_options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the call arguments by which a member is offered tools, in its own format.

    Args:
        member: Makes the format.
        messages: A list of our own: members append to what they are handed.
        tools: OpenAI's dicts; what is not a function is handed on as it is.
        call_options: The ``TOOL_ARGUMENTS`` of the call.

    Raises:
        ConfigError: If ``tool_choice`` names no tool on offer.
    """
    functions = [tool for tool in tools if tool.get("type") == "function"]
    built_in = [dict(tool) for tool in tools if tool.get("type") != "function"]
    options = {name: value for name, value in call_options.items() if value is not None}
    if "parallel_tool_calls" in options:
        options.setdefault("allow_parallel_tool_calls", options.pop("parallel_tool_calls"))
    if not _knows(member, "tool_choice"):
        functions, options = _without_tool_choice(functions, options)
    if not _knows(member, "strict"):
        options.pop("strict", None)
    arguments: dict[str, Any] = {}
    if functions:
        own = [
            spec.tool if isinstance(spec, ToolSpec) and spec.tool else _DictTool(spec["function"]) for spec in functions
        ]
        made = member._prepare_chat_with_tools(own, chat_history=messages, **options)
        arguments = {name: value for name, value in made.items() if value is not None and name != "messages"}
    if built_in:
        arguments["tools"] = [*arguments.get("tools", []), *built_in]
    return arguments


def _without_tool_choice(
    functions: list[Mapping[str, Any]], options: dict[str, Any]
) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """Say ``tool_choice`` to a member that has no such argument: by what it is offered, and whether it must call."""
    rest = {name: value for name, value in options.items() if name != "tool_choice"}
    choice = options.get("tool_choice")
    if choice is None or choice == "auto":
        return functions, rest
    if choice == "none":
        return [], rest
    if choice in ("any", "required"):
        return functions, {**rest, "tool_required": True}
    name = (choice.get("function") or choice).get("name") if isinstance(choice, Mapping) else choice
    wanted = [spec for spec in functions if spec["function"]["name"] == name]
    if not wanted:
        raise ConfigError(f"tool_choice: {name!r} is none of the tools on offer")
    return wanted, {**rest, "tool_required": True}


def _knows(member: FunctionCallingLLM, argument: str) -> bool:
    return argument in inspect.signature(type(member)._prepare_chat_with_tools).parameters


def calls_in_blocks(member: LLM) -> bool:
    """Whether a member's integration keeps tool calls in blocks of the message; some note them beside it alone."""
    if not isinstance(member, FunctionCallingLLM):
        return True
    call = ToolCallBlock(tool_call_id="a", tool_name="a", tool_kwargs={})
    probe = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, blocks=[call]))
    try:
        return bool(member.get_tool_calls_from_response(probe, error_on_no_tool_call=False))
    except NotImplementedError:  # LlamaIndex's base class
        return True
    except Exception:  # of an integration that looks for them in another place
        return False


def with_noted_calls(member: LLM, response: ChatResponse) -> ChatMessage:
    """Return a response's message with the tool calls as blocks that its integration notes elsewhere.

    The member's own ``get_tool_calls_from_response`` is asked for them. What it cannot read, because the model wrote
    broken JSON or a stream has brought half of it, is taken as it stands, so that it can be judged.
    """
    message = response.message
    if tool_calls(message) or not isinstance(member, FunctionCallingLLM):
        return message
    noted = message.additional_kwargs.get("tool_calls")
    dicts = [_noted_call(call) for call in noted] if isinstance(noted, list | tuple) else []
    try:
        found = member.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    except Exception:  # whatever an integration raises about a reply without calls, or with broken ones
        calls = [call for call in dicts if call is not None]
    else:
        calls = [
            ToolCallBlock(tool_call_id=call.tool_id or None, tool_name=call.tool_name, tool_kwargs=call.tool_kwargs)
            for call in found
        ]
        if len(calls) == len(dicts):
            calls = [
                call if call.tool_kwargs or as_noted is None else as_noted
                for call, as_noted in zip(calls, dicts, strict=True)
            ]
    return message.model_copy(update={"blocks": [*message.blocks, *calls]}) if calls else message


def _noted_call(call: Any) -> ToolCallBlock | None:
    """Read a call in OpenAI's form, a dict or an object; ``None`` if it is in another."""
    function = part(call, "function")
    name, arguments, call_id = part(function, "name"), part(function, "arguments"), part(call, "id")
    if not isinstance(name, str) or not isinstance(arguments, str | dict):
        return None
    return ToolCallBlock(
        tool_call_id=call_id if isinstance(call_id, str) else None, tool_name=name, tool_kwargs=arguments or {}
    )


def selections(response: ChatResponse, *, required: bool) -> list[ToolSelection]:
    """Return a response's tool calls; of a chunk of a stream, what is there of them.

    Raises:
        ValueError: If there is none and one is ``required``.
    """
    calls = tool_calls(response.message)
    if required and not calls:
        raise ValueError(f"expected a tool call, got none; the model answered {response.message.content!r}")
    return [
        ToolSelection(
            tool_id=call.tool_call_id or call.tool_name, tool_name=call.tool_name, tool_kwargs=_arguments(call)
        )
        for call in calls
    ]


def _arguments(call: ToolCallBlock) -> dict[str, Any]:
    """Read a call's arguments; of JSON that is still being streamed, what is there, of what is no object nothing."""
    given: Any = call.tool_kwargs
    if isinstance(given, str):
        try:
            given = parse_partial_json(given) if given.strip() else {}
        except ValueError:
            return {}
    return given if isinstance(given, dict) else {}


def first_call_only(response: ChatResponse) -> ChatResponse:
    """Return the response with the first of its tool calls and none of the others."""
    surplus = tool_calls(response.message)[1:]
    if not surplus:
        return response
    blocks = [block for block in response.message.blocks if not any(block is call for call in surplus)]
    others = {k: v for k, v in response.message.additional_kwargs.items() if k != "tool_calls"}
    message = response.message.model_copy(update={"blocks": blocks, "additional_kwargs": others})
    return response.model_copy(update={"message": message})


class InMessages:
    """How LlamaIndex's messages say what a member is told of tools in words, and what it is read to have called."""

    def ask(self, query: Query, rules: str) -> Query:
        """Put the instructions into the system message, and turns of tools into words."""
        messages = [_in_words(message) for message in query.messages or ()]
        if messages and messages[0].role == MessageRole.SYSTEM:
            messages[0] = ChatMessage(role=MessageRole.SYSTEM, content=f"{rules}\n\n{messages[0].content or ''}")
        else:
            messages.insert(0, ChatMessage(role=MessageRole.SYSTEM, content=rules))
        return replace(query, messages=messages)

    def reply(self, sample: Sample, calls: Sequence[tuple[str, Call]]) -> Any:
        """Return the member's response with calls in the place of its text."""
        blocks = [
            ToolCallBlock(tool_call_id=id_, tool_name=c.name, tool_kwargs=dict(c.arguments or {})) for id_, c in calls
        ]
        message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)
        if isinstance(response := sample.payload, ChatResponse):
            return response.model_copy(update={"message": message})
        return ChatResponse(message=message)


def _in_words(message: ChatMessage) -> ChatMessage:
    if message.role in (MessageRole.TOOL, MessageRole.FUNCTION):
        return ChatMessage(role=MessageRole.USER, content=f"The function returned: {message.content or ''}")
    if made := [block for block in message.blocks if isinstance(block, ToolCallBlock)]:
        requested = [{"name": block.tool_name, "arguments": block.tool_kwargs} for block in made]
        text = "\n".join(filter(None, (message.content, json.dumps(requested, default=str))))
        return ChatMessage(role=MessageRole.ASSISTANT, content=text)
    return message
