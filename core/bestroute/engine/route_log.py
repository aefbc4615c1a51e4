"""Routing a file of prompts, however long: a line out for each line in, in its order, resumed where it was stopped.

The file is read a batch at a time, and a batch's lines are on disk before the next ones are written. So a run that is
killed goes on after the last whole line. Rows that failed are routed again by the next run, other lines stand.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import IO, Any

from bestroute._utils.files import atomic_file, is_same_file, lock, writing
from bestroute._utils.text import brief
from bestroute.engine.route_rows import COLUMNS, DECIDED
from bestroute.errors import ConfigError
from bestroute.records.collect import Prompt, numbered_prompts
from bestroute.records.jsonl import dump_line, read_jsonl

Rows = list[dict[str, Any]]
RouteBatches = Callable[[Iterator[Rows]], Iterator[Rows]]
"""Batches of rows in, the same rows routed out, in their order; one machine's or a cluster's."""
DECIDED_BY = "decided_by"
"""The column that says by which router, policy and prices a line was decided on."""
_ADDED = dict.fromkeys((*DECIDED, *COLUMNS))
"""What routing adds to a row, in a line's order; what the log itself has under these names is not routed."""
_BLOCK = 1 << 16


@dataclass
class RoutedLog:
    """What a run came to; kept lines count in the sums."""

    routed: int = 0
    """Rows routed in this run."""
    kept: int = 0
    """Rows that were there before."""
    failed: int = 0
    """Rows that have no answer; the same command asks again."""
    usd: dict[str, float] = field(default_factory=dict)
    """Sums of the columns that are USD, over rows that have them."""
    plans: Counter[str] = field(default_factory=Counter)
    """How many rows each plan got."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a line."""
        self.failed += line.get("error") is not None
        if line.get("plan") is not None:
            self.plans[line["plan"]] += 1
        for name, value in line.items():
            if name.endswith("_usd") and value is not None:
                self.usd[name] = self.usd.get(name, 0.0) + value


def route_log(
    log: Path,
    out: Path,
    route: RouteBatches,
    *,
    decided_by: str,
    batch: int = 256,
    stops: Callable[[], bool] = lambda: False,
    on_row: Callable[[int], None] | None = None,
) -> RoutedLog:
    """Route every row of a file.

    Args:
        log: Prompts, JSON Lines: ``id``, ``query`` and what else a prompt has. Records will do.
        out: A line for each: ``id``, what routing adds, and ``decided_by``.
        route: Routes batches.
        decided_by: What decides; lines that something else decided on are not gone on with.
        batch: Rows of a batch.
        stops: Once true, no further batch is begun.
        on_row: Called with how many rows are done.

    Raises:
        ConfigError: If ``out`` is no such file, another log's, or was decided on by something else, or another process
            writes it; it stays as it was.
        RecordError: At the first bad line of the log.
    """
    if out.suffix == ".gz":
        raise ConfigError(f"{out}: lines are added to it as they come, so it cannot be gzipped; give a name in .jsonl")
    if is_same_file(log, out):
        raise ConfigError(f"{out} is the file of prompts itself; give another --out")
    if out.exists() and not out.is_file():
        raise ConfigError(
            f"{out} is no file that can be read again, as going on with it needs; give the name of a file"
        )
    done = RoutedLog()
    with _locked(out) as stream:
        for line in _kept(log, out, decided_by):
            done.kept += 1
            done.add(line)
        if not done.kept and out.stat().st_size:
            raise ConfigError(f"{out} holds no whole line that was routed; give another --out, or remove it")
        _cut_torn_line(stream)
        if done.failed:
            return _again(log, out, route, decided_by, batch, stops)
        batches = _batches(islice(_prompts(log), done.kept, None), batch, stops)
        for lines in _lines(batches, route, decided_by):
            with writing(out):
                stream.write(b"".join(map(dump_line, lines)))
                stream.flush()
                os.fsync(stream.fileno())
            for line in lines:
                done.routed += 1
                done.add(line)
            if on_row:
                on_row(done.kept + done.routed)
    return done


@contextmanager
def _locked(out: Path) -> Iterator[IO[bytes]]:
    """Open a file to add to it; nothing of it is changed yet."""
    with out.open("a+b") as stream:
        try:
            lock(stream)
        except OSError as error:
            raise ConfigError(f"{out}: another process is routing into it") from error
        yield stream


def _cut_torn_line(stream: IO[bytes]) -> None:
    """Cut a file after its last whole line: what a kill tore is routed again."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        stream.seek(start)
        if (at := stream.read(end - start).rfind(b"\n")) >= 0:
            end = start + at + 1
            break
        end = start
    stream.truncate(end)
    stream.seek(0, os.SEEK_END)


def _kept(log: Path, out: Path, decided_by: str) -> Iterator[dict[str, Any]]:
    """Yield the whole lines that are there, each checked to be of its row.

    Raises:
        ConfigError: If one is not.
    """
    prompts = _prompts(log)
    for number, line in read_jsonl(out, torn_tail=True):
        prompt = next(prompts, None)
        if prompt is None or line.get("id") != prompt.id:
            other = "no row" if prompt is None else f"the row {brief(prompt.id)}"
            raise ConfigError(
                f"{out} line {number} is of {brief(str(line.get('id')))}, where {log} has {other}; give another --out"
            )
        if line.get(DECIDED_BY) != decided_by:
            raise ConfigError(
                f"{out} line {number} was decided on by {brief(str(line.get(DECIDED_BY)))}, now by {decided_by!r}: "
                "another router, policy, price, reward or job; ask as before, or give another --out"
            )
        yield line


def _again(
    log: Path, out: Path, route: RouteBatches, decided_by: str, batch: int, stops: Callable[[], bool]
) -> RoutedLog:
    """Route the rows that failed and those that are not there; the file is put in place whole."""
    done = RoutedLog()

    def lines() -> Iterator[tuple[Prompt, dict[str, Any] | None]]:
        """Yield each row with its line, ``None`` where it wants one."""
        for prompt, numbered in zip_longest(_prompts(log), read_jsonl(out)):
            yield prompt, None if numbered is None else numbered[1]

    wanted = (prompt for prompt, line in lines() if line is None or line.get("error") is not None)
    routed = chain.from_iterable(_lines(_batches(wanted, batch, stops), route, decided_by))
    with atomic_file(out) as stream:
        for _, line in lines():
            if line is not None and line.get("error") is None:
                done.kept += 1
            elif (new := next(routed, None)) is not None:
                done.routed += 1
                line = new
            if line is None:  # stopped before its turn
                break
            stream.write(dump_line(line))
            done.add(line)
    return done


def _prompts(log: Path) -> Iterator[Prompt]:
    return (prompt for _, prompt in numbered_prompts(log))


def _batches(prompts: Iterable[Prompt], size: int, stops: Callable[[], bool]) -> Iterator[Rows]:
    waiting = iter(prompts)
    while not stops() and (rows := [_row(prompt) for prompt in islice(waiting, size)]):
        yield rows


def _row(prompt: Prompt) -> dict[str, Any]:
    return {name: value for name, value in prompt.fields.items() if name not in _ADDED} | {"id": prompt.id}


def _lines(batches: Iterator[Rows], route: RouteBatches, decided_by: str) -> Iterator[Sequence[dict[str, Any]]]:
    for rows in route(batches):
        yield [_line(row, decided_by) for row in rows]


def _line(row: Mapping[str, Any], decided_by: str) -> dict[str, Any]:
    added = {name: row[name] for name in _ADDED if name in row}
    return {"id": row["id"], **added, DECIDED_BY: decided_by}
