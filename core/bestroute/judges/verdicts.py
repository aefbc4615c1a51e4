"""What a judge said so far, by query, in a journal beside the file in which it will stand.

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
        self._kept: dict[str, JudgeReply] = {}
        self._writing = Lock()
        try:
            self._of = self._read(dict(how))
        except BaseException:
            self._journal.close()
            raise

    @property
    def cost_usd(self) -> float:
        """What all verdicts and replies cost, those of earlier runs too."""
        kept = sum(reply.cost_usd for reply in self._kept.values())
        return float(sum(row["cost_usd"] for row in self._of.values()) + kept)

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

    def kept(self, question: str) -> JudgeReply | None:
        """Return the reply to a question whose verdict is not there yet."""
        return self._kept.get(question)

    def keep(self, question: str, reply: JudgeReply) -> None:
        """Write a reply whose verdict waits for others; called from several threads.

        Args:
            question: What it is known by.
            reply: What the judge said.
        """
        with self._writing:
            self._journal.append({"question": question, "reply": reply.text, "cost_usd": reply.cost_usd})
            self._kept[question] = reply

    def add(self, task: JudgeTask, verdict: Verdict, *, keep_replies: bool, questions: Sequence[str] = ()) -> None:
        """Write a verdict, which takes up the kept replies to its questions."""
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
        """Let the journal go; ``drop`` it when all of it stands in the file."""
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
        """Put a verdict with those on the same query."""
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
