"""Regenerates ``docs/promises.md``: how often a tuned promise is broken, refused, and what it keeps.

``make promises SHARED=../shared``. Each data set is halved by group five times; a router is trained on one half. The
other is the population: calibration sets are drawn from it with replacement, group by group, and each is tuned on;
what came of it is compared with the mean over the whole population. The data are not part of the project; the figures
are.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from experiments import DATA, DOCS, arrays_of

from bestroute.router.shrinkage import cheapest_that_meets
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.stats.folds import deal_folds
from bestroute.tuning.certify import LEAST_SAVING, Outcomes, certify_budget, certify_drop
from bestroute.tuning.splits import ORDER_SHARE
from bestroute.tuning.tune import PRICES, outcomes_of
from bestroute.types.arrays import FloatArray, IntArray

SPLITS = 5
"""Halves, and so routers, of each data set; the draws are shared out to them."""
NAIVE = "naive threshold"
BOUND = "promise"


@dataclass(frozen=True)
class Case:
    """A promise to be tried many times."""

    data: str
    queries: int
    max_drop: float | None = None
    budget_share: float | None = None
    """Instead: a budget, as a share of what the reference costs."""
    target: str = ""


CASES = (
    Case("routellm_mmlu", 4000, 0.01, target="keeps >= 0.55"),
    Case("routellm_mmlu", 4000, 0.02, target="keeps >= 0.68"),
    Case("routellm_mmlu", 1000, 0.02),
    Case("routellm_mmlu", 300, 0.01, target="refused"),
    Case("livecodebench", 300, 0.0, target="saves >= 50 %"),
    Case("livecodebench", 300, 0.01),
    Case("livecodebench", 150, 0.0),
    Case("cruxeval_output", 300, 0.01, target="refused"),
    Case("cruxeval_output", 300, 0.05),
    Case("demo", 180, 0.01),
    Case("demo", 180, 0.05),
    Case("demo", 600, 0.05),
    Case("routellm_mmlu", 300, budget_share=0.6),
    Case("livecodebench", 300, budget_share=0.5),
)


@dataclass(frozen=True)
class Tally:
    """What came of all the draws."""

    draws: int
    broken: float
    """Share of all draws whose promise is broken on the population."""
    refused: float
    saving: float
    """Mean over all draws, a refusal saves nothing; of a budget: mean quality kept, as a share of the best possible."""
    kept: float
    """Of the best saving in hindsight: the cheapest setting of all that keeps the promise on the population."""
    kept_of_walk: float
    """Of the saving that walking from the careful side finds if the population is known."""
    errors: dict[str, float]
    """Standard errors, by name: of the draws, or of the halves where several are joined."""

    @classmethod
    def joined(cls, tallies: Sequence[Tally]) -> Tally:
        """Return the mean over halves."""
        names = ("broken", "refused", "saving", "kept", "kept_of_walk")
        values = {name: np.array([getattr(tally, name) for tally in tallies]) for name in names}
        root = math.sqrt(len(tallies))
        errors = {name: float(values[name].std(ddof=1)) / root for name in tallies[0].errors}
        draws = sum(tally.draws for tally in tallies)
        return cls(draws, **{name: float(v.mean()) for name, v in values.items()}, errors=errors)


def population_of(name: str, shared: Path, split: int) -> tuple[Outcomes, dict[str, Any]]:
    """Train on one half by group; return what the router's settings give on the other."""
    data = next(d for d in DATA if d.name == name)
    arrays = arrays_of(data, shared)
    inside = deal_folds(arrays.groups, 2, seed=split) == 0
    train, rest = arrays.take(np.flatnonzero(inside)), arrays.take(np.flatnonzero(~inside))
    router = train_router(train, TrainSettings(reward=data.reward)).router  # type: ignore[arg-type]
    outcomes = outcomes_of(router, rest, np.geomspace(router.path[0], router.path[-1], PRICES))
    sizes = {"trained_on": len(train), "queries": len(rest), "groups": outcomes.units}
    return outcomes, sizes


