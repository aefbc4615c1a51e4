"""Load user functions named in a configuration as ``module:function``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from bestroute.errors import ConfigError
from bestroute.errors.redaction import describe

_NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_function(value: str) -> bool:
    """Return whether a text names a function.

    Example:
        >>> is_function("mine:score"), is_function("rewards/one"), is_function("C:/rewards/one")
        (True, False, False)
    """
    return _NAMED.fullmatch(value) is not None


def load_function(value: str, folder: Path, where: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        value: ``module:function``.
        folder: Folder in which the module may be, besides installed ones.
        where: Beginning of error messages.

    Raises:
        ConfigError: If it does not exist, its module cannot be imported, or it is async.
    """
    module, _, name = value.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever the user's module does when it is imported
        why = " ".join(describe(error).split())
        raise ConfigError(f"{where}: cannot import {value!r}: {why}") from error
    if not callable(function):
        raise ConfigError(f"{where}: {value!r} is not a function")
    if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        raise ConfigError(f"{where}: {value!r} is an async function, and is called from threads; give one by plain def")
    return function  # type: ignore[no-any-return]
