"""Regenerates ``docs/live.md``: streams of live traffic, drawn from real answers.

``make live SHARED=../shared``; ``--only coverage follow alarms familiarity`` for some of its sections. Tables of what
trained routers would have done are made once, in ``--work``. The data are not part of the project; the figures are.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import live_coverage
import live_follow
import live_page
from live_tables import SETS, TARGETS, Table, tables

import numpy as np  # isort: skip

from bestroute.features.hashing import featurise
from bestroute.monitoring.alarms import CALL_STARTS, CHANGE_LEVEL, CHANGES, DROP_LEVEL, DROP_STARTS, HORIZON_AUDITS
from bestroute.policies.policies import UNFAMILIAR
from bestroute.router.familiarity import Familiarity
from bestroute.router.feature_maps import FeatureMaps
from bestroute.stats.folds import deal_folds
from bestroute.stats.wealth import mean_factors, rank_factors, wealth_over_time
from bestroute.types.query import Query

DOCS = Path(__file__).parents[1] / "docs"
SECTIONS = ("coverage", "follow", "alarms", "familiarity")


def coverage(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Score the interval on every set."""
    rows = []
    for name in live_coverage.ARMS:
        batches = [live_coverage.run(name, given.shared, streams=given.streams // 4, seed=seed) for seed in range(4)]
        for same in zip(*batches, strict=True):
            means = {key: np.mean([row[key] for row in same]) for key in same[0] if key not in ("set", "scenario")}
            rows.append({**same[0], **{key: float(value) for key, value in means.items()}, "streams": given.streams})
        print(f"coverage: {name}", flush=True)
    return rows


def follow(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Follow targets over streams of every deal."""
    rows = []
    for data in SETS:
        missing = [d for d in range(given.deals) if not (given.work / f"{data.name}-{d}.npz").exists()]
        for deal, table in tables(data, given.shared, missing):
            table.save(given.work / f"{data.name}-{deal}.npz")
        for deal in range(given.deals):
            table = Table.load(given.work / f"{data.name}-{deal}.npz")
            for index in range(len(TARGETS)):
                for seed in range(given.seeds):
                    rows.append({"set": data.name, "deal": deal, **live_follow.run(table, index, seed=seed)})
            print(f"follow: {data.name}, deal {deal}", flush=True)
    return rows


def alarms(given: argparse.Namespace) -> dict[str, Any]:
    """Draw null streams of 20,000 calls with 800 audits, and streams that lose 5 points from some audit on."""
    rng, n, audits = np.random.default_rng(0), given.streams, 800
    rows = []
    for rate in (0.005, 0.01, 0.03, 0.06, 0.1):
        row: dict[str, Any] = {"rate": rate, "deviation": float(np.sqrt(2 * rate))}
        for since in (None, 0, 200, 300):
            late = np.zeros(HORIZON_AUDITS) if since is None else np.where(np.arange(HORIZON_AUDITS) < since, 0, 0.05)
            chance = rng.random((n, HORIZON_AUDITS))
            lost = (chance < rate + late).astype(float) - (chance > 1 - rate)
            rich = wealth_over_time(mean_factors(lost), DROP_STARTS)[:, : audits + 1] >= 1 / DROP_LEVEL
            first = np.where(rich.any(axis=1), rich.argmax(axis=1), 10**9)
            if since is None:
                row["false"] = float(rich.any(axis=1).mean())
            else:
                delay = np.where(first > since, first - since, 0)
                row[f"median_{since}"] = float(np.median(delay))
                row[f"within_500_{since}"] = float((delay <= 500).mean())
        rows.append(row)
    changes = []
    for _ in range(max(n // 500, 1)):
        ranks = rng.random((100, 20_000))
        most = wealth_over_time(rank_factors(ranks), CALL_STARTS).max(axis=1)
        changes.append((most >= len(CHANGES) / CHANGE_LEVEL).mean())
    return {"streams": n, "drop": rows, "one_change": float(np.mean(changes)), "level": CHANGE_LEVEL / len(CHANGES)}


def familiarity(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Say how many queries of other sets, and of held-out topics and texts, are unfamiliar to a router of MMLU."""
    found: dict[str, list[list[float]]] = {}
    texts: dict[str, list[str]] = {}
    kinds: list[str] = []
    for name in live_coverage.ARMS:
        with gzip.open(given.shared / "data" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
        if name == "routellm_mmlu":
            kinds = [r["task"] for r in records]
            mmlu = featurise([Query(r["query"]) for r in records])
            groups = [r["group"] for r in records]
        elif name not in ("livecodebench_72", "cruxeval_input"):  # the same queries as their twins'
            rng = np.random.default_rng(0)
            texts[name] = [records[i]["query"] for i in rng.permutation(len(records))[:400]]
    texts["short"] = ["hi", "hello", "thanks!", "ok", "?", "why", "yes please", "test", "help", "what"]
    others = {name: featurise([Query(text) for text in of]) for name, of in texts.items()}
    for split in range(given.deals):
        rng = np.random.default_rng(split)
        names = rng.permutation(sorted(set(kinds)))
        inside = np.isin(kinds, names[: int(0.8 * len(names))])
        fold = deal_folds(groups, 5, seed=split)
        train = rng.permutation(np.flatnonzero(inside & (fold != 0)))[:2_500]
        maps = FeatureMaps.fit(mmlu[train], seed=split)
        known = Familiarity.fit(maps, mmlu[train], [groups[i] for i in train], seed=split)
        by_name = {"held-out texts": mmlu[inside & (fold == 0)], "held-out topics": mmlu[~inside], **others}
        for name, own in by_name.items():
            below = known.of(maps.leading(own)) < UNFAMILIAR
            found.setdefault(name, []).append([float(below.mean()), len(own)])
        print(f"familiarity: split {split}", flush=True)
    return [
        {"part": name, "queries": int(of[0][1]), "unfamiliar": [share for share, _ in of]} for name, of in found.items()
    ]


def main() -> None:
    """Run the sections that are wanted and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--deals", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=6)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    path = DOCS / "live.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in given.only:
        results[part] = globals()[part](given)
        path.write_text(json.dumps(results) + "\n", encoding="utf-8")
        (DOCS / "live.md").write_text(live_page.page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
