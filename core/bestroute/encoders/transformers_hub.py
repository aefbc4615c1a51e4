"""What everything that loads a transformer shares: quiet loading, and sentences for what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from bestroute.errors import ConfigError


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


def check_tokens(max_tokens: int, model: Any, name: str, *, least: int) -> None:
    """Refuse more tokens than a model has places for.

    Raises:
        ConfigError: Names the encoder and its range.
    """
    most = getattr(model.config, "max_position_embeddings", None) or max_tokens
    if not least <= max_tokens <= most:
        raise ConfigError(f"max_tokens must be in {least}..{most}, what encoder {name!r} can read, got {max_tokens}")


def unreadable() -> tuple[type[Exception], ...]:
    """Return what transformers raises where there is no model, or a damaged one."""
    from safetensors import SafetensorError

    return OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError


def described(error: BaseException) -> str:
    """Return an error's type and its text, in one line of at most 200 characters beside the type."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"
