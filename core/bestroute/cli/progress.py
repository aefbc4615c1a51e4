"""Progress bars for commands that take long."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def shown(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; yields a function to call with how many are done and the total."""
    from tqdm import tqdm

    with tqdm(unit=unit) as bar:

        def show(done: int, wanted: int) -> None:
            bar.total = wanted
            bar.update(done - bar.n)

        yield show


@contextlib.contextmanager
def counted(unit: str) -> Iterator[Callable[[int], None]]:
    """Show a counter, where the total is unknown; yields a function to call with how many are done."""
    from tqdm import tqdm

    with tqdm(unit=unit) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        yield show
