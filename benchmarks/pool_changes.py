"""Regenerates ``docs/pool_changes.md``: a member added from few labelled queries, against training anew with it.

``make pool-changes SHARED=../shared``. For each member but the reference and each of five folds by group: a router is
trained without it on the training part, the member is added from whole groups of that part (seeded), and both are
scored on the fold beside a router trained on the whole part with it. The data are not part of the project; the
figures are.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import DATA, DOCS, FOLDS, DataSet  # first: it sets how many threads numpy may use

import numpy as np  # isort: skip

from bestroute.demo.dataset import demo_pool, demo_records
from bestroute.demo.tasks import normalise
from bestroute.evaluation.mixtures import least_cost, vertices
from bestroute.labels import SampleArrays, label_plans
from bestroute.policies.policies import QualityPolicy
from bestroute.records.records import Record, read_records
from bestroute.router import MultiHeadRouter
from bestroute.router.pool_changes import add_model, without_member
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings, policy_for
from bestroute.router.training import train_router
from bestroute.stats.bootstrap import interval95, resampled_means
from bestroute.stats.folds import deal_folds
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.pool import Pool

NAMES = ("livecodebench", "cruxeval_input", "cruxeval_output", "demo")
SIZES = (50, 100, 200)
DROPS = ("0", "0.01", "0.03", "0.05")
"""Of the curve in hindsight."""
TARGETS = ("0", "0.01", "0.03")
"""Of frozen prices."""
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the choices of one router gave, query by query, each of shape ``(Q, C)``.

    The columns: every price of its path, every frozen price of ``TARGETS``, and the reference.
    """

    quality: FloatArray
    cost: FloatArray


def records_of(data: DataSet, shared: Path) -> tuple[list[Record], Pool]:
    """Read a data set."""
    if data.name == "demo":
        return list(demo_records()), demo_pool()
    pool = Pool.from_file(shared / "data" / "pools" / f"{data.pool}.yaml")
    return read_records(shared / "data" / f"{data.name}.jsonl.gz", pool=pool), pool


def arrays_of(records: list[Record], pool: Pool, data: DataSet) -> SampleArrays:
    """Return records as arrays of a pool."""
    form = normalise if data.name == "demo" else None
    return SampleArrays.of(records, pool, reward=data.reward, normalise=form)  # type: ignore[arg-type]


def labelled(groups: list[str], rows: IntArray, queries: int, seed: int) -> IntArray:
    """Draw whole groups of some rows until there are so many queries."""
    by_group: dict[str, list[int]] = {}
    for row in rows:
        by_group.setdefault(groups[row], []).append(int(row))
    names = sorted(by_group)
    drawn: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(names)):
        if len(drawn) >= queries:
            break
        drawn += by_group[names[i]]
    return np.array(sorted(drawn), dtype=np.intp)


def outcome_of(router: MultiHeadRouter, test: SampleArrays) -> Outcome:
    """Let a router choose at every price."""
    labels = label_plans(test, router.plans, margin=router.settings.margin)
    prediction, cost = predicted(router, test)
    policies = [*map(QualityPolicy, router.path), *(policy_for(router.frozen[t]) for t in TARGETS), policy_for(None)]
    chosen = np.array([policy.choose(prediction, cost, test.pool) for policy in policies]).T
    rows = np.arange(len(test))[:, None]
    return Outcome(labels.quality[rows, chosen], labels.cost_usd[rows, chosen])


def mean_of(outcomes: list[Outcome]) -> Outcome:
    """Average over draws of labelled queries."""
    return Outcome(np.mean([o.quality for o in outcomes], axis=0), np.mean([o.cost for o in outcomes], axis=0))


def stacked(folds: list[Outcome]) -> Outcome:
    """Put the queries of the folds under each other."""
    return Outcome(np.vstack([o.quality for o in folds]), np.vstack([o.cost for o in folds]))


