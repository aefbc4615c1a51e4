"""Close third-party streams, so that their connections are free at once; errors in closing are ignored."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from bestroute._utils.interruptions import is_interruption

logger = logging.getLogger("bestroute.engine")

Pieces = TypeVar("Pieces")


def close(pieces: Any) -> None:
    """Close a stream, if it can be closed."""
    try:
        if (closes := getattr(pieces, "close", None)) is not None:
            closes()
    except BaseException as error:
        if is_interruption(error):
            raise
        logger.info("a stream could not be closed: %s", type(error).__name__)


async def aclose(pieces: Any) -> None:
    """Close a stream, if it can be closed; see ``close``."""
    try:
        if (closes := getattr(pieces, "aclose", None)) is not None:
            await closes()
    except BaseException as error:
        if is_interruption(error):
            raise
        logger.info("a stream could not be closed: %s", type(error).__name__)


@asynccontextmanager
async def closed(pieces: Pieces) -> AsyncIterator[Pieces]:
    """Yield from a stream and close it when the reader leaves, not at garbage collection."""
    try:
        yield pieces
    finally:
        await aclose(pieces)
