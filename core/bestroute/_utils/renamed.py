"""Deprecated names: still accepted, with a warning that gives the new name."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")


def warn_renamed(old: str, new: str, *, stacklevel: int = 2) -> None:
    """Warn about a deprecated name; see docs/stability.md for how long it is supported."""
    warnings.warn(f"{old} is {new} now; the old name will go", DeprecationWarning, stacklevel=stacklevel + 1)


def renamed_field(old: str, new: str) -> Callable[[type[T]], type[T]]:
    """Return a class decorator that accepts and exposes a dataclass field by its old name too."""

    def decorate(cls: type[T]) -> type[T]:
        init: Any = cls.__init__

        @wraps(init)
        def take(self: Any, *args: Any, **values: Any) -> None:
            if old in values:
                warn_renamed(old, new)
                values.setdefault(new, values.pop(old))
            init(self, *args, **values)

        def read(self: Any) -> Any:
            warn_renamed(old, new)
            return getattr(self, new)

        cls.__init__ = take  # type: ignore[method-assign]
        setattr(cls, old, property(read, doc=f"The old name of ``{new}``."))
        return cls

    return decorate
