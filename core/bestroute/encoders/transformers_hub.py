"""Shared helpers for loading transformers: silence their output, and explain errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from bestroute.errors import ConfigError


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers' messages about new outputs and long texts."""
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
    """Refuse a token limit beyond the model's positions.

    Raises:
        ConfigError: Names the encoder and its range.
    """
    most = getattr(model.config, "max_position_embeddings", None) or max_tokens
    if not least <= max_tokens <= most:
        raise ConfigError(f"max_tokens must be in {least}..{most}, what encoder {name!r} can read, got {max_tokens}")


def unreadable() -> tuple[type[Exception], ...]:
    """Return the exceptions that transformers raises for a missing or damaged model."""
    from safetensors import SafetensorError

    return OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError


def described(error: BaseException) -> str:
    """Return an error's type and text on one line, of at most 200 characters besides the type."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"
