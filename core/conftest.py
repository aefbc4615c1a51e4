"""Doctests of exported classes are found where the classes stand, though they name the package as their home."""

import doctest
import inspect
from types import ModuleType
from typing import Any

_from_module = doctest.DocTestFinder._from_module  # type: ignore[attr-defined]


def _stands_in(finder: doctest.DocTestFinder, module: ModuleType, part: Any) -> bool:
    if inspect.isclass(part) and part.__module__ == "bestroute":
        return any(getattr(method, "__globals__", None) is vars(module) for method in vars(part).values())
    return bool(_from_module(finder, module, part))


doctest.DocTestFinder._from_module = _stands_in  # type: ignore[attr-defined]
