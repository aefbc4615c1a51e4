"""Whether a step pays for itself, told without labels: by how often what it drew was accepted, and what it cost."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from math import comb

WINDOW = 50
"""Calls of a kind that are remembered: what models and queries were like before that does not count."""
RETRY = 50
"""Calls of a kind after which a step that is skipped is tried once more."""
_HOPE = 0.03
"""Least probability that a share is high enough; below it the step is skipped."""


def exceeds(successes: int, trials: int, share: float) -> float:
    """Return the probability that a share of which so many trials succeeded is above another, from a flat prior.

    Example:
        >>> round(exceeds(0, 0, 0.6), 3), round(exceeds(0, 10, 0.1), 3)
        (0.4, 0.314)
    """
    if share >= 1:
        return 0.0
    draws = trials + 1
    return sum(comb(draws, j) * share**j * (1 - share) ** (draws - j) for j in range(successes + 1))


@dataclass
class Tally:
    """The last outcomes of one step on one kind of query."""

    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    tried_at: int = 0
    """Number of the last call of the kind in which it was drawn."""

    def note(self, was_accepted: bool, at: int) -> None:
        """Note an outcome; one that speaks for a step that was long skipped makes it new."""
        if was_accepted and at - self.tried_at >= RETRY:
            self.outcomes.clear()
        self.outcomes.append(was_accepted)
        self.tried_at = at

    @property
    def accepted(self) -> int:
        """How many of them were accepted."""
        return sum(self.outcomes)

    @property
    def hoped_share(self) -> float:
        """The share accepted, two successes taken for granted, so that what was never tried is."""
        return (self.accepted + 2) / (len(self.outcomes) + 2)

    def may_reach(self, share: float) -> bool:
        """Whether the share accepted may well be above another."""
        return exceeds(self.accepted, len(self.outcomes), share) >= _HOPE


@dataclass
class Lengths:
    """Running means of what samples of one member take: tokens out, and tokens in by those we counted."""

    weight: float = 0.0
    output: float = 0.0
    input_ratio: float = 1.0

    def note(self, output: float, input_ratio: float) -> None:
        """Take a sample in; old ones fade."""
        self.weight = min(self.weight, WINDOW) + 1
        self.output += (output - self.output) / self.weight
        self.input_ratio += (input_ratio - self.input_ratio) / self.weight


@dataclass
class Kind:
    """What is remembered of one kind of query."""

    calls: int = 0
    steps: dict[tuple[str, ...], Tally] = field(default_factory=lambda: defaultdict(Tally))
    """By the members drawn so far, sorted: one for its own probability, two for agreement."""
    without_signals: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Answers in a row in which a member told no log-probabilities."""
    lengths: dict[str, Lengths] = field(default_factory=lambda: defaultdict(Lengths))

    def step(self, members: tuple[str, ...]) -> Tally:
        """Return what became of a step; the order of members that are to agree does not count."""
        return self.steps[tuple(sorted(members))]

    def note_signals(self, model: str, tells: bool) -> None:
        """Note whether an answer had log-probabilities."""
        self.without_signals[model] = 0 if tells else self.without_signals[model] + 1


@dataclass
class TrialAccount:
    """What trying cost beyond the reference, and what the reference would have cost: trying stays within a share."""

    extra_usd: float = 0.0
    """Paid for draws, less what accepted ones saved."""
    reference_usd: float = 0.0

    def allows(self, cost_usd: float, *, share: float, credit_usd: float = 0.0) -> bool:
        """Whether a draw may be lost without passing a share of the reference's cost, and a credit to begin with."""
        return self.extra_usd + cost_usd <= share * self.reference_usd + credit_usd
