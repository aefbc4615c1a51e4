"""Alarms about changes in live traffic, each with a bounded probability of being false over a stated horizon."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from bestroute.monitoring.audits import Audit
from bestroute.stats.wealth import MEAN_BETS, RANK_BETS, begins, mean_factors, rank_factors, wealth
from bestroute.types.arrays import FloatArray

HORIZON_CALLS, HORIZON_AUDITS = 20_000, 1_000
"""Calls, and audits, over which the false-alarm probabilities below hold; then tests restart."""
DROP_LEVEL, FAMILIARITY_LEVEL, CHANGE_LEVEL = 0.07, 0.005, 0.02
"""False-alarm probabilities over the horizon: of the drop, of unfamiliar traffic, and of all changes of members
together."""
DROP_STARTS, CALL_STARTS = 6, 40
"""How many times bettors start over the horizon of audits, and of calls."""
LOOKS_EVERY = 8
"""Number of calls between checks of the wealth of bets on calls, which grows slowly."""
CHANGES = ("logprobs", "acceptance", "length", "error", "latency")
"""What is watched for each member: whether samples have log-probabilities, whether they are accepted, their tokens,
whether draws failed, and seconds."""
_CHANGED = {
    "logprobs": "how often the log-probabilities are told",
    "acceptance": "the acceptance",
    "length": "the length of answers",
    "error": "the error rate",
    "latency": "the latency",
}
OF_NO_MODEL = ("drop", "familiarity")
"""Kinds of alarms about traffic as a whole."""
ODD, MOST_ODD = 0.05, 0.1
"""A query with a familiarity below the first is unusual; traffic is if more than the second share of queries are."""


@dataclass(frozen=True)
class Alarm:
    """A detected change.

    Args:
        kind: ``"drop"``, ``"familiarity"``, or one of ``CHANGES``.
        message: The change, in one sentence.
        level: False-alarm probability of this kind over the horizon.
        horizon: Number of observations that the probability refers to.
        observed: Number of observations when it was raised.
        model: The member that changed; empty for traffic as a whole.
    """

    kind: str
    message: str
    level: float
    horizon: int
    observed: int
    model: str = ""

    def __str__(self) -> str:
        """Render with the false-alarm probability."""
        return f"{self.message} (false in {100 * self.level:.3g} % of streams of {self.horizon:,})"


def kinds_of(models: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs of alarm kind and model; the model is empty for kinds about traffic as a whole.

    Example:
        >>> kinds_of(["small"])[:3]
        [('drop', ''), ('familiarity', ''), ('logprobs', 'small')]
    """
    return [(kind, "") for kind in OF_NO_MODEL] + [(kind, model) for kind in CHANGES for model in models]


