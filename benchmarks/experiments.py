"""Regenerates ``docs/experiments.md``: every routed data set, five folds by group, several seeds, all baselines.

``make experiments SHARED=../shared``. The data are not part of the project; the figures are.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import experiments_page
import numpy as np

from bestroute.demo.dataset import demo_arrays, demo_pool, demo_records
from bestroute.evaluation.evaluate import cross_fit
from bestroute.evaluation.report import calibration_of, report_on
from bestroute.evaluation.series import Scored, Series
from bestroute.evaluation.tables import table
from bestroute.labels import SampleArrays
from bestroute.records.records import read_records
from bestroute.router.train_settings import TrainSettings, deals_for
from bestroute.router.training import train_router
from bestroute.stats.bootstrap import interval95, resampled_means
from bestroute.stats.folds import deal_folds
from bestroute.types.pool import Pool

DOCS = Path(__file__).parent.parent / "docs"
FOLDS = 5
SHARES = tuple(np.linspace(0, 1, 201).round(4).tolist())


@dataclass(frozen=True)
class DataSet:
    """A set of records, its pool and what chooses among samples."""

    name: str
    pool: str
    reward: str
    note: str


DATA = (
    DataSet("livecodebench", "livecodebench", "quality", "hidden tests verify; reference claude-3.5-sonnet"),
    DataSet("cruxeval_input", "cruxeval", "quality", "running the function verifies; reference gpt-4-0613"),
    DataSet("cruxeval_output", "cruxeval", "majority", "a vote; reference gpt-4-0613"),
    DataSet("routellm_mmlu", "routellm", "recorded", "one sample each; reference gpt-4-1106-preview"),
    DataSet("demo", "", "majority", "a vote; reference qwen2.5-coder-1.5b"),
)


def arrays_of(data: DataSet, shared: Path) -> SampleArrays:
    """Read a data set."""
    if data.name == "demo":
        return demo_arrays(demo_records(), demo_pool())
    pool = Pool.from_file(shared / "data" / "pools" / f"{data.pool}.yaml")
    records = read_records(shared / "data" / f"{data.name}.jsonl.gz", pool=pool)
    return SampleArrays.of(records, pool, reward=data.reward)  # type: ignore[arg-type]


def run_seed(data: DataSet, shared: Path, seed: int) -> Scored:
    """Cross-fit once."""
    arrays = arrays_of(data, shared)
    settings = TrainSettings(reward=data.reward, seed=seed)  # type: ignore[arg-type]
    return cross_fit(arrays, settings, folds=FOLDS, seed=seed, deals=deals_for(len(arrays)), resamples=100).scored


def run_shares(shared: Path, seed: int) -> Scored:
    """Send the share of queries that lose the least by it to the small model, for every share (``routellm_mmlu``)."""
    arrays = arrays_of(next(d for d in DATA if d.name == "routellm_mmlu"), shared)
    fold_of = deal_folds(arrays.groups, FOLDS, seed=seed)
    reference = arrays.pool.models.index(arrays.pool.reference)
    folds = []
    for fold in range(FOLDS):
        inside = fold_of == fold
        router = train_router(arrays.take(np.flatnonzero(~inside)), TrainSettings(seed=seed)).router
        test = arrays.take(np.flatnonzero(inside))
        order = [router.plans.index(plan) for plan in router.plans if plan != router.pool.reference_plan]
        quality = router.predict(test.queries()).expected_quality
        loss = quality[:, router.plans.index(router.pool.reference_plan)] - quality[:, order[0]]
        rank = loss.argsort().argsort()
        down = rank[:, None] < np.array(SHARES) * len(test)
        truth = test.quality[:, :, 0]
        series = Series(SHARES, np.where(down, truth[:, [1 - reference]], truth[:, [reference]]), down * 1.0)
        folds.append(Scored(test.ids, test.groups, {"share": series, "reference": series}))
    return Scored.joined(folds)


def averaged(runs: Sequence[Scored]) -> Scored:
    """Average what the seeds gave each query; the same queries, whatever fold they fell into."""
    orders = [np.argsort(np.array(run.ids)) for run in runs]
    names = [n for n in runs[0].series if all(n in run.series for run in runs)]
    series = {
        name: Series(
            Series.joined([run.series[name] for run in runs]).parameters,
            np.mean([run.series[name].quality[o] for run, o in zip(runs, orders, strict=True)], axis=0),
            np.mean([run.series[name].cost[o] for run, o in zip(runs, orders, strict=True)], axis=0),
        )
        for name in names
    }
    ids, groups = np.array(runs[0].ids)[orders[0]], np.array(runs[0].groups)[orders[0]]
    return Scored(tuple(ids), tuple(groups), series, runs[0].missing)


def averaged_calibration(runs: Sequence[Scored]) -> list[dict[str, Any]]:
    """Average the calibration error of each head over the seeds; heads that not every seed has are left out."""
    found = [{head["plan"]: head for head in calibration_of(run)} for run in runs]
    return [
        {"plan": plan, **{key: float(np.mean([heads[plan][key] for heads in found])) for key in ("error", "perfect")}}
        for plan in found[0]
        if all(plan in heads for heads in found)
    ]


def shares_report(scored: Scored, resamples: int) -> dict[str, Any]:
    """Return what shares of traffic cost in quality: the figures of the RouteLLM setting."""
    quality = scored.series["share"].quality
    means = np.vstack([quality.mean(axis=0), resampled_means(quality, scored.groups, resamples=resamples)])
    drop = 1 - means / means[:, :1]
    shares = np.array(SHARES)
    recovered = 1 - (means[:, :1] - means) / (means[:, :1] - means[:, -1:])
    apgr = ((recovered[:, 1:] + recovered[:, :-1]) / 2 * np.diff(shares)).sum(axis=1)

    def largest(limit: float) -> np.ndarray[Any, Any]:
        return np.array([shares[row <= limit].max() for row in drop])

    coin = 0.01 / drop[:, -1]
    at_1 = largest(0.01)
    at_20 = drop[:, SHARES.index(0.2)]
    return {
        name: {"value": float(values[0]), "ci95": interval95(values[1:])}
        for name, values in {
            "drop_at_20_share": at_20,
            "coin_drop_at_20_share": 0.2 * drop[:, -1],
            "apgr": apgr,
            "share_at_1_drop": at_1,
            "coin_share_at_1_drop": coin,
            "share_over_coin": at_1 - coin,
        }.items()
    }


def main() -> None:
    """Run everything and write ``docs/experiments.json``, ``docs/experiments.md`` and the plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", action="append", help="One data set; may be given several times.")
    args = parser.parse_args()
    chosen = [d for d in DATA if not args.only or d.name in args.only]
    path = DOCS / "experiments.json"
    results: dict[str, Any] = json.loads(path.read_text()) if args.only and path.exists() else {}
    with ProcessPoolExecutor(max_workers=args.workers) as workers:
        waiting = {
            d.name: [workers.submit(run_seed, d, args.shared, seed) for seed in range(args.seeds)] for d in chosen
        }
        shares = [
            workers.submit(run_shares, args.shared, seed) for seed in range(args.seeds) if "routellm_mmlu" in waiting
        ]
        for data in chosen:
            runs = [future.result() for future in waiting[data.name]]
            scored, calibrations = averaged(runs), averaged_calibration(runs)
            frozen = dict.fromkeys(scored.series["frozen"].parameters)
            report = {"cross_fit": FOLDS, "seeds": args.seeds, **report_on(scored, frozen, resamples=args.resamples)}
            report |= {"calibration": calibrations, "note": data.note}
            print(f"\n== {data.name}: {data.note}\n{table(report)}", flush=True)
            results[data.name] = report
            if data.name == "routellm_mmlu":
                pooled = averaged([future.result() for future in shares])
                results["routellm_mmlu_shares"] = shares_report(pooled, args.resamples)
                print(json.dumps(results["routellm_mmlu_shares"], indent=1), flush=True)
            path.write_text(json.dumps(_rounded(results), indent=1) + "\n")
    experiments_page.main()


def _rounded(value: Any) -> Any:
    """Keep six digits: enough for every table, and a file that changes no more than its figures."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
