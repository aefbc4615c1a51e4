"""Run work in a bounded number of threads: as one item ends the next begins, until told to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ended(
    run: Callable[[T], R], items: Iterable[T], concurrency: int, stops: Callable[[], bool], *, name: str
) -> Iterator[tuple[T, Future[R]]]:
    """Yield each item with its completed future, in order of completion.

    Args:
        run: Called with an item, in a thread.
        items: Taken one by one, when there is room.
        concurrency: Most items in progress at once.
        stops: Once it returns true, no further item starts; those in progress are waited for.
        name: Name of the threads.
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