def draw(population: Outcomes, members: list[IntArray], count: int, rng: np.random.Generator) -> Outcomes:
    """Draw groups with replacement; each draw is a group of its own, and already in random order."""
    drawn = rng.integers(0, len(members), count)
    rows = np.concatenate([members[g] for g in drawn])
    sizes = [len(members[g]) for g in drawn]
    part = population.take(rows)
    return Outcomes(
        part.quality, part.cost, part.reference_quality, part.reference_cost, np.repeat(np.arange(count), sizes)
    )


def naive(sample: Outcomes, max_drop: float) -> int | None:
    """Tune without a promise: the cheapest setting that meets the target on the same queries."""
    drop = (1 - max_drop) * sample.reference_quality.mean() - sample.quality.mean(axis=1)
    best = cheapest_that_meets(drop <= 0)
    return best


def run_case(case: Case, population: Outcomes, draws: int, seed: int) -> dict[str, Tally]:
    """Tune on many calibration sets."""
    members = [np.flatnonzero(population.groups == g) for g in np.unique(population.groups)]
    count = round(case.queries * len(members) / len(population.groups))
    reference_cost = float(population.reference_cost.mean())
    saving = 1 - population.cost.mean(axis=1) / reference_cost
    if case.max_drop is not None:
        limit = case.max_drop
        loss = ((1 - limit) * population.reference_quality - population.quality).mean(axis=1)
        gain = saving
    else:
        assert case.budget_share is not None
        budget = case.budget_share * reference_cost
        loss = population.cost.mean(axis=1) / budget - 1
        gain = population.quality.mean(axis=1) / float(population.reference_quality.mean())
    holds = loss <= 1e-12
    best = max(float(gain[holds].max(initial=0.0)), 0.0)
    walked = cheapest_that_meets(holds) if case.max_drop is not None else int(np.flatnonzero(holds)[-1])
    by_walk = max(float(gain[walked]), 0.0) if walked is not None else 0.0

    def promised(sample: Outcomes) -> int | None:
        first = sample.groups < round(ORDER_SHARE * count)
        order, calibrate = sample.take(np.flatnonzero(first)), sample.take(np.flatnonzero(~first))
        if case.max_drop is not None:
            return certify_drop(order, calibrate, max_drop=case.max_drop, confidence=0.95).setting
        return certify_budget(order, calibrate, budget=budget, confidence=0.95).setting

    def plainly(sample: Outcomes) -> int | None:
        if case.max_drop is not None:
            chosen = naive(sample, case.max_drop)
            return None if chosen is None or saving[chosen] < LEAST_SAVING else chosen
        within = np.flatnonzero(sample.cost.mean(axis=1) <= budget)
        return int(within[-1]) if len(within) else None

    makers: dict[str, Callable[[Outcomes], int | None]] = {BOUND: promised, NAIVE: plainly}
    chosen: dict[str, list[int | None]] = {name: [] for name in makers}
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        sample = draw(population, members, count, rng)
        for name, make in makers.items():
            chosen[name].append(make(sample))
    return {name: tally(settings, loss, gain, best, by_walk) for name, settings in chosen.items()}


def tally(settings: list[int | None], loss: FloatArray, gain: FloatArray, best: float, by_walk: float) -> Tally:
    """Count what came of the draws."""
    broken = np.array([s is not None and loss[s] > 1e-12 for s in settings], dtype=float)
    refused = np.array([s is None for s in settings], dtype=float)
    got = np.array([0.0 if s is None else gain[s] for s in settings])
    root = math.sqrt(len(settings))
    errors = {
        "broken": float(broken.std()) / root,
        "refused": float(refused.std()) / root,
        "saving": float(got.std()) / root,
    }

    def share(whole: float) -> float:
        return float(got.mean()) / whole if whole > 0 else math.nan

    return Tally(
        len(settings),
        float(broken.mean()),
        float(refused.mean()),
        float(got.mean()),
        share(best),
        share(by_walk),
        errors,
    )