def run(data: DataSet, shared: Path, draws: int) -> list[dict[str, Any]]:
    """Add every member but the reference in turn; returns one result for each."""
    records, pool = records_of(data, shared)
    settings = TrainSettings(reward=data.reward)
    arrays = arrays_of(records, pool, data)
    groups = list(arrays.groups)
    fold_of = deal_folds(groups, FOLDS)
    splits = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(FOLDS)]
    order = [groups[row] for _, test in splits for row in test]
    full = stacked([outcome_of(train_router(arrays.take(a), settings).router, arrays.take(b)) for a, b in splits])
    results = []
    for model in pool.models:
        if model == pool.reference:
            continue
        fewer = arrays_of(records, without_member(pool, model), data)
        ways: dict[str, list[Outcome]] = {"without": [], **{str(size): [] for size in SIZES}}
        for train, test in splits:
            router = train_router(fewer.take(train), settings).router
            ways["without"].append(outcome_of(router, fewer.take(test)))
            for size in SIZES:
                drawn = [arrays.take(labelled(groups, train, size, seed)) for seed in range(draws)]
                added = [outcome_of(add_model(router, few), arrays.take(test)) for few in drawn]
                ways[str(size)].append(mean_of(added))
        pooled = {**{name: stacked(folds) for name, folds in ways.items()}, "full": full}
        result = {"data": data.name, "member": model, "queries": len(arrays), "groups": len(set(groups))}
        results.append({**result, "draws": draws, **compared(pooled, order)})
        last = results[-1]
        print(data.name, model, {w: round(last["hindsight"][w]["0.01"]["value"], 3) for w in pooled}, flush=True)
    return results


def compared(ways: dict[str, Outcome], groups: list[str]) -> dict[str, Any]:
    """Return figures and paired intervals: savings in hindsight, frozen points, and what is between the ways."""
    means = {name: _means(outcome, groups) for name, outcome in ways.items()}
    hindsight = {name: {drop: _saving(*means[name], float(drop)) for drop in DROPS} for name in ways}
    figures: dict[str, Any] = {
        "hindsight": {name: {drop: _estimate(v) for drop, v in by.items()} for name, by in hindsight.items()},
        "frozen": {},
        "kept": {},
        "over_without": {},
        "behind_full": {},
    }
    for name, (quality, cost) in means.items():
        figures["frozen"][name] = {
            target: {
                "saving": _estimate(1 - cost[:, i - len(TARGETS) - 1] / cost[:, -1]),
                "drop": _estimate(1 - quality[:, i - len(TARGETS) - 1] / quality[:, -1]),
            }
            for i, target in enumerate(TARGETS)
        }
    for name in map(str, SIZES):
        figures["kept"][name], figures["over_without"][name], figures["behind_full"][name] = {}, {}, {}
        for drop in DROPS:
            ours, without, full = (hindsight[way][drop] for way in (name, "without", "full"))
            figures["kept"][name][drop] = _estimate(ours / np.where(full > 0, full, np.nan))
            figures["over_without"][name][drop] = _estimate(ours - without)
            figures["behind_full"][name][drop] = _estimate(full - ours)
    return figures


def _means(outcome: Outcome, groups: list[str]) -> tuple[FloatArray, FloatArray]:
    """Return means of quality and of cost, the records themselves first, then resamples; ``(1 + resamples, C)``."""
    values = np.hstack([outcome.quality, outcome.cost])
    means = np.vstack([values.mean(axis=0), resampled_means(values, groups, resamples=RESAMPLES)])
    quality, cost = np.hsplit(means, 2)
    return quality, cost


def _saving(quality: FloatArray, cost: FloatArray, drop: float) -> FloatArray:
    """Return the most that mixtures of the path's points (and the reference) save at a drop, in each resample."""
    columns = [i for i in range(quality.shape[1]) if not -len(TARGETS) - 1 <= i - quality.shape[1] < -1]
    kept = np.array(columns)[np.union1d(vertices(cost[0, columns], quality[0, columns]), [len(columns) - 1])]
    best = least_cost(cost[:, kept], quality[:, kept], (1 - drop) * quality[:, -1])
    return np.asarray(1 - best / cost[:, -1])


def _estimate(values: FloatArray) -> dict[str, Any]:
    value = float(values[0])
    return {"value": value if np.isfinite(value) else None, "ci95": interval95(values[1:])}


def percent(estimate: dict[str, Any]) -> str:
    """Render a share with its interval."""
    if estimate["value"] is None:
        return "-"
    ends = "" if estimate["ci95"] is None else f" [{100 * estimate['ci95'][0]:.1f}, {100 * estimate['ci95'][1]:.1f}]"
    return f"{100 * estimate['value']:.1f}{ends}"


