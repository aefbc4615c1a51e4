"""What held-out folds show about a frozen price: saving and drop with intervals, and whether the evidence suffices.

The price was chosen on the same folds, so its figures there are biased upwards. The bias is estimated by resampling
groups: the price that each resample would have chosen does worse on all records than on the resample itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.router.shrinkage import ShrinkageChoice, cheapest_that_meets
from bestroute.types.arrays import FloatArray

MOST_DROP = 0.05
"""The default policy is the reference unless a larger drop can be ruled out with 95 % confidence."""
RESAMPLES = 1000
_ONE_SIDED = 0.95


@dataclass(frozen=True)
class Evidence:
    """Saving and drop of one frozen price relative to the reference, corrected for the choice; 95 % intervals."""

    saving: float
    saving_ci95: tuple[float, float]
    drop: float
    drop_ci95: tuple[float, float]
    upper_drop: float
    """One-sided 95 % upper limit of the drop."""
    drop_error: float
    """Standard error of the drop."""
    groups: int
    """Number of groups."""
    fewest_groups: int
    """With fewer groups no bound rules out a drop of ``MOST_DROP``, even if no answer differs."""

    @property
    def is_enough(self) -> bool:
        """Whether a drop larger than ``MOST_DROP`` can be ruled out."""
        return self.groups >= self.fewest_groups and self.upper_drop <= MOST_DROP

    def records_needed(self, records: int, target: float) -> int:
        """Estimate how many records like these would be enough if the true drop were the target.

        Args:
            records: Number of records so far.
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
    """Return the evidence for each frozen price, by target drop; ``None`` if the policy is the reference alone."""
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
    """Return the column means of ``values`` ``(Q, C)``: first over all records, then over resamples of whole groups."""
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1] + 1))
    np.add.at(sums, group_of, np.column_stack([values, np.ones(len(values))]))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    totals = np.vstack([np.ones(len(names)), drawn]) @ sums
    return np.asarray(totals[:, :-1] / totals[:, -1:])


def _evidence(
    drop: FloatArray, saving: FloatArray, at: int, target: float, units: int, reference_quality: float
) -> Evidence:
    """Evaluate one price; the first row is all records, the others are resamples.

    Resampling cannot show what no record shows. A loss of all quality in a small enough share of the groups may well
    have been missed, so the limits of the drop are at least that far away.
    """
    chosen = np.array([_chosen_price(row, target) for row in drop[1:]])
    has_choice = np.flatnonzero(chosen >= 0)
    bias = {"drop": 0.0, "saving": 0.0}
    if len(has_choice):
        column = chosen[has_choice]
        bias["drop"] = max(float((drop[0, column] - drop[1 + has_choice, column]).mean()), 0.0)
        bias["saving"] = min(float((saving[0, column] - saving[1 + has_choice, column]).mean()), 0.0)
    drops, savings = drop[:, at] + bias["drop"], saving[:, at] + bias["saving"]
    error = float(drops[1:].std())
    center, (low, high) = float(drops[0]), _interval(drops[1:])
    missed = math.log(1 / (1 - _ONE_SIDED)) / reference_quality
    missed_two_sided = math.log(2 / (1 - _ONE_SIDED)) / reference_quality / units
    upper = max(float(np.quantile(drops[1:], _ONE_SIDED)), center + max(_t_quantile(units) * error, missed / units))
    interval = min(low, center - missed_two_sided), max(high, center + missed_two_sided)
    fewest = math.ceil(missed / (MOST_DROP - min(target, MOST_DROP / 2)))
    return Evidence(float(savings[0]), _interval(savings[1:]), center, interval, upper, error, units, fewest)


def _chosen_price(drop: FloatArray, target: float) -> int:
    best = cheapest_that_meets(drop <= target)
    return -1 if best is None else best


def _interval(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _t_quantile(units: int) -> float:
    """Return how many standard errors away a one-sided limit is, with that many groups (Student's t)."""
    from scipy.stats import t

    return float(t.ppf(_ONE_SIDED, max(units - 1, 1)))
