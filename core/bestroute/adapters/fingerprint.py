"""What makes two routers the same to a cache: a digest that equal ones share and different ones never do.

Never an address in memory or a ``repr``: an address comes again for another object, in another process too, and then
two routers would share answers. What cannot be told apart by its contents is told apart by a number of its own.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import re
import types
import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any

from bestroute._utils.text import utf8

_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_MAX_DEPTH = 12
OfModel = Callable[[Any], str | None]


def fingerprint(part: Any, of_model: OfModel = lambda part: None) -> str:
    """Return a digest of a router, a reward model, a policy or a member.

    Functions are the same if their code and what they close over are; objects if their class and their fields are;
    a class may say it itself (``fingerprint``). Where neither tells, the digest is like no other.

    Args:
        part: The object.
        of_model: The settings of one of the framework's own models, as a text; ``None`` of anything else.

    Example:
        >>> fingerprint({"small": 1}) == fingerprint({"small": 1}) != fingerprint({"small": 2})
        True
    """
    return _digest(utf8(repr(_contents(part, of_model, 0))))[:16]


def _contents(part: Any, of_model: OfModel, depth: int) -> Any:
    """Return nested tuples of plain values that stand for an object."""
    if isinstance(part, _PLAIN):
        return type(part).__name__, part
    if depth > _MAX_DEPTH:
        return _unique()
    if isinstance(own := getattr(part, "fingerprint", None), str):
        return _name(type(part)), own
    if (settings := of_model(part)) is not None:
        return _name(type(part)), settings
    if isinstance(part, type | types.ModuleType):
        return "named", _name(part)
    if isinstance(part, types.MethodDescriptorType | types.WrapperDescriptorType):  # ``str.strip``, ``str.__len__``
        return "of class", _name(part.__objclass__), part.__name__
    if isinstance(part, types.BuiltinFunctionType | types.MethodWrapperType):  # of a module or an object: ``{}.get``
        return "built in", _name(part), _contents(part.__self__, of_model, depth + 1)
    if isinstance(part, types.FunctionType):
        return _function(part, of_model, depth)
    if isinstance(part, types.MethodType):
        return "method", _contents(part.__func__, of_model, depth + 1), _contents(part.__self__, of_model, depth + 1)
    return _collection(part, of_model, depth) or _object(part, of_model, depth)


def _function(part: types.FunctionType, of_model: OfModel, depth: int) -> Any:
    cells = [_cell(cell, of_model, depth) for cell in part.__closure__ or ()]
    defaults = _contents([part.__defaults__, part.__kwdefaults__], of_model, depth + 1)
    return "function", _name(part), _code(part.__code__), cells, defaults


def _code(code: types.CodeType) -> Any:
    """Return what code does; functions, lambdas and comprehensions inside of it are constants of it."""
    return code.co_code, code.co_names, [_constant(value) for value in code.co_consts]


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _cell(cell: Any, of_model: OfModel, depth: int) -> Any:
    try:
        return _contents(cell.cell_contents, of_model, depth + 1)
    except ValueError:  # not filled yet
        return "empty"


def _collection(part: Any, of_model: OfModel, depth: int) -> Any:
    match part:
        case Mapping():
            return "mapping", sorted(
                (repr(_contents(k, of_model, depth + 1)), _contents(v, of_model, depth + 1)) for k, v in part.items()
            )
        case Set():
            return "set", sorted(repr(_contents(item, of_model, depth + 1)) for item in part)
        case Sequence():
            return "sequence", [_contents(item, of_model, depth + 1) for item in part]
        case functools.partial():
            return "partial", _contents([part.func, part.args, part.keywords], of_model, depth + 1)
        case re.Pattern() | enum.Enum() | PurePath():
            return "text", str(part)
    return None


def _object(part: Any, of_model: OfModel, depth: int) -> Any:
    """Return an object's state, if Python's own copying knows where all of it is."""
    kind = type(part)
    if kind.__module__ == "_thread":
        return "lock"
    if callable(data := getattr(part, "tobytes", None)):  # an array
        return _name(kind), str(getattr(part, "dtype", "")), str(getattr(part, "shape", "")), _digest(data())
    if any(getattr(kind, name) is not getattr(object, name) for name in ("__reduce_ex__", "__reduce__")):
        return _unique()
    try:
        state = part.__reduce_ex__(4)[2]
    except TypeError:  # some of it is out of Python's sight: a socket, an iterator
        return _unique()
    if isinstance(state, dict):  # without what was worked out since
        state = {
            n: v for n, v in state.items() if not isinstance(getattr(kind, str(n), None), functools.cached_property)
        }
    return _name(kind), _contents(state, of_model, depth + 1)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _name(part: Any) -> str:
    return f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', getattr(part, '__name__', ''))}"


def _unique() -> tuple[str, str]:
    return "unique", uuid.uuid4().hex