def page(results: list[dict[str, Any]]) -> str:
    """Return ``docs/pool_changes.md``."""
    lines = [
        "# Changing the pool",
        "",
        "`bestroute add-model` adds a member to a trained router from few labelled queries; `bestroute remove-model`",
        "removes one and needs no records. In both cases the predictions about the other members stay the same to the",
        "last bit (`tests/core/test_pool_changes.py`).",
        "",
        "This page compares an added member with training again. It is written by `make pool-changes",
        "SHARED=../shared` (an hour on one core); do not edit it. For each member except the reference, and each of",
        "five folds by group, a router is trained without the member. `add_model` then adds it from 50, 100 or 200",
        f"labelled queries (whole groups, drawn from the records that the router was trained on; {results[0]['draws']}",
        "draws, averaged), and the fold is scored.",
        "",
        "- *Without*: the member is not added.",
        "- *Full*: a router that is trained with the member on the whole training part.",
        "",
        f"All figures are in per cent. Intervals are 95 %, paired, over {RESAMPLES} resamples of groups. How cautious",
        "the method is was chosen on a pool that is not shown here (other models on the same problems of",
        "livecodebench). Runs on the demo set showed two more rules: frozen prices may have to rise, and the target",
        "must then be no stricter than what the router without the member reaches.",
        "",
        "## Saving kept, over all members",
        "",
        "The share of the full training's saving that is kept, at the same drop in hindsight: the mean over members,",
        "and the least. *Without* is what is kept if the member is not added at all; if it is near 100, the member",
        "hardly matters. If the full saving is near 0 (the demo set at a drop of 0 %), a share of it has no meaning.",
        "",
        "| data | members | drop | without | " + " | ".join(f"{size} queries" for size in SIZES) + " |",
        "|---|---|---|---|" + "---|" * len(SIZES),
    ]
    for name in dict.fromkeys(result["data"] for result in results):
        some = [result for result in results if result["data"] == name]
        for drop in DROPS:
            shares = {way: [_share(r, way, drop) for r in some] for way in ("without", *map(str, SIZES))}
            cells = [_mean_and_least([s for s in values if s is not None]) for values in shares.values()]
            lines.append(f"| {name} | {len(some)} | {float(drop):.0%} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Saving at a drop of 1 %, in hindsight",
        "",
        "Savings of mixtures of the points of each curve. *More than without* and *behind full* are paired",
        "differences of the router with a member added from 50 labelled queries, in points.",
        "",
        "| data | member | without | 50 | 100 | 200 | full | 50: kept of full | 50: more than without "
        "| 50: behind full |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        cells = [percent(r["hindsight"][way]["0.01"]) for way in ("without", *map(str, SIZES), "full")]
        cells += [percent(r[name]["50"]["0.01"]) for name in ("kept", "over_without", "behind_full")]
        lines.append(f"| {r['data']} | {r['member']} | {' | '.join(cells)} |")
    lines += [
        "",
        "## At frozen prices",
        "",
        "Saving / measured drop at the price that was frozen for a target drop; nothing is chosen in hindsight. The",
        "extended router keeps the price that was frozen without the member. It raises the price if its own",
        "predictions say that with the new member a target would be missed that was met without it, or be missed by",
        "more.",
    ]
    for target in TARGETS:
        lines += ["", f"Target drop {float(target):.0%}:", ""]
        lines += ["| data | member | without | 50 | 100 | 200 | full |", "|---|---|---|---|---|---|---|"]
        for r in results:
            points = [r["frozen"][way][target] for way in ("without", *map(str, SIZES), "full")]
            cells = [f"{percent(p['saving'])} / {percent(p['drop'])}" for p in points]
            lines.append(f"| {r['data']} | {r['member']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _share(result: dict[str, Any], way: str, drop: str) -> float | None:
    ours, full = (result["hindsight"][name][drop]["value"] for name in (way, "full"))
    return None if ours is None or full is None or full <= 0 else float(ours / full)


def _mean_and_least(shares: list[float]) -> str:
    return f"{100 * np.mean(shares):.1f} (least {100 * min(shares):.1f})" if shares else "-"


def main() -> None:
    """Run every data set; results are written as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--only", action="append", choices=NAMES, help="One data set; may be given several times.")
    parser.add_argument("--docs", type=Path, default=DOCS, help="Where the page and its figures are written.")
    args = parser.parse_args()
    path = args.docs / "pool_changes.json"
    results: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    for data in (d for d in DATA if d.name in (args.only or NAMES)):
        results = [r for r in results if r["data"] != data.name] + run(data, args.shared, args.draws)
        results.sort(key=lambda result: NAMES.index(result["data"]))
        path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
        (args.docs / "pool_changes.md").write_text(page(results))


if __name__ == "__main__":
    main()
