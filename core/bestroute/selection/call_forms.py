"""Canonical forms of tool calls: arguments converted to their schema's types, defaults filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from bestroute.selection.quantities import number_in, quantity_form
from bestroute.selection.tool_calls import Call, NotJson, canonical, read_json

_NOTHING: tuple[Any, ...] = (None, "", [], {})
_DESCRIBED = re.compile(
    r"\bdefaults?\b(?:\s+(?:value|to|is|are|of|setting))*\s*[:=]?\s*"
    r"('[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|-?\w(?:[\w.+/-]*\w)?)",
    re.IGNORECASE,
)
"""How descriptions of parameters state their default."""
_UNSAID = frozenset({"none", "null", "empty", "unspecified", "not", "no"})
_APART = re.compile(r"[\s.,;_]+")
_RENDERED = re.compile(r"([\w.:-]+)\((\{.*\})\)")
_TYPES = {
    **dict.fromkeys(("int", "long", "short", "byte", "bigint"), "integer"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("str", "char"), "string"),
    **dict.fromkeys(("list", "tuple", "set", "arraylist"), "array"),
    **dict.fromkeys(("dict", "map", "hashmap"), "object"),
    "bool": "boolean",
}
"""What JSON calls the types of programming languages, by their names in small letters."""
_DEEPEST = 40


def canonical_calls(calls: Iterable[Call], tools: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    r"""Return the canonical form of parallel calls, independent of their order.

    A missing argument is its default, from the schema or the parameter's description; numbers, booleans
    and texts are converted to their declared type; in texts, case, punctuation between
    words and the notation of quantities are ignored.

    Args:
        calls: Parallel calls of one sample.
        tools: The JSON schema of each tool's arguments, by name.

    Example:
        >>> canonical_calls([Call("b", {}), Call("a", {"y": 2, "x": 1.0})])
        '["a({\\"x\\": 1, \\"y\\": 2})", "b({})"]'
        >>> schema = {"properties": {"n": {"type": "integer", "description": "How many. Default is 5."}}}
        >>> canonical_calls([Call("a", {})], {"a": schema}) == canonical_calls([Call("a", {"n": "5"})], {"a": schema})
        True
    """
    known = {_plain_name(name): schema for name, schema in (tools or {}).items()}
    return json.dumps(sorted(_call_form(call, known) for call in calls), ensure_ascii=False)


def calls_in(text: str) -> list[Call] | None:
    """Parse tool calls from a text: a JSON list of objects with name and arguments, or the output of ``render_calls``.

    Example:
        >>> calls_in('[{"name": "add", "arguments": {"a": 2}}]') == calls_in('add({"a": 2})')
        True
        >>> calls_in("[]"), calls_in("I cannot.")
        ([], None)
    """
    value = read_json(text)
    if isinstance(value, Mapping | list):
        return calls_of(value)
    found = [_RENDERED.fullmatch(line.strip()) for line in text.strip().splitlines()]
    if not found or None in found:
        return None
    return [Call.parse(match[1], match[2]) for match in found if match is not None]


def calls_of(value: Any) -> list[Call] | None:
    """Return the calls that a JSON value is: an object with a name and arguments, or a list of them.

    Example:
        >>> calls_of({"tool_calls": [{"function": {"name": "now", "arguments": "{}"}}]})
        [Call(name='now', arguments={})]
    """
    if isinstance(value, Mapping):
        value = inner if isinstance(inner := value.get("tool_calls"), list) and "name" not in value else [value]
    if not isinstance(value, list):
        return None
    functions = [item.get("function", item) if isinstance(item, Mapping) else {} for item in value]
    if not all(isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in functions):
        return None
    return [Call.parse(item["name"], item.get("arguments", item.get("parameters"))) for item in functions]


def _plain_name(name: str) -> str:
    return name.replace(".", "_")


def _call_form(call: Call, tools: Mapping[str, Mapping[str, Any]]) -> str:
    plain = _plain_name(call.name)
    schema = tools.get(plain, {})
    settled = _object(call.arguments or {}, _declared(schema, schema), schema, _DEEPEST)
    return f"{plain if plain in tools else call.name}({canonical(settled)})"


def _declared(about: Any, whole: Any) -> Any:
    """Resolve a schema: follow references, and ignore "or null" alternatives.

    Example:
        >>> _declared({"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}, {"$defs": {"n": {"type": "integer"}}})
        {'type': 'integer'}
    """
    for _ in range(_DEEPEST):
        if not isinstance(about, Mapping) or about.keys() & {"type", "properties"}:
            break
        if isinstance(reference := about.get("$ref"), str) and reference.startswith("#/"):
            inner = whole
            for step in reference[2:].split("/"):
                inner = inner.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(inner, Mapping) else None
        else:
            given = next((about[word] for word in ("anyOf", "oneOf", "allOf") if about.get(word)), None)
            others = [o for o in given if _type_of(o) != "null"] if isinstance(given, list) else []
            inner = others[0] if len(others) == 1 else None
        if inner is None:
            break
        about = inner
    return about


def _type_of(about: Any) -> Any:
    """Return the schema's type by its JSON name, ignoring "or null".

    Example:
        >>> _type_of({"type": ["Long", "null"]})
        'integer'
    """
    kind = about.get("type") if isinstance(about, Mapping) else None
    others = [other for other in kind if other != "null"] if isinstance(kind, list) else []
    one = others[0] if len(others) == 1 else kind
    return _TYPES.get(one.casefold(), one.casefold()) if isinstance(one, str) else one


def _object(value: Mapping[str, Any], schema: Any, whole: Any, depth: int) -> dict[str, Any]:
    """Return an object of arguments with defaults filled in."""
    declared = schema.get("properties") if isinstance(schema, Mapping) else None
    properties: Mapping[str, Any] = declared if isinstance(declared, Mapping) else {}
    required = schema.get("required") if isinstance(schema, Mapping) else None
    settled = {}
    for name, part in value.items():
        is_needed = isinstance(required, list) and name in required
        if is_needed or name not in properties or part not in _NOTHING:
            settled[str(name)] = _value(part, properties.get(name), whole, depth)
    for name, about in properties.items():
        if name not in settled and isinstance(about, Mapping) and (default := _default(about)) not in _NOTHING:
            settled[name] = _value(default, about, whole, depth)
    return settled


def _default(about: Mapping[str, Any]) -> Any:
    if "default" in about:
        return about["default"]
    described = about.get("description")
    found = _DESCRIBED.search(described) if isinstance(described, str) else None
    if found is None:
        return None
    text = found[1].strip("'\"`")
    if text.casefold() in _UNSAID:
        return None
    return text if (value := read_json(text.casefold())) is NotJson else value


def _value(value: Any, about: Any, whole: Any, depth: int) -> Any:
    """Return a value converted to its declared type."""
    if not depth:
        return value
    about = _declared(about, whole)
    kind = _type_of(about)
    if kind in ("array", "object") and isinstance(value, str) and isinstance(held := read_json(value), list | Mapping):
        value = held
    if isinstance(value, Mapping):
        return _object(value, about, whole, depth - 1)
    if isinstance(value, list | tuple):
        items = about.get("items") if isinstance(about, Mapping) else None
        return [_value(item, items, whole, depth - 1) for item in value]
    if isinstance(value, str):
        return _text(value, kind)
    if kind == "string" and isinstance(value, int | float):
        return _text(json.dumps(value), kind)
    return value


def _text(value: str, kind: Any) -> Any:
    if kind in ("integer", "number") and (number := number_in(value)) is not None:
        return int(number) if number.denominator == 1 else float(number)
    if kind == "boolean" and value.strip().casefold() in ("true", "false"):
        return value.strip().casefold() == "true"
    return quantity_form(value) or _APART.sub(" ", value.casefold().replace("**", "^")).strip() or value
