"""Routing batches of rows on a Ray cluster: ``RouteRows`` over blocks of rows (``engine.ray_blocks``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from bestroute.engine.engine import BestRoute
from bestroute.engine.ray_blocks import by_windows, on_ray
from bestroute.engine.route_log import RouteBatches
from bestroute.engine.route_rows import RouteRows


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
        ConfigError: If the engine's maker cannot be sent, or the cluster cannot be reached.
        ImportError: If Ray is not there.
    """
    make = _MakeRows(make_engine, job, answers_url, concurrency, draws, decided_by)
    return partial(by_windows, on_ray(make, address=address))


@dataclass(frozen=True)
class _MakeRows:
    """Makes a ``RouteRows`` in a worker, which keeps it for all that are equal to this."""

    make_engine: Callable[[], BestRoute]
    job: str
    answers_url: str | None
    concurrency: int
    draws: bool
    decided_by: str

    def __call__(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Route a batch."""
        routed: list[dict[str, Any]] = self._here()(rows)
        return routed

    @cache  # noqa: B019  # as many as jobs, and for as long as the worker
    def _here(self) -> RouteRows:
        """Return this process's."""
        return RouteRows(
            self.make_engine,
            self.job,
            self.answers_url,
            concurrency=self.concurrency,
            draws=self.draws,
            decided_by=self.decided_by,
        )