def level_of_ties(draws: int) -> list[tuple[str, float, float]]:
    """Reject a claim that is true by nothing: the mean loss is 0 exactly."""
    from bestroute.tuning.betting import best_log_wealth, needed_log_wealth

    rng = np.random.default_rng(0)
    sizes = {"50": 50, "400": 400, "3000": 3000}
    found = []
    for name, n in sizes.items():
        for law, losses in {
            "right or wrong, a = 1 %": rng.choice([0.99, -0.01], p=[0.01, 0.99], size=(draws, n)),
            "mostly nothing": rng.choice([0.9, 0.0, -0.9], p=[0.02, 0.96, 0.02], size=(draws, n)),
            "uniform": rng.uniform(-1, 1, size=(draws, n)),
        }.items():
            guess = np.full(draws, -0.02), np.full(draws, float(losses.var()))
            wealth = best_log_wealth(losses, largest=1.0, confidence=0.95, mean=guess[0], variance=guess[1])
            rate = float((wealth >= needed_log_wealth(0.95)).mean())
            found.append((f"{law}, {name} draws", rate, math.sqrt(rate * (1 - rate) / draws)))
    return found


def percent(value: float, error: float | None = None) -> str:
    """Render a share with its standard error."""
    return f"{100 * value:.1f} %" + ("" if error is None else f" ± {100 * error:.1f}")


def page(results: list[dict[str, Any]], levels: list[tuple[str, float, float]], took: float) -> str:
    """Return ``docs/promises.md``."""
    text = (Path(__file__).parent / "promises.txt").read_text()
    rows = []
    for result in results:
        case = result["case"]
        drop = case["max_drop"]
        what = f"drop <= {drop:.0%}" if drop is not None else f"cost <= {case['budget_share']:.0%} of the reference"
        for name in (BOUND, NAIVE):
            t, e = result[name], result[name]["errors"]
            ratio = e["saving"] / max(t["saving"], 1e-12)
            kept = "-" if math.isnan(t["kept"]) else f"{t['kept']:.2f} ± {t['kept'] * ratio:.2f}"
            walk = "-" if math.isnan(t["kept_of_walk"]) else f"{t['kept_of_walk']:.2f}"
            rows.append(
                f"| {case['data']} | {case['queries']} | {what} | {name} | {percent(t['broken'], e['broken'])} "
                f"| {percent(t['refused'], e['refused'])} | {percent(t['saving'], e['saving'])} | {kept} | {walk} "
                f"| {case['target'] if name == BOUND else ''} |"
            )
    populations = {r["case"]["data"]: r["population"] for r in results}
    trained = [
        f"| {name} | {sizes['trained_on']} | {sizes['queries']} | {sizes['groups']} |"
        for name, sizes in populations.items()
    ]
    ties = [f"| {name} | {percent(rate, error)} |" for name, rate, error in levels]
    mmlu = next(r for r in results if r["case"]["data"] == "routellm_mmlu" and r["case"]["max_drop"] == 0.01)[BOUND]
    lcb = next(r for r in results if r["case"]["data"] == "livecodebench" and r["case"]["max_drop"] == 0.0)[BOUND]
    return text.format(
        lcb_saved=percent(lcb["saving"], lcb["errors"]["saving"]),
        mmlu_kept=f"{mmlu['kept']:.3f}",
        mmlu_walk=f"{mmlu['kept_of_walk']:.2f}",
        rows="\n".join(rows),
        populations="\n".join(trained),
        ties="\n".join(ties),
        draws=results[0][BOUND]["draws"],
        seconds=f"{took:.0f}",
    )


def main() -> None:
    """Run every case and write ``docs/promises.md`` and ``docs/promises.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="One data set; may be given several times; writes nothing.")
    args = parser.parse_args()
    start = time.monotonic()
    results: list[dict[str, Any]] = []
    for name in dict.fromkeys(case.data for case in CASES if not args.only or case.data in args.only):
        populations = [population_of(name, args.shared, split) for split in range(SPLITS)]
        for case in (c for c in CASES if c.data == name):
            runs = [run_case(case, population, args.draws // SPLITS, args.seed) for population, _ in populations]
            tallies = {k: asdict(Tally.joined([run[k] for run in runs])) for k in runs[0]}
            results.append({"case": asdict(case), "population": populations[0][1], **tallies})
            print(case, *(f"\n  {k}: {t}" for k, t in tallies.items()), flush=True)
    levels = level_of_ties(20 * args.draws)
    for level in levels:
        print(*level)
    if not args.only:
        (DOCS / "promises.json").write_text(json.dumps({"cases": results, "levels": levels}, indent=1) + "\n")
        (DOCS / "promises.md").write_text(page(results, levels, time.monotonic() - start))


if __name__ == "__main__":
    main()
