"""How much more labels would bring: routers of ever more records, each looked at where it was not trained.

For each fold by group, routers are trained on nested parts of the other folds; what their frozen prices save and lose
is added up over the folds. What a promise would take is read off the largest ones, by the moments that ``sample_size``
asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.encoders.encoder import Encoder
from bestroute.evaluation.evaluate import made_once
from bestroute.labels import SampleArrays
from bestroute.router import MultiHeadRouter
from bestroute.router.shrinkage import DEFAULT_TARGET
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.stats.bootstrap import interval, resampled_means
from bestroute.stats.folds import FOLDS, deal_folds
from bestroute.tuning.certify import LEAST_SAVING, Outcomes
from bestroute.tuning.sample_size import draws_needed, fewest_for_drop
from bestroute.tuning.splits import ORDER_SHARE, group_means
from bestroute.tuning.tune import outcomes_of
from bestroute.types.arrays import BoolArray, FloatArray, IntArray

SIZES = (20, 50, 100, 300)
"""Record numbers for training, besides all records."""
FEWEST_RECORDS = 100
"""Fewest labelled records for a router; with fewer, the default without a router is better."""
PROMISES = (0.01, 0.02, 0.03)
"""Drops for which the required number of records is computed."""
_LITTLE = 0.02
"""Smallest gain in saving that is worth more labels, as a share of the reference's cost."""
_PRICES, _RESAMPLES, _CONFIDENCE = 101, 2000, 0.95


@dataclass(frozen=True)
class CurvePoint:
    """Saving and drop of routers trained on so many records, on held-out folds, at the price frozen for ``target``."""

    records: int
    saving: float
    saving_ci95: tuple[float, float]
    drop: float
    drop_ci95: tuple[float, float]

    def __str__(self) -> str:
        """Render as ``100 records: saves 12.0 % [3.0, 20.1] at a drop of 0.8 % [-0.4, 2.2]``."""
        (s0, s1), (d0, d1) = self.saving_ci95, self.drop_ci95
        return (
            f"{self.records} records: saves {100 * self.saving:.1f} % [{100 * s0:.1f}, {100 * s1:.1f}] at a drop of "
            f"{100 * self.drop:.1f} % [{100 * d0:.1f}, {100 * d1:.1f}]"
        )


@dataclass(frozen=True)
class LearningCurve:
    """Points by number of records, and the records that promises would need."""

    points: tuple[CurvePoint, ...]
    target: str
    """The drop that prices were frozen for."""
    gain: tuple[float, float, float]
    """The gain in saving of the last increase in records, with its 95 % interval, paired."""
    needed: dict[float, int | None]
    """For each drop, records that its promise would take in ``tune``, beside those trained on; ``None``: no number
    would do, since no price has a margin."""

    @property
    def verdict(self) -> str:
        """The conclusion, in one sentence."""
        if len(self.points) < 2:
            return "too few records to tell what more would bring"
        (before, last), (gain, low, high) = self.points[-2:], self.gain
        brings = "more bring more" if low > 0 else "more bring little" if high < _LITTLE else "more may bring more"
        return (
            f"from {before.records} to {last.records} records the saving changed by {100 * gain:+.1f} points "
            f"[{100 * low:+.1f}, {100 * high:+.1f}]: {brings}"
        )


