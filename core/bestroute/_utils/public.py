"""Exported names show their package as their module, regardless of where they are defined."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def name_home(package: str, names: Mapping[str, Any], exported: Iterable[str]) -> None:
    """Set ``__module__`` of a package's exported classes, so that reprs, pickles and dumps use the public path.

    Annotations are resolved before: whoever reads them (``typing.get_type_hints``, pydantic) looks strings up in the
    module that a class names.

    Args:
        package: Name of the package.
        names: Namespace of the package.
        exported: The public names in it.
    """
    for value in map(names.get, exported):
        if isinstance(value, type) and value.__module__.startswith(f"{package}."):
            value.__annotations__ = inspect.get_annotations(value, eval_str=True)
            for name, field in vars(value).get("__dataclass_fields__", {}).items():
                field.type = value.__annotations__.get(name, field.type)
            value.__module__ = package


def on_demand(package: str, names: dict[str, Any], homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__`` that imports names at first use and caches them.

    Args:
        package: Name of the package.
        names: Namespace of the package.
        homes: For each name, the submodule that defines it.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        names[name] = getattr(import_module(f"{package}.{homes[name]}"), name)
        return names[name]

    return find
