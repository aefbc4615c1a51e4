"""Coverage of the interval at all moments, and its width: streams drawn from every set, in and out of distribution."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bestroute.features.query_statistics import statistics
from bestroute.monitoring.estimate import DropEstimate, bounds
from bestroute.types.arrays import FloatArray
from bestroute.types.query import Query

ARMS = {
    "livecodebench": ("gpt-4o-mini", "claude-3.5-sonnet"),
    "livecodebench_72": ("Claude-3-Haiku", "Claude-3-Opus"),
    "cruxeval_input": ("gpt-3.5-turbo-0613", "gpt-4-0613"),
    "cruxeval_output": ("gpt-3.5-turbo-0613", "gpt-4-0613"),
    "routellm_mmlu": ("Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"),
    "reasoning_gym": ("llama-4-maverick", "claude-sonnet-4"),
    "tool_calls": ("gpt-4o-mini", "claude-3.5-sonnet"),
    "routerbench": (None, None),
    "mmlu_pro": (None, None),
    "math_l5": (None, None),
    "alpaca_eval": (None, None),
}
"""A cheap arm and a reference; ``None``: the two whose mean quality is nearest to the upper and the lower quartile."""
CALLS, SHARE = 50_000, 0.04
SCENARIOS = ("steady", "drift", "sudden")


@dataclass(frozen=True, eq=False)
class Drops:
    """One set's queries, the easier half of its tasks (or shorter half of its texts) apart from the other.

    Args:
        low, high: Chances that the drop of a query is -1, and that it is 1, shape ``(Q,)``.
        predicted: Its drop as other folds predict it, from eleven statistics of the text, shape ``(Q,)``.
        late: Whether it comes after the change, shape ``(Q,)``.
    """

    low: FloatArray
    high: FloatArray
    predicted: FloatArray
    late: np.ndarray[Any, Any]


def read(name: str, shared: Path) -> Drops:
    """Read one set."""
    with gzip.open(shared / "data" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    cheap, reference = ARMS[name]
    if cheap is None:
        counts = Counter(model for r in records for model in r["samples"])
        often = sorted(model for model, n in counts.items() if n >= 0.9 * max(counts.values()))
        means = {m: np.mean([np.mean(r["samples"][m]["quality"]) for r in records if m in r["samples"]]) for m in often}
        order = sorted(means, key=lambda model: means[model])
        cheap, reference = order[len(order) // 2], order[-1 - len(order) // 8]
    records = [r for r in records if cheap in r["samples"] and reference in r["samples"]]
    q = np.array([[np.mean(r["samples"][m]["quality"]) for m in (cheap, reference)] for r in records]).clip(0, 1)
    low, high = q[:, 0] * (1 - q[:, 1]), (1 - q[:, 0]) * q[:, 1]
    x = np.array([statistics(Query(r["query"]), longest=4000) for r in records], dtype=float)
    x = np.column_stack([(x - x.mean(0)) / (x.std(0) + 1e-9), np.ones(len(x))])
    rng = np.random.default_rng(0)
    fold, predicted = rng.integers(5, size=len(x)), np.zeros(len(x))
    for k in range(5):
        a, b = x[fold != k], (high - low)[fold != k]
        predicted[fold == k] = x[fold == k] @ np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ b)
    kinds = np.array([r.get("task") if name != "reasoning_gym" else r["group"] for r in records])
    names, kind = np.unique(kinds, return_inverse=True)
    if len(names) > 3:
        mean = np.array([(high - low)[kind == k].mean() for k in range(len(names))])
        late = mean[kind] > np.median(mean[kind])
    else:
        length = np.array([len(r["query"]) for r in records])
        late = length > np.median(length)
        if (high - low)[late].mean() < (high - low)[~late].mean():
            late = ~late
    return Drops(low, high, predicted.clip(-1, 1), late)


def sums_of(
    drop: FloatArray,
    predicted: FloatArray,
    w: float,
    n: FloatArray,
    certain: FloatArray,
    unaudited: FloatArray,
    predicted_unaudited: FloatArray,
) -> DropEstimate:
    """Return the estimates of streams after each audit; every sum is an array of shape ``(streams, audits)``."""

    def run(x: FloatArray) -> FloatArray:
        return np.cumsum(x, axis=1)

    sums: dict[str, Any] = {
        "audited": n,
        "certain": certain,
        "unaudited": unaudited,
        "predicted_unaudited": predicted_unaudited,
        "weight": w * n,
        "drop": w * run(drop),
        "predicted": w * run(predicted),
        "weight2": w * w * n,
        "weight2_drop": w * w * run(drop),
        "weight2_predicted": w * w * run(predicted),
        "weight2_drop2": w * w * run(drop**2),
        "weight2_drop_predicted": w * w * run(drop * predicted),
        "weight2_predicted2": w * w * run(predicted**2),
    }
    return DropEstimate(**sums)


def run(name: str, shared: Path, *, streams: int, seed: int) -> list[dict[str, Any]]:
    """Return, for each scenario, how many streams were covered at all moments, and widths after 2,000 audits.

    Each call is of a random query of its phase; in a third of them, at random, the plan is the reference alone. What
    the interval has to hold is the mean over all calls so far of what each was expected to lose.
    """
    drops, results = read(name, shared), []
    mean = drops.high - drops.low
    for scenario in SCENARIOS:
        rng = np.random.default_rng((seed, SCENARIOS.index(scenario)))
        audits = 2_100  # a little more than 2,000, so that all have these
        gaps = rng.geometric(SHARE, size=(streams, audits))
        at = np.cumsum(gaps, axis=1)  # eligible calls so far
        total = audits / SHARE
        share_late = {
            "steady": np.full(at.shape, drops.late.mean()),
            "drift": np.minimum(at / total, 1.0),
            "sudden": (at > total / 2).astype(float),
        }[scenario]
        is_late = rng.random(at.shape) < share_late
        early_rows, late_rows = np.flatnonzero(~drops.late), np.flatnonzero(drops.late)
        rows = np.where(is_late, rng.choice(late_rows, at.shape), rng.choice(early_rows, at.shape))
        chance = rng.random(at.shape)
        drop = (chance < drops.high[rows]).astype(float) - (chance > 1 - drops.low[rows])
        # means of eligible calls so far, exactly: between audits the phase is taken to be that of the next audit
        of_call = mean[late_rows].mean() * share_late + mean[early_rows].mean() * (1 - share_late)
        predicted_call = drops.predicted[late_rows].mean() * share_late + drops.predicted[early_rows].mean() * (
            1 - share_late
        )
        certain = rng.binomial(gaps, 0.5).cumsum(axis=1)
        truth = np.cumsum(gaps * of_call, axis=1) / (at + certain)
        w, n = 1 / SHARE, np.broadcast_to(np.arange(1.0, audits + 1), at.shape)
        m = drops.predicted[rows]
        # predictions of calls that were not audited: their mean, and the luck of which they were
        noise = rng.normal(size=at.shape) * np.sqrt(gaps - 1) * drops.predicted.std()
        unaudited_m = np.cumsum((gaps - 1) * predicted_call + noise, axis=1)

        found = {}
        for kind, predictions in (("plain", False), ("predictions", True)):
            known = m if predictions else np.zeros_like(m)
            rest = (at - n, unaudited_m) if predictions else (np.zeros_like(n), np.zeros_like(n))
            _, low, high = bounds(sums_of(drop, known, w, n, certain, *rest))
            found[kind] = ((low <= truth) & (truth <= high)).all(axis=1), (high - low)[:, 1999] / 2
        share = (at / (at + certain))[:, 1999]
        plain_mean = np.cumsum(drop, axis=1)[:, 1999] / 2000
        deviation = np.sqrt(np.maximum((drop[:, :2000] ** 2).mean(axis=1) - plain_mean**2, 0))
        fixed = 1.96 * deviation / np.sqrt(2000) * share
        explained = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(drop[:50], m[:50], strict=True)])
        results.append(
            {
                "set": name,
                "scenario": scenario,
                "streams": streams,
                "covered": float(found["plain"][0].mean()),
                "covered_predictions": float(found["predictions"][0].mean()),
                "drop": float(truth[:, -1].mean()),
                "change": float(mean[late_rows].mean() - mean[early_rows].mean()),
                "fixed_half_width": float(fixed.mean()),
                "width_ratio": float((found["plain"][1] / fixed).mean()),
                "width_ratio_predictions": float((found["predictions"][1] / fixed).mean()),
                "correlation": float(explained.mean()),
            }
        )
    return results