def learning_curve(
    arrays: SampleArrays,
    settings: TrainSettings = TrainSettings(),  # noqa: B008  # frozen
    *,
    encoder: Encoder | None = None,
    target: str = DEFAULT_TARGET,
    on_progress: Callable[[str], object] | None = None,
) -> LearningCurve:
    """Train routers on increasing numbers of records of four folds, and evaluate them on the fifth.

    Args:
        arrays: The training records.
        settings: The training settings.
        encoder: The settings' encoder, if it is loaded already.
        target: The drop whose frozen price is used, one of ``shrinkage.TARGET_DROPS``.
        on_progress: Called with what is in progress.

    Raises:
        RecordError: If there are too few groups to train on four fifths of them.
    """
    report = on_progress or (lambda _: None)
    encoder = made_once(settings, encoder)
    fold_of = deal_folds(arrays.groups, FOLDS, seed=settings.seed)
    most = len(arrays) - int(np.bincount(fold_of, minlength=FOLDS).max())
    sizes = [size for size in SIZES if size < most] + [most]
    found: dict[int, list[FloatArray]] = {size: [] for size in sizes}
    largest: list[Outcomes] = []
    groups: list[str] = []
    for fold in range(FOLDS):
        inside, order = np.flatnonzero(fold_of == fold), _in_order(arrays, fold_of != fold, settings.seed + fold)
        groups += [arrays.groups[row] for row in inside]
        for size in sizes:
            report(f"learning curve, fold {fold + 1} of {FOLDS}: {size} records")
            train = arrays.take(_first(arrays, order, size))
            train = train.with_token_means(train.token_means)
            held_out = arrays.take(inside).with_token_means(train.token_means)
            router = train_router(train, settings, encoder=encoder).router
            found[size].append(_sums(router, held_out, target))
        prices = np.geomspace(router.path[0], router.path[-1], _PRICES)
        largest.append(outcomes_of(router, held_out, prices))
    figures = {size: _figures(np.vstack(sums), groups) for size, sums in found.items()}
    points = tuple(
        CurvePoint(size, float(saving[0]), interval(saving[1:]), float(drop[0]), interval(drop[1:]))
        for size, (saving, drop) in figures.items()
    )
    gains = figures[sizes[-1]][0] - figures[sizes[max(len(sizes) - 2, 0)]][0]
    needed = {drop: _needed(_joined(largest, groups), drop) for drop in PROMISES}
    return LearningCurve(points, target, (float(gains[0]), *interval(gains[1:])), needed)


def _in_order(arrays: SampleArrays, is_wanted: BoolArray, seed: int) -> IntArray:
    """Return rows in random order of groups, seeded."""
    names, group_of = np.unique(np.asarray(arrays.groups), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))[group_of]
    rows = np.flatnonzero(is_wanted)
    return np.asarray(rows[np.argsort(place[rows], kind="stable")], dtype=np.intp)


def _first(arrays: SampleArrays, order: IntArray, size: int) -> IntArray:
    """Return the first ``size`` rows, or more until they have enough groups for training."""
    groups: set[str] = set()
    for end, row in enumerate(order, start=1):
        groups.add(arrays.groups[row])
        if end >= size and len(groups) >= FOLDS:
            return order[:end]
    return order


def _sums(router: MultiHeadRouter, held_out: SampleArrays, target: str) -> FloatArray:
    """Return quality and cost at the frozen price, and the reference's, per query: shape ``(Q, 4)``."""
    price = router.frozen[target]
    outcomes = outcomes_of(router, held_out, np.array([router.path[-1] if price is None else price]))
    alone = outcomes.reference_quality, outcomes.reference_cost
    own = alone if price is None else (outcomes.quality[0], outcomes.cost[0])
    return np.column_stack([*own, *alone])


def _figures(sums: FloatArray, groups: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Return savings and drops: of the queries, then of resamples of their groups."""
    means = np.vstack([sums.mean(axis=0), resampled_means(sums, groups, resamples=_RESAMPLES)])
    return 1 - means[:, 1] / np.maximum(means[:, 3], 1e-300), 1 - means[:, 0] / np.maximum(means[:, 2], 1e-12)


def _joined(outcomes: list[Outcomes], groups: list[str]) -> Outcomes:
    """Return the outcomes of several folds' routers, each on its own fold."""
    return Outcomes(
        np.hstack([part.quality for part in outcomes]),
        np.hstack([part.cost for part in outcomes]),
        np.concatenate([part.reference_quality for part in outcomes]),
        np.concatenate([part.reference_cost for part in outcomes]),
        np.asarray(np.unique(np.asarray(groups), return_inverse=True)[1], dtype=np.intp),
    )


def _needed(outcomes: Outcomes, max_drop: float) -> int | None:
    """Return the number of records with which a promise would pass four times in five."""
    saves = 1 - outcomes.cost.sum(axis=1) / outcomes.reference_cost.sum() >= LEAST_SAVING
    losses = (1 - max_drop) * outcomes.reference_quality - outcomes.quality[saves]
    by_group = group_means(losses, outcomes.groups)
    draws = draws_needed(by_group.mean(axis=1), by_group.std(axis=1), _CONFIDENCE).min(initial=np.inf)
    draws = max(float(draws), fewest_for_drop(float(outcomes.reference_quality.mean()), max_drop, _CONFIDENCE))
    if not math.isfinite(draws):
        return None
    return math.ceil(draws / (1 - ORDER_SHARE) * len(outcomes.groups) / outcomes.units)
