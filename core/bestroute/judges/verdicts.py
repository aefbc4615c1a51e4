"""What a judge said so far, by query, in a journal beside the file in which it will stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bestroute.errors import ConfigError
from bestroute.judges.judge import JudgeTask, Verdict
from bestroute.records.journal import Journal

KIND = "judgements"
"""The end of the journal's name."""


class Verdicts:
    """Verdicts by query, kept in ``<out>.judgements``.

    Args:
        out: The file of labelled records.
        how: Who judges and how; what another judge began is refused.

    Raises:
        ConfigError: If another process labels into it, or it was begun otherwise.
    """

    def __init__(self, out: Path, how: Mapping[str, Any]) -> None:
        """Open the journal, and read what is there."""
        self._journal = Journal(out, KIND, doing="labelling")
        try:
            self._of = self._read(dict(how))
        except BaseException:
            self._journal.close()
            raise

    @property
    def cost_usd(self) -> float:
        """What all verdicts cost, those of earlier runs too."""
        return float(sum(row["cost_usd"] for row in self._of.values()))

    @property
    def first_wins(self) -> tuple[int, int]:
        """How often the answer shown first was preferred, and how often the other."""
        first, second = zip(*[row["first_wins"] for row in self._of.values()] or [(0, 0)], strict=True)
        return sum(first), sum(second)

    def quality(self, id_: str, text: str) -> float | None:
        """Return what was said of an answer; ``None`` where nothing was."""
        quality: float | None = self._of.get(id_, {}).get("qualities", {}).get(text)
        return quality

    def replies(self, id_: str) -> list[str]:
        """Return the judge's words about a query, where they were kept."""
        return list(self._of.get(id_, {}).get("replies", ()))

    def waiting(self, task: JudgeTask) -> JudgeTask | None:
        """Return what of a task no verdict is there for; ``None`` where all is there."""
        known = self._of.get(task.id, {}).get("qualities", {})
        answers = tuple(text for text in task.answers if text not in known)
        return JudgeTask(task.id, task.query, answers, task.fields, task.reference) if answers else None

    def add(self, task: JudgeTask, verdict: Verdict, *, keep_replies: bool) -> None:
        """Write a verdict."""
        row = {
            "id": task.id,
            "qualities": dict(zip(task.answers, verdict.qualities, strict=True)),
            "cost_usd": verdict.cost_usd,
            "first_wins": list(verdict.first_wins),
            **({"replies": list(verdict.replies)} if keep_replies else {}),
        }
        self._journal.append(row)
        self._take(self._of, row)

    def close(self, *, drop: bool) -> None:
        """Let the journal go; ``drop`` it when all of it stands in the file."""
        self._journal.close(() if drop else None)

    def _read(self, how: dict[str, Any]) -> dict[str, dict[str, Any]]:
        verdicts: dict[str, dict[str, Any]] = {}
        for number, row in self._journal.lines():
            if number > 1:
                self._take(verdicts, row)
            elif row.get("how") != how:
                raise ConfigError(
                    f"{self._journal.path}: was begun by {row.get('how')}, now asked for {how}; "
                    "ask as before, or give another --out"
                )
        if self._journal.is_empty:
            self._journal.append({"how": how})
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
