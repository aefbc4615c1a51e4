"""A function over blocks of JSON on a Ray cluster: Ray Data's ``map_batches``, in order, a window of blocks at a time.

Blocks go to the cluster as texts of JSON, whatever they hold, so that no file system is shared for them. What a lost
machine had under way is handed out again by Ray; a function that must do nothing twice asks a database what was done.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, repeat
from typing import Any

from bestroute.errors import ConfigError
from bestroute.errors.redaction import describe

Work = Callable[[Any], Any]
"""A block of JSON in, what it came to out, JSON too; it can be pickled, and runs in a worker."""
Map = Callable[[Sequence[str]], Iterable[str]]
"""Blocks in, as texts, and for each what it came to, in their order; all of them are there at once."""
WINDOW = 128
"""Blocks that are on the cluster at once; memory holds so many."""


def by_windows(run: Map, blocks: Iterator[Any], sizes: Iterable[int] = repeat(WINDOW)) -> Iterator[Any]:
    """Yield what blocks come to, in their order.

    Args:
        run: The cluster.
        blocks: Taken a window at a time, each when the one before has come back.
        sizes: Of the windows.

    Raises:
        ConfigError: If a block holds what is no JSON.
        ValueError: If a block is lost.

    Example:
        >>> list(by_windows(lambda texts: [text * 2 for text in texts], iter([1, 2, 3]), [2, 2]))
        [11, 22, 33]
    """
    for size in sizes:
        window = [_text(block) for block in islice(blocks, size)]
        if not window:
            return
        for _, done in zip(window, run(window), strict=True):
            yield json.loads(done)


def _text(block: Any) -> str:
    try:
        return json.dumps(block)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"what goes to the cluster must be JSON: {describe(error)}") from error


def on_ray(work: Work, *, address: str | None = None) -> Map:
    """Return what runs a function on a cluster.

    Args:
        work: The function; a worker is a process, and calls it with one block after the other.
        address: Of the cluster, ``"auto"`` or ``"host:port"``; ``None``: this machine alone.

    Raises:
        ConfigError: If the function cannot be sent, or the cluster cannot be reached.
        ImportError: If Ray is not there.
    """
    import ray

    dumps: Any = ray.cloudpickle.dumps
    try:
        dumps(work)
    except Exception as error:
        raise ConfigError(
            f"what the workers need cannot be sent to them ({describe(error)}); give functions and objects that can be "
            "pickled"
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise ConfigError(
                f"the Ray cluster {address or 'of this machine'!r} cannot be reached: {describe(error)}"
            ) from error
    context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every window
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    return partial(_run, ray, partial(_worked, work))


def _run(ray: Any, work: Callable[[dict[str, Any]], dict[str, list[str]]], texts: Sequence[str]) -> Iterator[str]:
    blocks = ray.data.from_items([{"block": text} for text in texts], override_num_blocks=len(texts))
    try:
        for done in blocks.map_batches(work, batch_size=None).iter_rows():
            yield str(done["block"])
    except ray.exceptions.RayError as error:
        why = describe(getattr(error, "cause", None) or error)
        raise ConfigError(f"the cluster failed ({why}); the same command goes on with what was done") from error


def _worked(work: Work, block: dict[str, Any]) -> dict[str, list[str]]:
    """Do the blocks of a batch, in a worker."""
    return {"block": [json.dumps(work(json.loads(str(text)))) for text in block["block"]]}
