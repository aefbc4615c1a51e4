"""Whether a step pays for itself, estimated without labels from its rate of acceptance and its cost."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from math import comb

WINDOW = 50
"""How many calls of a kind are remembered; older ones may no longer be representative."""
RETRY = 50
"""After how many calls of a kind a skipped step is tried once more."""
_HOPE = 0.03
"""A step is skipped if the probability that its acceptance rate is high enough is below this."""


def exceeds(successes: int, trials: int, share: float) -> float:
    """Return the posterior probability that a success rate exceeds ``share``, from a uniform prior.

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
    """The latest outcomes of one step on one kind of query."""

    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    tried_at: int = 0
    """Number of the last call of this kind in which the step was drawn."""

    def note(self, was_accepted: bool, at: int) -> None:
        """Note an outcome; an acceptance after a long time of skipping clears the old outcomes."""
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
        """An optimistic acceptance rate with two successes added, so that untried steps are tried."""
        return (self.accepted + 2) / (len(self.outcomes) + 2)

    def may_reach(self, share: float) -> bool:
        """Whether the acceptance rate plausibly exceeds ``share``."""
        return exceeds(self.accepted, len(self.outcomes), share) >= _HOPE


@dataclass
class Lengths:
    """Running means of a member's output tokens, and of its reported input tokens relative to our estimate."""

    weight: float = 0.0
    output: float = 0.0
    input_ratio: float = 1.0

    def note(self, output: float, input_ratio: float) -> None:
        """Add a sample; old ones lose weight."""
        self.weight = min(self.weight, WINDOW) + 1
        self.output += (output - self.output) / self.weight
        self.input_ratio += (input_ratio - self.input_ratio) / self.weight


@dataclass
class Kind:
    """Statistics of one kind of query."""

    calls: int = 0
    steps: dict[tuple[str, ...], Tally] = field(default_factory=lambda: defaultdict(Tally))
    """By the sorted members drawn so far: one member is accepted by probability, two by agreement."""
    without_signals: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Consecutive answers of a member without log-probabilities."""
    lengths: dict[str, Lengths] = field(default_factory=lambda: defaultdict(Lengths))

    def step(self, members: tuple[str, ...]) -> Tally:
        """Return the outcomes of a step; the order of its members does not matter."""
        return self.steps[tuple(sorted(members))]

    def note_signals(self, model: str, tells: bool) -> None:
        """Note whether an answer had log-probabilities."""
        self.without_signals[model] = 0 if tells else self.without_signals[model] + 1


@dataclass
class TrialAccount:
    """Keeps the extra cost of trying cheaper members within a share of the reference's cost."""

    extra_usd: float = 0.0
    """Cost of tried draws, less what accepted ones saved."""
    reference_usd: float = 0.0

    def allows(self, cost_usd: float, *, share: float, credit_usd: float = 0.0) -> bool:
        """Whether the account can bear a draw that is not accepted, within the share and an initial credit."""
        return self.extra_usd + cost_usd <= share * self.reference_usd + credit_usd
