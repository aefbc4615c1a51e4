"""Draws of ``collect`` and ``label`` on a cluster: a ``Drawer`` whose draws are kept in the ledger's database.

What a machine drew stands in the database before it goes back, so that a block of a lost machine is not drawn anew. It
is marked there as taken just before the command gets it, so that the next run of a command that was killed gets what
this one did not, and nothing twice. The names of a command's runs stand beside what it writes (``<out>.cluster``).
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import chain, count, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestroute._utils.files import atomic_file
from bestroute._utils.text import brief
from bestroute.billing.ledger import Kind
from bestroute.engine.draw_blocks import TAKEN, DrawBlocks, job_data, outcome_of, stop_key
from bestroute.engine.ray_blocks import WINDOW, Map, Work, by_windows, on_ray
from bestroute.errors import ConfigError
from bestroute.records.collect import Job
from bestroute.types.pool import Pool
from bestroute.types.protocols import Generator
from bestroute.types.sample import Sample

if TYPE_CHECKING:
    from bestroute.billing.database.kept_answers import Answers

_LOOK_S = 0.2
"""Seconds between two looks whether the command was stopped."""
_ROUNDS = 4
"""Draws of a block that a worker's threads make one after the other."""


class ClusterDraws:
    """Makes draws on a cluster; a ``Drawer`` of ``collect`` and ``label``.

    Args:
        make_generators: Makes the members, in each worker; it can be pickled.
        pool: For their prices.
        out: The file of what was drawn so far; the runs' names stand beside it.
        store: The ledger's database, which every worker reaches; it keeps the draws, too.
        job: The bills' ``run_id``.
        kind: What the bills are of.
        concurrency: Draws under way at once in a worker.
        cluster: Makes of a function what runs it on a cluster; by default Ray on this machine.

    Raises:
        ConfigError: When called, if an earlier run's draws are not in this database, or it cannot be reached.
    """

    def __init__(
        self,
        make_generators: Callable[[], Mapping[str, Generator]],
        pool: Pool,
        out: Path,
        store: str,
        *,
        job: str,
        kind: Kind = "collect",
        concurrency: int = 4,
        cluster: Callable[[Work], Map] = on_ray,
    ) -> None:
        """Keep the settings; nothing is written yet."""
        self.make_generators, self.pool, self.store = make_generators, pool, store
        self.job, self.kind, self.concurrency, self.cluster = job, kind, concurrency, cluster
        self.file = runs_file(out)

    def __call__(
        self, todo: Iterable[Job], params: Mapping[str, Any], stops: Callable[[], bool]
    ) -> Iterator[tuple[Job, Sample | BaseException]]:
        """Yield what earlier runs left of these draws, then what comes of the others."""
        from bestroute.billing.database.kept_answers import Answers

        answers = Answers(self.store)
        try:
            yield from self._draw(todo, params, stops, answers)
        finally:
            answers.close()

    def _draw(
        self, todo: Iterable[Job], params: Mapping[str, Any], stops: Callable[[], bool], answers: Answers
    ) -> Iterator[tuple[Job, Sample | BaseException]]:
        runs, run = _read_runs(self.file), uuid.uuid4().hex
        left = _left(runs, answers)
        drawn: _Drawn = deque()
        sent: deque[tuple[Job, str]] = deque()
        work = DrawBlocks(run, self.make_generators, self.pool, self.store, self.job, self.kind, self.concurrency)
        fresh = _fresh(_until(stops, todo), params, left, drawn)
        blocks = self._blocks(run, fresh, params, sent)
        if (first := next(blocks, None)) is not None:
            cluster = self.cluster(work)
            answers.keep(run, {})
            _write_runs(self.file, [*runs, run])
            sizes = chain([1], repeat(WINDOW))  # one block shows which members cannot be reached
            with _called_off(run, stops, answers):
                for block in by_windows(cluster, chain([first], blocks), sizes):
                    ends = [(*sent.popleft(), data) for data in block]
                    drawn.extend((job, key, data) for job, key, data in ends if data is not None and data != TAKEN)
                    yield from _given(drawn, answers)
        yield from _given(drawn, answers)
        kept = [name for name in runs if any(key.startswith(name) for of in left.values() for key, _ in of)]
        _write_runs(self.file, kept)
        for name in {*runs, run}.difference(kept):
            answers.drop(name)

    def _blocks(
        self, run: str, fresh: Iterator[Job], params: Mapping[str, Any], sent: deque[tuple[Job, str]]
    ) -> Iterator[dict[str, Any]]:
        """Yield blocks of draws as the workers take them; ``sent`` is told of each draw, and of its key."""
        number = count()
        while jobs := list(islice(fresh, _ROUNDS * self.concurrency)):
            keys = [f"{run}-{_slot(job, params)}-{next(number)}" for job in jobs]
            sent.extend(zip(jobs, keys, strict=True))
            yield {"jobs": list(map(job_data, jobs, keys)), "params": dict(params)}


