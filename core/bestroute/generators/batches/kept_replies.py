"""What batches gave to rows that have no answer yet: on disk before it is handed on, so that a killed run can go on.

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
    """Results by draw and model, in a journal beside a file; the draws of a row have keys of ``draw_key``.

    Args:
        out: The file.

    Raises:
        ConfigError: If another process has the journal.
        RecordError: If it holds anything else; names the line.
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
        """Go on with a run, or begin one.

        Args:
            decided_by: What decides on rows now.
            folder: Where batches of an earlier run are under way, if any are.

        Raises:
            ConfigError: If something else decided on rows that are not answered yet.
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
        """Whether it holds anything of rows that are not answered yet."""
        return any(self._results.values())

    def turn(self, row: str) -> str:
        """Return what a row is known by until it is ``done``: what is drawn for it then is of another turn."""
        return f"{row}.{self._times_done[row]}"

    def call_id(self, row: str) -> str:
        """Return the id of the call of a row's turn."""
        return sha256(f"{self._run} {row} {self._times_done[row]}".encode()).hexdigest()[:32]

    def get(self, slot: Slot) -> LineResult | None:
        """Return what a draw came to, if it is kept."""
        draw, model, _ = slot
        return self._results.get(_row_of(draw), {}).get((draw, model))

    def has(self, slot: Slot) -> bool:
        """Whether nobody waits for a draw any more: it is kept, or its row was done with it."""
        turn, _, _ = slot[0].rpartition("-")
        row, _, number = turn.rpartition(".")
        return self.get(slot) is not None or (number.isdigit() and int(number) < self._times_done[row])

    def has_any(self, row: str) -> bool:
        """Whether anything is kept of a row."""
        return bool(self._results.get(row))

    def keep(self, slot: Slot, result: LineResult) -> None:
        """Keep what a draw came to; it is on disk when this returns."""
        draw, model, _ = slot
        self._journal.append({"draw": draw, "model": model, **_written(result)})
        self._results[_row_of(draw)][draw, model] = result

    def done(self, row: str, *, is_new: bool = True) -> None:
        """Let go of what is kept of a row: its bill is written, and whoever asks the row again draws anew.

        Args:
            row: The row.
            is_new: Whether that is of this run, and not found.
        """
        if is_new or self.has_any(row):
            self._journal.append({"done": row})
        self._forget(row)

    def close(self, *, is_wanted: bool = False) -> None:
        """Let go of the journal; one that holds nothing that is wanted is removed."""
        self._journal.close(None if is_wanted or self.is_wanted else [])

    def _forget(self, row: str) -> None:
        self._results.pop(row, None)
        self._times_done[row] += 1


def replies_file(out: Path) -> Path:
    """Return where the replies beside a file stand, if there are any."""
    return out.with_name(f"{out.name}.replies")


def draw_key(turn: str, number: int) -> str:
    """Return the key of a draw of a row's turn; they are counted from 1, for each model."""
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
