"""Verdicts of a judge so far, by query, in a journal beside the output file.

A reply that was paid for before the verdict was complete stands there too, until the verdict takes it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from bestroute.errors import ConfigError
from bestroute.judges.judge import JudgeReply, JudgeTask, Verdict
from bestroute.records.journal import Journal

KIND = "judgements"
"""Suffix of the journal's name."""


class Verdicts:
    """Verdicts by query, stored in ``<out>.judgements``.

    Args:
        out: The file of labelled records.
        how: Description of the judge; a journal of another judge is refused.

    Raises:
        ConfigError: If another process is labelling into it, or it belongs to another judge.
    """

    def __init__(self, out: Path, how: Mapping[str, Any]) -> None:
        """Open and read the journal."""
        self._journal = Journal(out, KIND, doing="labelling")
        self._kept: dict[str, JudgeReply] = {}
        self._writing = Lock()
        try:
            self._of = self._read(dict(how))
        except BaseException:
            self._journal.close()
            raise

    @property
    def cost_usd(self) -> float:
        """Cost of all verdicts and replies, including earlier runs', USD."""
        kept = sum(reply.cost_usd for reply in self._kept.values())
        return float(sum(row["cost_usd"] for row in self._of.values()) + kept)

    @property
    def first_wins(self) -> tuple[int, int]:
        """How often the answer shown first was preferred, and how often the second."""
        first, second = zip(*[row["first_wins"] for row in self._of.values()] or [(0, 0)], strict=True)
        return sum(first), sum(second)

    def quality(self, id_: str, text: str) -> float | None:
        """Return the quality of an answer; ``None`` if it is not judged."""
        quality: float | None = self._of.get(id_, {}).get("qualities", {}).get(text)
        return quality

    def replies(self, id_: str) -> list[str]:
        """Return the judge's replies about a query, if stored."""
        return list(self._of.get(id_, {}).get("replies", ()))

    def waiting(self, task: JudgeTask) -> JudgeTask | None:
        """Return the part of a task without a verdict; ``None`` if it is complete."""
        known = self._of.get(task.id, {}).get("qualities", {})
        answers = tuple(text for text in task.answers if text not in known)
        return JudgeTask(task.id, task.query, answers, task.fields, task.reference) if answers else None

    def kept(self, question: str) -> JudgeReply | None:
        """Return the stored reply to a question whose verdict is incomplete."""
        return self._kept.get(question)

    def keep(self, question: str, reply: JudgeReply) -> None:
        """Store a reply whose verdict is incomplete; called from several threads.

        Args:
            question: Key of the question.
            reply: The judge's reply.
        """
        with self._writing:
            self._journal.append({"question": question, "reply": reply.text, "cost_usd": reply.cost_usd})
            self._kept[question] = reply

    def add(self, task: JudgeTask, verdict: Verdict, *, keep_replies: bool, questions: Sequence[str] = ()) -> None:
        """Store a verdict, which replaces the stored replies to its questions."""
        row = {
            "id": task.id,
            "qualities": dict(zip(task.answers, verdict.qualities, strict=True)),
            "cost_usd": verdict.cost_usd,
            "first_wins": list(verdict.first_wins),
            **({"replies": list(verdict.replies)} if keep_replies else {}),
            **({"questions": list(questions)} if questions else {}),
        }
        with self._writing:
            self._journal.append(row)
            self._take(self._of, row)

    def close(self, *, drop: bool) -> None:
        """Close the journal; with ``drop`` it is removed, since everything is in the file."""
        self._journal.close(() if drop else None)

    def _read(self, how: dict[str, Any]) -> dict[str, dict[str, Any]]:
        verdicts: dict[str, dict[str, Any]] = {}
        for number, row in self._journal.lines():
            if number > 1 and "question" in row:
                self._kept[row["question"]] = JudgeReply(row["reply"], row["cost_usd"])
            elif number > 1:
                self._take(verdicts, row)
            elif row.get("how") != how:
                raise ConfigError(
                    f"{self._journal.path}: was begun by {row.get('how')}, now asked for {how}; "
                    "ask as before, or give another --out"
                )
        if self._journal.is_empty:
            self._journal.append({"how": how})
        return verdicts

    def _take(self, verdicts: dict[str, dict[str, Any]], row: dict[str, Any]) -> None:
        """Merge a verdict with those on the same query."""
        for question in row.get("questions", ()):
            self._kept.pop(question, None)
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