_Drawn = deque[tuple[Job, str, dict[str, Any]]]
"""Draws that are to be given to the command, with their keys and what they came to."""


def _given(drawn: _Drawn, answers: Answers) -> Iterator[tuple[Job, Sample | BaseException]]:
    """Yield what was drawn, each marked as taken before."""
    while drawn:
        job, key, data = drawn.popleft()
        if "error" not in data:
            answers.replace(key, TAKEN)
        yield job, outcome_of(data)


def runs_file(out: Path) -> Path:
    """Return where the names of a command's runs stand, while what they drew may not all be in its file."""
    return out.with_name(f"{out.name}.cluster")


def _read_runs(file: Path) -> list[str]:
    return list(json.loads(file.read_text(encoding="utf-8"))["runs"]) if file.exists() else []


def _write_runs(file: Path, runs: list[str]) -> None:
    if runs:
        with atomic_file(file) as stream:
            stream.write(json.dumps({"runs": runs}).encode())
    else:
        file.unlink(missing_ok=True)


_Left = dict[str, deque[tuple[str, dict[str, Any]]]]
"""What earlier runs drew and no command got, with its key, by what was asked of whom."""


def _left(runs: list[str], answers: Answers) -> _Left:
    """Return what earlier runs left, the oldest first.

    Raises:
        ConfigError: If they kept it somewhere else.
    """
    if set(runs).difference(answers.found(runs)):
        raise ConfigError(
            "the draws of an earlier run are not in this ledger; give the --ledger of that run, or delete the file "
            "beside --out that ends in .cluster if its answers are not wanted"
        )
    left: _Left = defaultdict(deque)
    for run in runs:
        for key, data in answers.beginning(f"{run}-").items():
            if "text" in data:
                left[key.split("-")[1]].append((key, data))
    return left


def _fresh(todo: Iterator[Job], params: Mapping[str, Any], left: _Left, drawn: _Drawn) -> Iterator[Job]:
    """Yield what no earlier run drew; the rest goes to ``drawn``."""
    for job in todo:
        known = left.get(_slot(job, params)) if left else None
        if known:
            drawn.append((job, *known.popleft()))
        else:
            yield job


def _slot(job: Job, params: Mapping[str, Any]) -> str:
    """Return what a draw asks of whom; draws that are the same but for their number share it."""
    query = job.query
    asks = [query.text, query.system, query.messages, query.tools, job.sampling(params)]
    named = json.dumps([job.prompt.id, job.model, job.is_greedy, asks], sort_keys=True, default=brief)
    return sha256(named.encode()).hexdigest()[:32]


def _until(stops: Callable[[], bool], todo: Iterable[Job]) -> Iterator[Job]:
    for job in todo:
        if stops():
            return
        yield job


@contextmanager
def _called_off(run: str, stops: Callable[[], bool], answers: Answers) -> Iterator[None]:
    """Call a run off once its command is stopped, so that workers begin no further draw."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_LOOK_S):
            if stops():
                with suppress(ConfigError):  # the database is away: the next look tries again
                    answers.keep(stop_key(run), {})
                    return

    watcher = threading.Thread(target=watch, name="bestroute-cluster-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
