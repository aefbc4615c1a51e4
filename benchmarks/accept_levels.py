"""How many samples are saved by stopping when samples agree, at the quality of a fixed best-of-5.

``python benchmarks/accept_levels.py [--records RECORDS --pool POOL]``; without arguments, the demo set. For every
model: five samples and a majority vote, against samples drawn one at a time until the posterior of the leading answer
reaches a level. The level is chosen on other groups (folds by group): the fewest samples among the levels that are
there not worse than best-of-5 by more than one standard error. Figures are expectations over the recorded samples
(``bestroute.labels``, which the tests hold against the engine); intervals resample groups.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bestroute import Plan, Pool, Step
from bestroute.demo.dataset import demo_arrays, demo_pool, demo_records
from bestroute.labels import SampleArrays, label_plans
from bestroute.records.records import read_records
from bestroute.stats.bootstrap import interval, resample_groups
from bestroute.types.arrays import FloatArray, IntArray

N = 5
LEVELS = (0.65, 0.6875, 0.75, 0.8125, 0.875, 0.9375, 0.96875)
"""Where the posterior of a leading answer can stand with up to five votes."""
FOLDS = 5
RESAMPLES = 10_000


def folds_of(groups: tuple[str, ...], *, seed: int = 0) -> IntArray:
    """Return a fold for each query; a group stands in one."""
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order % FOLDS)[group_of], dtype=np.intp)


def chosen_level(gain: FloatArray, draws: FloatArray) -> int:
    """Return the level with the fewest draws among those not worse by more than a standard error.

    Args:
        gain: Quality above best-of-5, shape ``(Q, levels)``.
        draws: Shape ``(Q, levels)``.
    """
    error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
    able = np.flatnonzero(gain.mean(axis=0) >= -error)
    return int(able[np.argmin(draws.mean(axis=0)[able])]) if able.size else int(np.argmax(gain.mean(axis=0)))


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path)
    parser.add_argument("--pool", type=Path)
    options = parser.parse_args()
    if options.records is None:
        pool, records = demo_pool(), list(demo_records())
        arrays = demo_arrays(records, pool)
    else:
        pool = Pool.from_file(options.pool)
        arrays = SampleArrays.of(read_records(options.records, pool=pool), pool, reward="majority")
    folds = folds_of(arrays.groups)
    weights = resample_groups(arrays.groups, resamples=RESAMPLES)
    print(f"{len(arrays)} queries of {len(set(arrays.groups))} groups, {FOLDS} folds by group, 95 % intervals")
    print(f"{'model':28} {'best of 5':>9} {'accepting':>9}  {'difference':>28}  {'fewer samples':>24}  levels")
    fixed, gains, spent = [], [], []
    for model in pool.models:
        plans = [Plan((Step(model, N),)), *(Plan((Step(model, N, level),)) for level in LEVELS)]
        labels = label_plans(arrays, plans)
        gain = labels.quality[:, 1:] - labels.quality[:, :1]
        draws = labels.draws[:, 1:, 0]
        own_gain, own_draws, levels = np.zeros(len(arrays)), np.zeros(len(arrays)), []
        for fold in range(FOLDS):
            here, there = folds == fold, folds != fold
            level = chosen_level(gain[there], draws[there])
            own_gain[here], own_draws[here] = gain[here, level], draws[here, level]
            levels.append(LEVELS[level])
        fixed.append(labels.quality[:, 0].mean())
        gains.append(own_gain)
        spent.append(own_draws)
        print(row(model, labels.quality[:, 0].mean(), own_gain, own_draws, weights) + f"  {sorted(set(levels))}")
    print(row("mean of the models", np.mean(fixed), np.mean(gains, axis=0), np.mean(spent, axis=0), weights))


def row(name: str, fixed: float, gain: FloatArray, draws: FloatArray, weights: FloatArray) -> str:
    """Return one line of the table."""
    low, high = interval(weights @ gain)
    saved_low, saved_high = interval(1 - (weights @ draws) / N)
    return (
        f"{name:28} {fixed:9.4f} {fixed + gain.mean():9.4f}  {gain.mean():+9.4f} [{low:+.4f}, {high:+.4f}]  "
        f"{1 - draws.mean() / N:7.1%} [{saved_low:6.1%}, {saved_high:6.1%}]"
    )


if __name__ == "__main__":
    main()
