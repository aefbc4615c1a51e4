"""A bar of what is done and what is wanted, for commands that take long."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def shown(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; what it yields is told how many are done, and how many are wanted in all."""
    from tqdm import tqdm

    with tqdm(unit=unit) as bar:

        def show(done: int, wanted: int) -> None:
            bar.total = wanted
            bar.update(done - bar.n)

        yield show


@contextlib.contextmanager
def counted(unit: str) -> Iterator[Callable[[int], None]]:
    """Show how many are done, where nobody knows how many there are."""
    from tqdm import tqdm

    with tqdm(unit=unit) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        yield show
