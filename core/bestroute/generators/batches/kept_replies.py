"""Results of batches for rows without an answer yet: stored before they are passed on, so that killed runs resume.

Replies are paid for, so none is drawn again. What failed for good is kept as well: a run that is begun anew goes the
same way as the one that was killed, and uses all that was drawn for that.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from bestroute.generators.batches.batch_forms import BatchLineError, LineResult
from bestroute.records.journal import Journal

Slot = tuple[str, str, bool]
"""Key of a draw, model, and whether it is the greedy answer."""


class KeptReplies:
    """Results of draws in a journal beside a file, by key and model; the draws of a row have keys of ``draw_key``.

    Args:
        out: The output file.

    Raises:
        ConfigError: If another process has locked the journal.
        RecordError: If it is invalid; names the line.
    """

    def __init__(self, out: Path) -> None:
        """Read what an earlier run left."""
        self._results: defaultdict[str, dict[tuple[str, str], LineResult]] = defaultdict(dict)
        self._times_done: Counter[str] = Counter()
        self._run, self._decided_by = "", ""
        self._journal = Journal(out, "replies", doing="routing")
        try:
            self._read()
        except BaseException:
            self._journal.close()
            raise

    def _read(self) -> None:
        for _, line in self._journal.lines():
            if "run" in line:
                self._run, self._decided_by = line["run"], line["decided_by"]
            elif "done" in line:
                self._forget(line["done"])
            else:
                self._results[_row_of(line["draw"])][line["draw"], line["model"]] = _result_of(line)

    def begin(self, decided_by: str, *, folder: Path | None) -> None:
        """Start a run, or continue the earlier one.

        Args:
            decided_by: Describes what decides on rows in this run.
            folder: Folder of an earlier run's unfinished batches, if there are any.

        Raises:
            ConfigError: If rows that are not answered yet were decided in another way.
        """
        if self._run and self._decided_by == decided_by:
            return
        if self._run and (folder is not None or self.is_wanted):
            left = f"{self._journal.path}" + (f" and {folder}" if folder is not None else "")
            raise ConfigError(
                f"batches are under way of a run that was decided on by {brief(self._decided_by)}, now by "
                f"{brief(decided_by)}: another router, policy, price, reward or job; ask as before, or delete {left} "
                "if what they answer is not wanted"
            )
        self._run, self._decided_by = os.urandom(8).hex(), decided_by
        self._journal.append({"run": self._run, "decided_by": decided_by})

    @property
    def is_wanted(self) -> bool:
        """Whether it has results of rows that are not answered yet."""
        return any(self._results.values())

    def turn(self, row: str) -> str:
        """Return the id of a row until it is ``done``; later draws for the row get another one."""
        return f"{row}.{self._times_done[row]}"

    def call_id(self, row: str) -> str:
        """Return the call id of a row's turn."""
        return sha256(f"{self._run} {row} {self._times_done[row]}".encode()).hexdigest()[:32]

    def get(self, slot: Slot) -> LineResult | None:
        """Return the stored result of a draw; ``None`` if there is none."""
        draw, model, _ = slot
        return self._results.get(_row_of(draw), {}).get((draw, model))

    def has(self, slot: Slot) -> bool:
        """Return whether a draw is no longer waited for: it is stored, or its row is done."""
        turn, _, _ = slot[0].rpartition("-")
        row, _, number = turn.rpartition(".")
        return self.get(slot) is not None or (number.isdigit() and int(number) < self._times_done[row])

    def has_any(self, row: str) -> bool:
        """Return whether any result of a row is stored."""
        return bool(self._results.get(row))

    def keep(self, slot: Slot, result: LineResult) -> None:
        """Store the result of a draw; it is on disk when this returns."""
        draw, model, _ = slot
        self._journal.append({"draw": draw, "model": model, **_written(result)})
        self._results[_row_of(draw)][draw, model] = result

    def done(self, row: str, *, is_new: bool = True) -> None:
        """Drop the results of a row: its bill is written, and later requests for the row draw anew.

        Args:
            row: The row.
            is_new: Whether that is of this run, and not found.
        """
        if is_new or self.has_any(row):
            self._journal.append({"done": row})
        self._forget(row)

    def close(self, *, is_wanted: bool = False) -> None:
        """Close the journal; it is removed if it has no results that are needed."""
        self._journal.close(None if is_wanted or self.is_wanted else [])

    def _forget(self, row: str) -> None:
        self._results.pop(row, None)
        self._times_done[row] += 1


def replies_file(out: Path) -> Path:
    """Return the path of the replies beside a file."""
    return out.with_name(f"{out.name}.replies")


def draw_key(turn: str, number: int) -> str:
    """Return the key of a draw of a row's turn; draws are counted from 1 for each model."""
    return f"{turn}-{number}"


def _row_of(draw: str) -> str:
    return draw.rpartition("-")[0].rpartition(".")[0]


def _written(result: LineResult) -> dict[str, Any]:
    error = result.error
    if error is None:
        return {"reply": dict(result.reply or {})}
    return {"error": {"message": str(error), "status": error.status_code, "code": error.code, "body": error.body}}


def _result_of(line: Mapping[str, Any]) -> LineResult:
    if "error" not in line:
        return LineResult("", line["reply"])
    noted = line["error"]
    error = BatchLineError(noted["message"], status_code=noted["status"], code=noted["code"], body=noted["body"])
    return LineResult("", error=error)
