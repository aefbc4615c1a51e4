"""Closing somebody else's streams: their connections are free at once, and how that ends changes nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from bestroute._utils.interruptions import is_interruption

logger = logging.getLogger("bestroute.engine")

Pieces = TypeVar("Pieces")


def close(pieces: Any) -> None:
    """Close a stream that can be closed."""
    try:
        if (closes := getattr(pieces, "close", None)) is not None:
            closes()
    except BaseException as error:
        if is_interruption(error):
            raise
        logger.info("a stream could not be closed: %s", type(error).__name__)


async def aclose(pieces: Any) -> None:
    """Close a stream that can be closed; see ``close``."""
    try:
        if (closes := getattr(pieces, "aclose", None)) is not None:
            await closes()
    except BaseException as error:
        if is_interruption(error):
            raise
        logger.info("a stream could not be closed: %s", type(error).__name__)


@asynccontextmanager
async def closed(pieces: Pieces) -> AsyncIterator[Pieces]:
    """Close a stream where its reader leaves, and not when it is collected as garbage."""
    try:
        yield pieces
    finally:
        await aclose(pieces)
