"""What held-out folds can show of a frozen price: its saving and its drop with intervals, and whether that is enough.

The price was chosen on the folds that it is scored on, so what it shows there flatters it. By how much is told by
resamples of the groups: the price that each of them would have chosen does worse on the records than on the resample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.router.shrinkage import ShrinkageChoice, cheapest_that_meets
from bestroute.types.arrays import FloatArray

MOST_DROP = 0.05
"""The default policy has to be clear of a larger drop, with 95 % confidence, or the reference is the default."""
RESAMPLES = 1000
_ONE_SIDED = 0.95


@dataclass(frozen=True)
class Evidence:
    """Of one frozen price, relative to the reference, with the flattery of its choice taken off; 95 % intervals."""

    saving: float
    saving_ci95: tuple[float, float]
    drop: float
    drop_ci95: tuple[float, float]
    upper_drop: float
    """Upper limit of the drop, one-sided at 95 %."""
    drop_error: float
    """Standard error of the drop."""
    groups: int
    """How many there are."""
    fewest_groups: int
    """Below so many groups no bound rules out such a drop, even if no answer differs."""

    @property
    def is_enough(self) -> bool:
        """Whether a larger drop than a default policy may have can be ruled out."""
        return self.groups >= self.fewest_groups and self.upper_drop <= MOST_DROP

    def records_needed(self, records: int, target: float) -> int:
        """Estimate how many records like these would be enough if the drop were what was aimed at.

        Args:
            records: How many there are.
            target: The drop that the price was frozen for, below ``MOST_DROP``.
        """
        exact = records * (1.645 * self.drop_error / (MOST_DROP - target)) ** 2
        exact = max(exact, records * self.fewest_groups / self.groups, records + 1)
        digits = 10 ** max(len(str(math.ceil(exact))) - 2, 0)
        return int(math.ceil(exact / digits) * digits)

    def __str__(self) -> str:
        """Render as ``saves 28.0 % [5.1, 40.2] at a drop of 1.0 % [-2.0, 4.1]``."""
        (s0, s1), (d0, d1) = self.saving_ci95, self.drop_ci95
        return (
            f"saves {100 * self.saving:.1f} % [{100 * s0:.1f}, {100 * s1:.1f}] at a drop of "
            f"{100 * self.drop:.1f} % [{100 * d0:.1f}, {100 * d1:.1f}]"
        )


def evidence_for(
    choice: ShrinkageChoice, groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Evidence | None]:
    """Return what the folds show of each frozen price, by target drop; ``None`` where it is the reference alone."""
    outcomes = choice.outcomes
    means = group_resamples(
        np.vstack([outcomes.quality, outcomes.cost, outcomes.reference_quality, outcomes.reference_cost]).T,
        groups,
        resamples=resamples,
        seed=seed,
    )
    size = len(choice.path)
    reference_quality, reference_cost = means[:, [2 * size]], means[:, [2 * size + 1]]
    drop = 1 - means[:, :size] / np.maximum(reference_quality, 1e-12)
    saving = 1 - means[:, size : 2 * size] / np.maximum(reference_cost, 1e-300)
    units, quality = len(set(groups)), max(float(reference_quality[0, 0]), 1e-9)
    found: dict[str, Evidence | None] = {}
    for target, price in choice.frozen.items():
        at = None if price is None else choice.path.index(price)
        found[target] = None if at is None else _evidence(drop, saving, at, float(target), units, quality)
    return found


def group_resamples(values: FloatArray, groups: Sequence[str], *, resamples: int, seed: int) -> FloatArray:
    """Return the means of the columns of ``(Q, C)``: of the records first, then of resamples of whole groups."""
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1] + 1))
    np.add.at(sums, group_of, np.column_stack([values, np.ones(len(values))]))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    totals = np.vstack([np.ones(len(names)), drawn]) @ sums
    return np.asarray(totals[:, :-1] / totals[:, -1:])


def _evidence(
    drop: FloatArray, saving: FloatArray, at: int, target: float, units: int, reference_quality: float
) -> Evidence:
    """Judge one price; the first row is the records, the others are resamples.

    Resamples cannot show what happens in no record. A loss of all quality in a share of the groups that is small
    enough may well have been missed, so the limits of the drop are at least that far away.
    """
    picked = np.array([_picked(row, target) for row in drop[1:]])
    chose = np.flatnonzero(picked >= 0)
    flattery = {"drop": 0.0, "saving": 0.0}
    if len(chose):
        column = picked[chose]
        flattery["drop"] = max(float((drop[0, column] - drop[1 + chose, column]).mean()), 0.0)
        flattery["saving"] = min(float((saving[0, column] - saving[1 + chose, column]).mean()), 0.0)
    drops, savings = drop[:, at] + flattery["drop"], saving[:, at] + flattery["saving"]
    error = float(drops[1:].std())
    center, (low, high) = float(drops[0]), _interval(drops[1:])
    unseen = math.log(1 / (1 - _ONE_SIDED)) / reference_quality
    unseen_on_both_sides = math.log(2 / (1 - _ONE_SIDED)) / reference_quality / units
    upper = max(float(np.quantile(drops[1:], _ONE_SIDED)), center + max(_reach(units) * error, unseen / units))
    interval = min(low, center - unseen_on_both_sides), max(high, center + unseen_on_both_sides)
    fewest = math.ceil(unseen / (MOST_DROP - min(target, MOST_DROP / 2)))
    return Evidence(float(savings[0]), _interval(savings[1:]), center, interval, upper, error, units, fewest)


def _picked(drop: FloatArray, target: float) -> int:
    best = cheapest_that_meets(drop <= target)
    return -1 if best is None else best


def _interval(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _reach(units: int) -> float:
    """How many standard errors a one-sided limit is away, with so few groups."""
    from scipy.stats import t

    return float(t.ppf(_ONE_SIDED, max(units - 1, 1)))
