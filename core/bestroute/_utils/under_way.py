"""Work in threads of which a bounded number is under way: as one ends the next begins, until something says stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ended(
    run: Callable[[T], R], items: Iterable[T], concurrency: int, stops: Callable[[], bool], *, name: str
) -> Iterator[tuple[T, Future[R]]]:
    """Yield each item with its future, done, in the order in which they end.

    Args:
        run: Called with an item, in a thread.
        items: Taken one by one, each when there is room for it.
        concurrency: How many are under way at once.
        stops: Once true, no further item begins; those under way are waited for.
        name: Of the threads.
    """
    queue = iter(items)
    running: dict[Future[R], T] = {}
    with ThreadPoolExecutor(concurrency, thread_name_prefix=name) as threads:
        while True:
            while not stops() and len(running) < concurrency and (item := next(queue, None)) is not None:
                running[threads.submit(run, item)] = item
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future
