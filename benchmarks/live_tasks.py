"""A price frozen for a drop of 1 %, on tasks that training has not seen: by text alone, and with the draws' evidence.

``python benchmarks/live_tasks.py --shared ../shared --work .venv-live``: one split by task after the other, each kept
in the folder ``--work``; what is there is not made again. At the end all of them go to ``docs/live.md``.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from experiments import DataSet  # first: it sets how many threads numpy may use

import numpy as np  # isort: skip

from dataclasses import replace

import live_page
from live_tables import split

from bestroute.labels import SampleArrays, label_plans
from bestroute.policies.policies import QualityPolicy, ReferencePolicy
from bestroute.records.records import read_records
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.stats.bootstrap import interval
from bestroute.types.pool import Pool

SET = DataSet("reasoning_gym", "reasoning_gym", "recorded", "by task")
TARGET = "0.01"
WAYS = {"text": ("recorded", 1), "evidence": ("agreement", 3)}
"""Of each way the reward, and how many draws a step may have."""
SPLITS = 50
DOCS = Path(__file__).parents[1] / "docs"


def run(shared: Path, deal: int, way: str) -> dict[str, Any]:
    """Train on three fifths of the tasks, and score on the others what was frozen."""
    reward, most = WAYS[way]
    pool = replace(Pool.from_file(shared / "data" / "pools" / f"{SET.pool}.yaml"), max_n=most)
    records = read_records(shared / "data" / f"{SET.name}.jsonl.gz", pool=pool)
    arrays = SampleArrays.of(records, pool, reward=reward)  # type: ignore[arg-type]
    train, test = split(SET, arrays, [str(record.group) for record in records], deal)
    part = arrays.take(train)
    router = train_router(part, TrainSettings(reward=reward, seed=deal)).router  # type: ignore[arg-type]
    others = arrays.take(test).with_token_means(part.token_means)
    labels = label_plans(others, router.plans, matches=False)
    prediction, cost = predicted(router, others)
    price = router.frozen[TARGET]
    policy = ReferencePolicy() if price is None else QualityPolicy(price)
    chosen = policy.choose(prediction, cost, pool)
    rows, own = np.arange(len(chosen)), router.plans.index(pool.reference_plan)
    table = np.column_stack(
        [labels.quality[rows, chosen], labels.cost_usd[rows, chosen], labels.quality[:, own], labels.cost_usd[:, own]]
    )
    quality, usd = table[:, :2].mean(axis=0)
    of_task = np.array([str(records[i].group) for i in test])
    return {
        "deal": deal,
        "way": way,
        "drop": float(1 - quality / labels.quality[:, own].mean()),
        "saving": float(1 - usd / labels.cost_usd[:, own].mean()),
        "unfamiliar": float((prediction.familiarity < 0.05).mean()),  # type: ignore[operator]
        "by_reference": float((chosen == own).mean()),
        "tasks": {str(task): table[of_task == task].sum(axis=0).tolist() for task in np.unique(of_task)},
    }


def designed_on(names: list[str]) -> set[str]:
    """Return the half of the tasks on which the way of freezing prices was chosen, by splits of their own."""
    dealt = np.random.default_rng(77).permutation(np.unique(names))
    return set(dealt[: len(dealt) // 2].tolist())


def summed_up(rows: list[dict[str, Any]], names: set[str], *, resamples: int = 2000) -> dict[str, Any]:
    """Return means over the splits of one way with standard errors, and 95 % intervals by resampled tasks.

    A split's tasks are others' too, so what other tasks would give is told by tasks, each by the mean of the splits
    that it was scored in.

    Args:
        rows: The splits.
        names: Of the tasks that count.
        resamples: How many.
    """
    of_task: dict[str, list[list[float]]] = defaultdict(list)
    figures = []
    for row in rows:
        counted = {task: found for task, found in row["tasks"].items() if task in names}
        for task, found in counted.items():
            of_task[task].append(found)
        figures.append(_relative(np.sum(list(counted.values()), axis=0)))
    means = np.array([np.mean(found, axis=0) for found in of_task.values()])
    drawn = np.random.default_rng(0).multinomial(len(means), np.full(len(means), 1 / len(means)), size=resamples)
    resampled, made = np.array([_relative(row) for row in drawn @ means]), np.array(figures)
    summed: dict[str, Any] = {"splits": len(rows), "most": float(made[:, 0].max())}
    for column, name in enumerate(("drop", "saving")):
        summed[name] = float(made[:, column].mean())
        summed[f"{name}_se"] = float(made[:, column].std(ddof=1) / np.sqrt(len(rows)))
        summed[f"{name}_ci95"] = list(interval(resampled[:, column]))
    return summed


def _relative(sums: Any) -> tuple[float, float]:
    """Return drop and saving of summed qualities and USD, the reference's last."""
    quality, usd, reference, reference_usd = sums
    return float(1 - quality / reference), float(1 - usd / reference_usd)


def write_page(rows: list[dict[str, Any]]) -> None:
    """Put the splits into ``docs/live.md``."""
    path = DOCS / "live.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    every = {task for row in rows for task in row["tasks"]}
    scored = {"all": every, "apart": every - designed_on(sorted(every))}
    results["tasks"] = [
        {"way": way, "part": part, **summed_up(of, names)}
        for way in WAYS
        for part, names in scored.items()
        if len(of := [row for row in rows if row["way"] == way]) > 1
    ]
    path.write_text(json.dumps(results) + "\n", encoding="utf-8")
    (DOCS / "live.md").write_text(live_page.page(results), encoding="utf-8")


def kept(work: Path) -> list[dict[str, Any]]:
    """Return the splits that were made."""
    path = work / "tasks.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Make the splits that are not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--way", nargs="+", choices=list(WAYS), default=list(WAYS))
    given = parser.parse_args()
    made = {(row["deal"], row["way"]) for row in kept(given.work)}
    for deal in range(given.splits):
        for way in given.way:
            if (deal, way) not in made:
                row = run(given.shared, deal, way)
                with (given.work / "tasks.jsonl").open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(row) + "\n")
                print({name: value for name, value in row.items() if name != "tasks"}, flush=True)
    write_page(kept(given.work))


if __name__ == "__main__":
    main()
