"""Routing batches of rows on a Ray cluster: ``RouteRows`` in Ray Data's ``map_batches``, a window of batches at a time.

Rows go to the cluster as JSON, whatever fields they have, so that no file system is shared for the log. What a lost
machine had under way is handed out again by Ray; the database of the answers knows what was done.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import Any

from bestroute.engine.engine import BestRoute
from bestroute.engine.route_log import RouteBatches, Rows
from bestroute.engine.route_rows import RouteRows

_WINDOW = 128
"""Batches that are on the cluster at once; memory holds so many."""


def by_ray(
    make_engine: Callable[[], BestRoute],
    job: str,
    answers_url: str | None = None,
    *,
    concurrency: int = 8,
    draws: bool = True,
    address: str | None = None,
    decided_by: str = "",
) -> RouteBatches:
    """Return what routes batches on a cluster, in their order.

    Args:
        make_engine: Makes the engine in a worker; it can be pickled and hashed, and is made once a process.
        job: As in ``route_rows``.
        answers_url: The database of the answers, which every worker reaches.
        concurrency: Rows under way at once in a worker.
        draws: Whether rows are answered.
        address: Of the cluster, ``"auto"`` or ``"host:port"``; ``None``: this machine alone.
        decided_by: As in ``route_rows``.

    Raises:
        ImportError: If Ray is not there.
    """
    import ray

    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    route = partial(_routed, _MakeRows(make_engine, job, answers_url, concurrency, draws, decided_by))

    def routed(batches: Iterator[Rows]) -> Iterator[Rows]:
        while window := [{"rows": json.dumps(rows)} for rows in islice(batches, _WINDOW)]:
            blocks = ray.data.from_items(window, override_num_blocks=len(window))
            for done in blocks.map_batches(route, batch_size=None).iter_rows():
                yield json.loads(done["rows"])

    return routed


@dataclass(frozen=True)
class _MakeRows:
    """Makes a ``RouteRows`` in a worker, which keeps it for all that are equal to this."""

    make_engine: Callable[[], BestRoute]
    job: str
    answers_url: str | None
    concurrency: int
    draws: bool
    decided_by: str

    @cache  # noqa: B019  # as many as jobs, and for as long as the worker
    def here(self) -> RouteRows:
        """Return this process's."""
        return RouteRows(
            self.make_engine,
            self.job,
            self.answers_url,
            concurrency=self.concurrency,
            draws=self.draws,
            decided_by=self.decided_by,
        )


def _routed(make: _MakeRows, block: dict[str, Any]) -> dict[str, list[str]]:
    """Route the batches of a block, in a worker."""
    return {"rows": [json.dumps(make.here()(json.loads(str(rows)))) for rows in block["rows"]]}