class Bettors:
    """A sequential test by betting on one stream of observations; it rejects its claim once the wealth is large enough.

    Args:
        bets: Number of bets of each bettor.
        starts: Number of times that bettors start over the horizon.
        looks_every: Number of observations between checks of the wealth.
        level: False-alarm probability over the horizon.
        horizon: Number of observations after which the test restarts.
    """

    def __init__(self, bets: int, *, starts: int, level: float, horizon: int, looks_every: int = 1) -> None:
        """Start without observations."""
        self.level, self.horizon, self._bets, self._looks_every = level, horizon, bets, looks_every
        self._begins, self._log_least = begins(horizon, starts), -math.log(level)
        self._restart()

    def _restart(self) -> None:
        self.observed = 0
        self._sums = np.zeros(self._bets)
        self._at_start = np.full((len(self._begins), self._bets), np.inf)
        self._at_start[0] = 0.0

    def add(self, log_factors: FloatArray) -> bool:
        """Add an observation's log factors; return whether the alarm is raised, after which the test restarts."""
        return bool(self.add_all(np.asarray(log_factors)[None, :]))

    def add_all(self, log_factors: FloatArray) -> list[tuple[int, int]]:
        """Add the log factors of observations, shape ``(T, B)``.

        Returns:
            For each alarm the observation among these that raises it, and how many were made since they began; after
            it they begin anew.
        """
        raised, i = list[tuple[int, int]](), 0
        while i < len(log_factors):
            added, observed = self.add_until_raised(log_factors[i:])
            i += added
            if observed is not None:
                raised.append((i - 1, observed))
        return raised

    def add_until_raised(self, log_factors: FloatArray) -> tuple[int, int | None]:
        """Add the log factors of observations, shape ``(T, B)``, up to the one that raises the alarm.

        Returns:
            How many were added, and how many were made since they began if the last of them raises it, after which
            they begin anew.
        """
        i = 0
        while i < len(log_factors):
            if self.observed >= self.horizon:
                self._restart()
            self._at_start[self._begins == self.observed] = self._sums
            stops = (*(int(begin) for begin in self._begins if begin > self.observed), self.horizon)
            part = log_factors[i : i + stops[0] - self.observed]
            looks = np.arange(self._looks_every - self.observed % self._looks_every, len(part) + 1, self._looks_every)
            added = np.add.reduceat(part, [0, *looks[looks < len(part)]], axis=0)
            sums = np.cumsum(np.vstack([self._sums, added]), axis=0)[1:]
            if (look := self._first_won(sums[: len(looks)])) is not None:
                observed = self.observed + int(looks[look])
                self._restart()
                return i + int(looks[look]), observed
            self._sums, self.observed, i = sums[-1], self.observed + len(part), i + len(part)
        return i, None

    def _first_won(self, sums: FloatArray) -> int | None:
        """Return the index of the first check at which the wealth suffices; sums have shape ``(checks, B)``."""
        best = (sums - self._at_start.min(axis=0)).max(axis=1)  # an upper bound of every bettor's wealth
        for look in np.flatnonzero(best >= self._log_least):
            if wealth(sums[look], self._at_start) >= 1 / self.level:
                return int(look)
        return None


class Ranks:
    """Ranks of observations among all earlier ones, which are uniform as long as observations are exchangeable.

    Ties are broken at random, by a seed.
    """

    def __init__(self, *, most: int = HORIZON_CALLS, seed: int = 0) -> None:
        """Start without observations; restarts after ``most`` of them."""
        self._most, self._sorted, self._random = most, list[float](), random.Random(seed)

    def rank(self, value: float) -> float:
        """Return the rank of a value in [0, 1], and store the value."""
        if len(self._sorted) >= self._most:
            self._sorted = []
        low, high = bisect_left(self._sorted, value), bisect_right(self._sorted, value)
        place = (low + self._random.random() * (high - low + 1)) / (len(self._sorted) + 1)
        insort(self._sorted, value)
        return place


