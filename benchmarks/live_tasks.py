"""A price frozen for a drop of 1 %, on tasks that training has not seen: by text alone, and with the draws' evidence.

``python benchmarks/live_tasks.py --shared ../shared --work .venv-live``: one split by task after the other, each kept
in the folder ``--work``; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from experiments import DataSet  # first: it sets how many threads numpy may use

import numpy as np  # isort: skip

from dataclasses import replace

from live_tables import split

from bestroute.labels import SampleArrays, label_plans
from bestroute.policies.policies import QualityPolicy, ReferencePolicy
from bestroute.records.records import read_records
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.types.pool import Pool

SET = DataSet("reasoning_gym", "reasoning_gym", "recorded", "by task")
TARGET = "0.01"
WAYS = {"text": ("recorded", 1), "evidence": ("agreement", 3)}
"""Of each way the reward, and how many draws a step may have."""
SPLITS = 50


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
    quality, usd = labels.quality[rows, chosen].mean(), labels.cost_usd[rows, chosen].mean()
    return {
        "deal": deal,
        "way": way,
        "drop": float(1 - quality / labels.quality[:, own].mean()),
        "saving": float(1 - usd / labels.cost_usd[:, own].mean()),
        "unfamiliar": float((prediction.familiarity < 0.05).mean()),  # type: ignore[operator]
        "by_reference": float((chosen == own).mean()),
    }


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
    given = parser.parse_args()
    made = {(row["deal"], row["way"]) for row in kept(given.work)}
    for deal in range(given.splits):
        for way in WAYS:
            if (deal, way) not in made:
                row = run(given.shared, deal, way)
                with (given.work / "tasks.jsonl").open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(row) + "\n")
                print(row, flush=True)


if __name__ == "__main__":
    main()
