"""Signals: what a draw itself tells of how sure its model was."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from bestroute._utils.amounts import is_number, plain

_ROUNDING = 1e-6
"""A probability of 1 may come out as a logarithm this far above 0."""


@dataclass(frozen=True)
class Signals:
    """What a draw itself tells of how sure its model was; ``None`` where that is unknown, which is never sure."""

    sum_logprob: float | None = None
    """Sum of the natural logarithms of the tokens' probabilities; ``None`` unless all of them have one."""
    mean_logprob: float | None = None
    """Over the tokens that have one."""
    min_logprob: float | None = None
    """Of the least likely token that has one."""
    logprob_share: float | None = None
    """Tokens that have one, as a share of ``tokens``, in [0, 1]."""
    tokens: int | None = None
    """Of the answer, as the member counts them."""
    mode: str | None = None
    """How it was drawn: ``"sampled"`` or ``"greedy"``."""
    tools: str | None = None
    """How tools were offered: ``"native"`` or ``"prompt"``; ``None`` without tools."""

    def __post_init__(self) -> None:
        """Take numbers of other libraries as Python's own, and NaN and infinity as unknown."""
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and type(value) is not int and is_number(value):
                object.__setattr__(self, name, plain(value) if math.isfinite(value) else None)

    @classmethod
    def from_logprobs(
        cls,
        logprobs: Sequence[float | None],
        *,
        tokens: int | None = None,
        mode: str | None = None,
        tools: str | None = None,
    ) -> Signals:
        """Return the signals of an answer from what its tokens have.

        Args:
            logprobs: By token; ``None``, and what is no number of at most 0, where one has none.
            tokens: Of the answer, where the member counts more than it lists; at least ``len(logprobs)`` is taken.
            mode: How it was drawn.
            tools: How tools were offered.

        Example:
            >>> Signals.from_logprobs([-0.5, -0.25]).sum_logprob
            -0.75
            >>> Signals.from_logprobs([-0.5, None]).sum_logprob is None
            True
        """
        total = max(len(logprobs), tokens or 0)
        known = _ordered(logprobs)
        if not known:
            return cls(tokens=total or None, logprob_share=0.0 if total else None, mode=mode, tools=tools)
        of_known = float(sum(known))
        return cls(
            sum_logprob=of_known if len(known) == total else None,
            mean_logprob=of_known / len(known),
            min_logprob=float(known[0]),
            logprob_share=len(known) / total,
            tokens=total,
            mode=mode,
            tools=tools,
        )


_NUMBERS = ("sum_logprob", "mean_logprob", "min_logprob", "logprob_share", "tokens")


def _ordered(logprobs: Sequence[float | None]) -> list[float]:
    """Return those that are logarithms of probabilities, rising.

    Where all are, as nearly always, sorting them shows it without a look at each: numbers alone can be added up and
    compared, NaN and infinity stay in the sum, and the greatest comes last.
    """
    try:
        every: list[float] = sorted(logprobs)  # type: ignore[arg-type]
        certain = every[bisect_left(every, 0.0) :]
        if every[-1] <= _ROUNDING and bool not in map(type, certain) and math.isfinite(sum(every)):
            return every
    except (TypeError, IndexError):
        pass
    return sorted(float(value) for value in logprobs if _is_logprob(value))


SHORT_ANSWER = 16
"""Tokens of the answers on which the probability of all tokens was found to be calibrated, if a little too careful."""


def answer_probability(signals: Signals | None) -> float:
    """Return the probability of a whole short answer; NaN where it is longer, or not known of every token.

    Example:
        >>> round(answer_probability(Signals.from_logprobs([-0.1, -0.1])), 3)
        0.819
    """
    if signals is None or signals.sum_logprob is None or signals.tokens is None:
        return math.nan
    if signals.logprob_share is not None and not signals.logprob_share >= 1:
        return math.nan
    is_known = 0 < signals.tokens <= SHORT_ANSWER and signals.sum_logprob <= 1e-6
    return min(1.0, math.exp(signals.sum_logprob)) if is_known else math.nan


def _is_logprob(value: object) -> TypeGuard[float]:
    return is_number(value) and math.isfinite(value) and value <= _ROUNDING
