"""What everything that loads a transformer shares: quiet loading, and sentences for what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence what transformers says of new outputs and long texts."""
    from transformers.utils import logging as its_logging

    logging: Any = its_logging  # not typed
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def need(what: str, *modules: str) -> None:
    """Refuse if a module is not installed.

    Raises:
        ImportError: Says what needs it and what to install.
    """
    import importlib.util

    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ImportError(f'{what} needs {module}: pip install "bestroute[train]"')


def described(error: BaseException) -> str:
    """Return an error's type and its text, in one line of at most 200 characters beside the type."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"
