"""A response's ``raw``: read like the member's own object, and as a dict with the bill of the whole call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel


class Raw(dict[str, Any]):
    """A reply as plain data, whose attributes are those of the object that the member's client made.

    ``raw["usage"]`` and ``raw.usage`` are the router's: what all samples were billed, ``None`` until that is known.
    It is copied and pickled as the plain dict it is.
    """

    __slots__ = ("_ours", "_reply")

    def __init__(self, data: Mapping[str, Any], reply: Any, ours: Iterable[str]) -> None:
        """Keep the data, and the object that attributes are read from but for what is ours."""
        super().__init__(data)
        self._reply, self._ours = reply, frozenset(ours)

    def __getattr__(self, name: str) -> Any:
        """Read an attribute of the member's object; of a reply that is a dict, a key."""
        if not name.startswith("_"):
            if name not in self._ours and hasattr(self._reply, name):
                return getattr(self._reply, name)
            if name in self:
                return self[name]
        raise AttributeError(f"the member's raw reply has no {name!r}")

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """Return the plain dict: a client's object may refuse to be pickled."""
        return dict, (dict(self),)


def raw_of(reply: Any, usage: Mapping[str, Any] | None, model_name: str | None = None) -> Raw:
    """Return a member's raw reply with the router's usage in the place of its own.

    Args:
        reply: What the member has in ``raw``.
        usage: What the whole call was billed; ``None`` while that is not known.
        model_name: The provider's name of the model, where the reply tells none.
    """
    data = plain(reply)
    data = data if isinstance(data, dict) else {"response": data}
    named = {} if model_name is None else {"model": model_name}
    bill = None if usage is None else Raw(usage, part(reply, "usage"), usage)
    return Raw({**named, **data, "usage": bill}, reply, ("usage",))


def part(raw: Any, name: str) -> Any:
    """Return a part of a raw reply, be it a dict or an object; ``None`` if it has none."""
    return raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None)


def plain(value: Any) -> Any:
    """Return a raw reply with its objects as dicts, so that it can be stored and pickled."""
    if isinstance(value, BaseModel):
        return value.model_dump(warnings=False)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
