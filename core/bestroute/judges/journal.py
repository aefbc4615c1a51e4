"""What was judged so far, on disk as it comes: a run that was killed goes on and pays for nothing twice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bestroute._utils.files import lock
from bestroute.errors import ConfigError
from bestroute.judges.judge import JudgeTask, Verdict
from bestroute.records.jsonl import dump_line, read_jsonl


class Journal:
    """Verdicts beside the file that they will stand in (``<out>.journal``); one process at a time.

    Args:
        out: The file of labelled records.
        how: Who judges and how; a journal of another judge is refused.

    Raises:
        ConfigError: If another process labels into it, or it was begun otherwise.
    """

    def __init__(self, out: Path, how: Mapping[str, Any]) -> None:
        """Open it, and read what is there; a line that was torn by a kill is dropped."""
        self.path = out.with_name(out.name + ".journal")
        self._file = open(self.path, "a+b")
        try:
            lock(self._file)
        except OSError as error:
            self._file.close()
            raise ConfigError(f"{out}: another process is labelling into it") from error
        try:
            self._verdicts = self._read(dict(how))
        except BaseException:
            self._file.close()
            raise

    @property
    def cost_usd(self) -> float:
        """What all verdicts cost, those of earlier runs too."""
        return float(sum(row["cost_usd"] for row in self._verdicts.values()))

    @property
    def first_wins(self) -> tuple[int, int]:
        """How often the answer shown first was preferred, and how often the other."""
        first, second = zip(*[row["first_wins"] for row in self._verdicts.values()] or [(0, 0)], strict=True)
        return sum(first), sum(second)

    def quality(self, id_: str, text: str) -> float | None:
        """Return what was said of an answer; ``None`` where nothing was."""
        quality: float | None = self._verdicts.get(id_, {}).get("qualities", {}).get(text)
        return quality

    def replies(self, id_: str) -> list[str]:
        """Return the judge's words about a query, where they were kept."""
        return list(self._verdicts.get(id_, {}).get("replies", ()))

    def waiting(self, task: JudgeTask) -> JudgeTask | None:
        """Return what of a task no verdict is there for; ``None`` where all is there."""
        known = self._verdicts.get(task.id, {}).get("qualities", {})
        answers = tuple(text for text in task.answers if text not in known)
        return JudgeTask(task.id, task.query, answers, task.fields, task.reference) if answers else None

    def add(self, task: JudgeTask, verdict: Verdict, *, keep_replies: bool) -> None:
        """Write a verdict, and make sure that it is on disk."""
        row = {
            "id": task.id,
            "qualities": dict(zip(task.answers, verdict.qualities, strict=True)),
            "cost_usd": verdict.cost_usd,
            "first_wins": list(verdict.first_wins),
            **({"replies": list(verdict.replies)} if keep_replies else {}),
        }
        self._append(row)
        self._take(self._verdicts, row)

    def close(self, *, drop: bool) -> None:
        """Let it go; ``drop`` it when all of it stands in the file."""
        if drop:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _read(self, how: dict[str, Any]) -> dict[str, dict[str, Any]]:
        self._file.seek(0)
        whole = self._file.read()
        self._file.truncate(whole.rfind(b"\n") + 1)
        self._file.seek(0, os.SEEK_END)
        verdicts: dict[str, dict[str, Any]] = {}
        rows = [row for _, row in read_jsonl(self.path)]
        if not rows:
            self._append({"how": how})
        elif rows[0].get("how") != how:
            raise ConfigError(
                f"{self.path}: was begun by {rows[0].get('how')}, now asked for {how}; "
                "ask as before, or give another --out"
            )
        for row in rows[1:]:
            self._take(verdicts, row)
        return verdicts

    @staticmethod
    def _take(verdicts: dict[str, dict[str, Any]], row: dict[str, Any]) -> None:
        """Put a verdict with those on the same query."""
        before = verdicts.get(row["id"])
        if before is not None:
            first, second = before["first_wins"], row["first_wins"]
            row = {
                **row,
                "qualities": before["qualities"] | row["qualities"],
                "cost_usd": before["cost_usd"] + row["cost_usd"],
                "first_wins": [first[0] + second[0], first[1] + second[1]],
                "replies": [*before.get("replies", ()), *row.get("replies", ())],
            }
        verdicts[row["id"]] = row

    def _append(self, value: Mapping[str, Any]) -> None:
        self._file.write(dump_line(value))
        self._file.flush()
        os.fsync(self._file.fileno())
