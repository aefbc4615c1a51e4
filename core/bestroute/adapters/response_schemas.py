"""Schemas of structured output as OpenAI takes them: out of its wrapper, and as far as it can enforce them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TELLING = frozenset({"type", "anyOf", "enum", "const", "$ref"})


_ENFORCEABLE = _TELLING | {
    *("$defs", "title", "description", "properties", "required", "items", "pattern", "format", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"),
}
"""Words of JSON Schema that OpenAI enforces, where every object names its properties."""


def unwrapped(schema: Any) -> tuple[Any, bool | None]:
    """Return the schema in a dict of OpenAI's response format, and whether it says itself that it is to be enforced.

    Example:
        >>> unwrapped({"name": "Age", "strict": True, "schema": {"type": "integer"}})
        ({'title': 'Age', 'type': 'integer'}, True)
    """
    if not isinstance(schema, Mapping):
        return schema, None
    outer: Any = schema.get("json_schema", schema) if schema.get("type") == "json_schema" else schema
    strict = flag if isinstance(flag := outer.get("strict"), bool) else None
    if "name" in outer and isinstance(inner := outer.get("schema"), Mapping):
        about = {"description": outer["description"]} if "description" in outer else {}
        return {"title": outer["name"], **about, **{k: v for k, v in inner.items() if k != "title"}}, strict
    return schema, strict


def is_closed(schema: Any) -> bool:
    """Whether no object in a schema may have properties that it does not name: OpenAI enforces no other.

    Example:
        >>> is_closed({"type": "object", "properties": {"a": {"type": "object", "additionalProperties": True}}})
        False
    """
    if isinstance(schema, Mapping):
        if schema.get("type") == "object" and schema.get("additionalProperties", False) is not False:
            return False
        return all(is_closed(part) for part in schema.values())
    return all(is_closed(part) for part in schema) if isinstance(schema, list) else True


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema without defaults, if OpenAI can enforce it; ``None`` if it holds what OpenAI would refuse.

    Example:
        >>> enforceable({"type": "object", "properties": {"age": {"type": "integer", "default": 3}}})
        {'type': 'object', 'properties': {'age': {'type': 'integer'}}}
        >>> enforceable({"type": "object"}) is None  # of any properties
        True

    Source:
        OpenAI's guide on structured outputs, "Supported schemas".
    """
    kept = {key: value for key, value in schema.items() if key != "default"}
    if kept.pop("additionalProperties", False) is not False or not kept.keys() <= _ENFORCEABLE:
        return None
    if "$ref" in kept and kept.keys() != {"$ref"}:
        return None
    subschemas = [*kept.get("properties", {}).values(), *kept.get("anyOf", []), *kept.get("$defs", {}).values()]
    kind = kept.get("type")
    if kind == "object" and "properties" not in kept:
        return None
    if kind == "array":
        subschemas.append(kept.get("items", {}))
    if not kept.keys() & _TELLING or any(enforceable(part) is None for part in subschemas):
        return None
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: enforceable(part) for name, part in kept[key].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [enforceable(part) for part in kept["anyOf"]]
    if "items" in kept:
        kept["items"] = enforceable(kept["items"])
    return kept
