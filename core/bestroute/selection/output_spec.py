"""A request's requirements on the form of its answer: available and required tools, and JSON schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

JsonSchema = Mapping[str, Any]


@dataclass(frozen=True)
class Demand:
    """What a sample is checked against."""

    tools: Mapping[str, JsonSchema] = field(default_factory=dict)
    """The JSON schema of each tool's arguments, by name."""
    has_foreign_tools: bool = False
    """Whether a provider's own tools are available, whose calls cannot be checked."""
    must_call: bool = False
    """Whether a reply without a call is flawed."""
    tool: str | None = None
    """The one tool that must be called."""
    is_json: bool = False
    """Whether the text must be JSON."""
    schema: JsonSchema | None = None
    """The schema of that JSON."""

    def __bool__(self) -> bool:
        """Return whether there are any requirements."""
        return bool(self.tools) or self.has_foreign_tools or self.is_json


def read_demand(
    tools: Sequence[Any] | None = None,
    tool_choice: Any = None,
    *,
    is_json: bool = False,
    schema: JsonSchema | None = None,
) -> Demand:
    """Read the requirements of a request.

    Args:
        tools: Tools in OpenAI's (nested or flat) or Anthropic's format; any other is a provider's own tool.
        tool_choice: ``None``, ``"auto"``, ``"none"``, ``"any"``, ``"required"``, ``True``, a tool's name, or a
            provider's dict.
        is_json: Whether the text must be JSON.
        schema: The schema of that JSON.

    Example:
        >>> read_demand([{"type": "function", "function": {"name": "now", "parameters": {}}}], "any")
        Demand(tools={'now': {}}, has_foreign_tools=False, must_call=True, tool=None, is_json=False, schema=None)
    """
    read = [_read_tool(tool) for tool in tools or ()]
    known = {name: parameters for name, parameters in (tool for tool in read if tool is not None)}
    tool = _name_in(tool_choice, known)
    must_call = bool(read) and (tool is not None or tool_choice in ("any", "required", True) or _is_any(tool_choice))
    return Demand(known, None in read, must_call, tool, is_json or schema is not None, schema)


def _read_tool(tool: Any) -> tuple[str, JsonSchema] | None:
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    if (
        not isinstance(name, str)
        or tool.get("type", "function") not in ("function", "custom")
        or (tool.get("type") == "custom" and "input_schema" not in function)
    ):
        return None
    parameters = function.get("parameters", function.get("input_schema"))
    return name, parameters if isinstance(parameters, Mapping) else {}


def _name_in(choice: Any, known: Mapping[str, JsonSchema]) -> str | None:
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        choice = function.get("name") if isinstance(function, Mapping) else None
    return choice if isinstance(choice, str) and choice in known else None


def _is_any(choice: Any) -> bool:
    return isinstance(choice, Mapping) and choice.get("type") == "any"
