"""Replies of batches that are paid for and whose rows are not answered yet: on disk before they are handed on."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from bestroute.records.journal import Journal

Slot = tuple[str, str, bool]
"""Key of a draw, model, and whether it is the greedy answer."""


class KeptReplies:
    """Replies by slot, in a journal beside a file; the keys of a row's draws are ``<row>-<number>``.

    Args:
        out: The file.

    Raises:
        ConfigError: If another process has the journal.
        RecordError: If it holds anything else; names the line.
    """

    def __init__(self, out: Path) -> None:
        """Read what an earlier run left."""
        self._replies: defaultdict[str, dict[Slot, Mapping[str, Any]]] = defaultdict(dict)
        self._times_done: Counter[str] = Counter()
        self._run = ""
        self._journal = Journal(out, "replies", doing="routing")
        try:
            self._read()
        except BaseException:
            self._journal.close()
            raise

    def _read(self) -> None:
        for _, line in self._journal.lines():
            if "run" in line:
                self._run = line["run"]
            elif "done" in line:
                self._forget(line["done"])
            else:
                self._replies[_row_of(line["draw"])][line["draw"], line["model"], line["is_greedy"]] = line["reply"]
        if not self._run:
            self._run = os.urandom(8).hex()
            self._journal.append({"run": self._run})

    def get(self, slot: Slot) -> Mapping[str, Any] | None:
        """Return the reply of a slot, if it is kept."""
        return self._replies.get(_row_of(slot[0]), {}).get(slot)

    def has_any(self, row: str) -> bool:
        """Whether a reply to one of a row's draws is kept."""
        return bool(self._replies.get(row))

    def keep(self, slot: Slot, reply: Mapping[str, Any]) -> None:
        """Keep a reply; it is on disk when this returns."""
        draw, model, is_greedy = slot
        self._journal.append({"draw": draw, "model": model, "is_greedy": is_greedy, "reply": dict(reply)})
        self._replies[_row_of(draw)][slot] = reply

    def done(self, row: str) -> None:
        """Let go of a row's replies: their bill is written, and whoever asks the row again draws anew."""
        if self.has_any(row):
            self._journal.append({"done": row})
        self._forget(row)

    def call_id(self, row: str) -> str:
        """Return the id of the call that uses up the replies of a row: the same until they are ``done``."""
        return sha256(f"{self._run} {row} {self._times_done[row]}".encode()).hexdigest()[:32]

    def close(self) -> None:
        """Let go of the journal; one that holds no reply that is wanted is removed."""
        self._journal.close(None if any(self._replies.values()) else [])

    def _forget(self, row: str) -> None:
        self._replies.pop(row, None)
        self._times_done[row] += 1


def replies_file(out: Path) -> Path:
    """Return where the replies beside a file stand, if there are any."""
    return out.with_name(f"{out.name}.replies")


def _row_of(draw: str) -> str:
    return draw.rpartition("-")[0]
