"""Answers of a loopback server with known quality, and a judge with a known error rate."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

_SHOWN = re.compile(r"<answer (\w+)>\n(.*?)\n</answer \1>", re.DOTALL)
_QUESTION = re.compile(r"<question>\n(.*?)\n</question>", re.DOTALL)
_POOR = ("I am not sure about that.", "Sorry, I cannot say much here.", "It depends.", "Please ask somebody else.")


@dataclass
class JudgedAnswers:
    """Answers for ``LoopbackServer.answers``: every model but the judge answers, the judge scores or compares.

    Args:
        odds: Chance of a good answer, by model.
        judge: The name of the model that judges.
        too_kind: Share of poor answers that the judge takes for good ones.
        too_strict: Share of good answers that it takes for poor ones.
        hard: Words that make a question hard: the cheap models' odds are halved.

    Example:
        >>> answers = JudgedAnswers({"small": 0.0, "large": 1.0})
        >>> answers.is_good(answers("large", [{"role": "user", "content": "Why?"}]))
        True
    """

    odds: Mapping[str, float]
    judge: str = "judge"
    too_kind: float = 0.1
    too_strict: float = 0.05
    hard: Sequence[str] = ("Compare", "argue")
    _draws: Counter[tuple[str, str]] = field(default_factory=Counter, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __call__(self, model: str, messages: Sequence[Mapping[str, Any]]) -> str:
        """Answer the last turn."""
        question = str(messages[-1]["content"])
        return self._verdict(question) if model == self.judge else self._answer(model, question)

    @staticmethod
    def is_good(text: str) -> bool:
        """Return whether an answer is truly good."""
        return text not in _POOR

    def is_liked(self, question: str, text: str) -> bool:
        """Return whether the judge considers an answer good; deterministic for the same answer to a question."""
        luck = _share("judge", question, text)
        return luck >= self.too_strict if self.is_good(text) else luck < self.too_kind

    def _answer(self, model: str, question: str) -> str:
        with self._lock:
            self._draws[model, question] += 1
            draw = self._draws[model, question]
        odds = self.odds[model]
        if odds < max(self.odds.values()) and any(word in question for word in self.hard):
            odds /= 2
        luck = _share(model, question, str(draw))
        if luck >= odds:
            return _POOR[int(luck * 1e6) % len(_POOR)]
        topic = " ".join(question.rstrip("?.!").split()[-4:])
        return (
            f"In short, {topic} comes down to three things, as {model} sees it ({draw}): what it is for, how it works, "
            "and where it fails. A careful example makes each of them plain."
        )

    def _verdict(self, prompt: str) -> str:
        question = "".join(_QUESTION.findall(prompt)[:1])
        liked = {place: self.is_liked(question, text) for place, text in _SHOWN.findall(prompt)}
        if set(liked) == {"A", "B"}:
            better = "tie" if liked["A"] == liked["B"] else "A" if liked["A"] else "B"
            return json.dumps({"better": better})
        return json.dumps({"scores": [9 if liked[place] else 2 for place in sorted(liked, key=int)]})


def _share(*texts: str) -> float:
    """Return a pseudo-random number in [0, 1) determined by the texts."""
    digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
