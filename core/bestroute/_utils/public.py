"""What a package exports names the package as its home, wherever it stands inside."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def name_home(package: str, names: Mapping[str, Any], exported: Iterable[str]) -> None:
    """Set ``__module__`` of a package's exported classes, so that reprs, pickles and dumps name what may be imported.

    Annotations are resolved before: whoever reads them (``typing.get_type_hints``, pydantic) looks strings up in the
    module that a class names.

    Args:
        package: Its name.
        names: Its namespace.
        exported: The names in it that are public.
    """
    for value in map(names.get, exported):
        if isinstance(value, type) and value.__module__.startswith(f"{package}."):
            value.__annotations__ = inspect.get_annotations(value, eval_str=True)
            for name, field in vars(value).get("__dataclass_fields__", {}).items():
                field.type = value.__annotations__.get(name, field.type)
            value.__module__ = package


def on_demand(package: str, names: dict[str, Any], homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``, which imports what is imported when it is asked for, and keeps it.

    Args:
        package: Its name.
        names: Its namespace.
        homes: The module below the package that holds each name.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        names[name] = getattr(import_module(f"{package}.{homes[name]}"), name)
        return names[name]

    return find