class Alarms:
    """All alarms of one router.

    ``drop`` tests the claim that the mean drop over calls is at most the target; the drop of calls of the
    reference alone is zero. ``familiarity`` tests the claim that at most a tenth of the queries are unusual, so one
    unusual query never raises it. The others test the claim that a member's observations are exchangeable,
    whatever their distribution.

    Args:
        target: The relative drop.
        models: The members; they share the level of changes.
        least_probability: Smallest audit probability of a call; it scales the weights of audits to at most 1. May be
            set at any time, for calls from then on.
    """

    def __init__(self, target: float, models: Sequence[str], *, least_probability: float) -> None:
        """Start without observations."""
        self.target, self.least_probability = target, least_probability
        level = CHANGE_LEVEL / max(len(models) * len(CHANGES), 1)
        names = [(kind, model) for kind, model in kinds_of(models) if kind not in OF_NO_MODEL]
        self._drop = Bettors(len(MEAN_BETS), starts=DROP_STARTS, level=DROP_LEVEL, horizon=HORIZON_AUDITS)
        of_calls: dict[str, int] = {"starts": CALL_STARTS, "horizon": HORIZON_CALLS, "looks_every": LOOKS_EVERY}
        self._odd = Bettors(len(MEAN_BETS), level=FAMILIARITY_LEVEL, **of_calls)
        self._changes = {name: Bettors(len(RANK_BETS), level=level, **of_calls) for name in names}
        self._ranks = {name: Ranks(seed=i) for i, name in enumerate(names)}
        self._relative_to, self._certain = 1.0, 0.0
        self._lock = Lock()

    def observe(self, audit: Audit) -> list[Alarm]:
        """Add an audit; return the drop alarm if it is raised."""
        with self._lock:
            self._relative_to += 0.01 * (audit.reference_quality - self._relative_to)
            weight = min(self.least_probability / audit.probability, 1.0)
            lost = np.clip(audit.drop - self.target * audit.reference_quality, -1, 1) * weight
            # calls of the reference alone since the last audit: each would have shown a drop of zero
            certain = self._certain * np.log1p(-MEAN_BETS * self.least_probability * self.target * self._relative_to)
            self._certain = 0.0
            if not self._drop.add(mean_factors(np.asarray(lost)) + certain):
                return []
            message = f"the drop is above the target of {self.target:g}: audits show it"
            return [Alarm("drop", message, DROP_LEVEL, HORIZON_AUDITS, self._drop.observed)]

    def observe_certain(self, calls: int = 1) -> None:
        """Add calls that the reference answers alone, whose drop is zero."""
        with self._lock:
            self._certain += calls

    def observe_failed(self) -> None:
        """Discard the calls of the reference alone since the last audit, because an audit failed.

        The drop of the other calls of that time is unknown, so these must not count alone.
        """
        with self._lock:
            self._certain = 0.0

    def observe_query(self, familiarity: float) -> list[Alarm]:
        """Add a query; return the familiarity alarm if it is raised."""
        return [alarm for _, alarm in self.observe_queries([familiarity])]

    def observe_queries(self, familiarity: Sequence[float] | FloatArray) -> list[tuple[int, Alarm]]:
        """Add queries; return the alarms raised, each with the index of the query that raised it."""
        is_odd = np.asarray(familiarity, dtype=np.float64) < ODD
        with self._lock:
            raised = self._odd.add_all(mean_factors(is_odd.astype(np.float64) - MOST_ODD))
        message = f"more than {MOST_ODD:.0%} of the queries are unlike those of training; train on newer ones"
        return [
            (i, Alarm("familiarity", message, FAMILIARITY_LEVEL, HORIZON_CALLS, observed)) for i, observed in raised
        ]

    def observe_draw(self, model: str, values: Mapping[str, float]) -> list[Alarm]:
        """Add the observations of a draw, by the names of ``CHANGES``; return the alarms raised."""
        return [alarm for _, alarm in self.observe_draws(model, [values])]

    def observe_draws(self, model: str, draws: Sequence[Mapping[str, float]]) -> list[tuple[int, Alarm]]:
        """Add draws of a member; return the alarms raised, each with the index of the draw that raised it."""
        raised = []
        with self._lock:
            for kind in CHANGES:
                bettors = self._changes.get((kind, model))
                known = [i for i, values in enumerate(draws) if not math.isnan(values.get(kind, math.nan))]
                if bettors is None or not known:
                    continue
                message = f"{_CHANGED[kind]} of {model!r} has changed"
                while known:
                    ranks = [self._ranks[kind, model].rank(float(draws[i][kind])) for i in known]
                    added, observed = bettors.add_until_raised(rank_factors(np.array(ranks)))
                    if observed is not None:
                        alarm = Alarm(kind, message, bettors.level, HORIZON_CALLS, observed, model)
                        raised.append((known[added - 1], alarm))
                        self._ranks[kind, model] = Ranks()  # later draws are compared with each other
                    known = known[added:]
        return sorted(raised, key=lambda found: found[0])
