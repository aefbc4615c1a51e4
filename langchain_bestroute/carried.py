"""Plain JSON that still knows what it was made from: traces and caches see the JSON, a member the user's own object."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Self


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
