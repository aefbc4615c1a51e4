"""A reward model learnt from a judge's verdicts on free text: on answers of unseen models, and as acceptance.

``python benchmarks/judged_rewards.py --shared DIR`` (``make judged-rewards SHARED=DIR``) writes
``docs/judged_rewards.json`` and the page beside it. DIR holds ``data/alpaca_eval.jsonl.gz``: answers of 21 models with
texts, each judged once by GPT-4 against one fixed answer. Queries are dealt into halves, and models too: nothing that
is scored was learnt from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from auroc import weighted_auroc

from bestroute import Pool, Price
from bestroute.evaluation.comparison import decided
from bestroute.labels import SampleArrays
from bestroute.policies.policies import ReferencePolicy
from bestroute.records.records import Record, read_records
from bestroute.reward_models.record_rewards import score_records
from bestroute.reward_models.reward_settings import RewardSettings
from bestroute.reward_models.training import train_reward
from bestroute.router import MultiHeadRouter
from bestroute.router.train_settings import TrainSettings, policy_for
from bestroute.router.training import train_router
from bestroute.stats.bootstrap import interval, resample_groups
from bestroute.types.arrays import FloatArray
from bestroute.types.query import Query

DOCS = Path(__file__).parents[1] / "docs"
JSON, PAGE = DOCS / "judged_rewards.json", DOCS / "judged_rewards.md"
REFERENCE = "gpt4_1106_preview"
DEALS, RESAMPLES = 5, 2000
TARGETS, KINDS = ("0.01", "0.03"), ("with the reward", "without")
POOLS = {
    "two members": ("zephyr-7b-beta", REFERENCE),
    "three members": ("vicuna-13b", "gpt-3.5-turbo-1106", REFERENCE),
}
PRICES = {
    "zephyr-7b-beta": Price(0.2, 0.2),
    "tulu-2-dpo-13b": Price(0.3, 0.3),
    "vicuna-13b": Price(0.3, 0.3),
    "tulu-2-dpo-70b": Price(0.9, 0.9),
    "gpt-3.5-turbo-1106": Price(1.0, 2.0),
    REFERENCE: Price(10.0, 30.0),
}
"""USD per million tokens, the usual ones of late 2023."""


def halves(records: Sequence[Record], seed: int) -> tuple[list[Record], list[Record]]:
    """Deal queries into two halves."""
    order = np.random.default_rng(seed).permutation(len(records))
    middle = len(records) // 2
    return [records[i] for i in order[:middle]], [records[i] for i in order[middle:]]


def only(records: Sequence[Record], models: Sequence[str]) -> list[Record]:
    """Keep some models; records that lack one of them keep the others."""
    kept = [replace(r, samples={m: s for m, s in r.samples.items() if m in models and s.text}) for r in records]
    return [record for record in kept if record.samples]


def unseen_models(records: Sequence[Record], deal: int) -> dict[str, Any]:
    """Learn from half of the models on half of the queries; score the others' answers to the other queries."""
    models = sorted({m for record in records for m, s in record.samples.items() if s.text} - {REFERENCE})
    order = np.random.default_rng(1000 + deal).permutation(len(models))
    known = [models[i] for i in order[: len(models) // 2]]
    unseen = [model for model in models if model not in known]
    learnt, fresh = halves(records, deal)
    reward = train_reward(
        only(learnt, [*known, REFERENCE]), RewardSettings(reference=REFERENCE, pairs="across", seed=deal), resamples=100
    )
    score, length, good, query, model = [], [], [], [], []
    for q, record in enumerate(only(fresh, unseen)):
        for name, own in record.samples.items():
            assert own.text is not None
            score += reward.score(Query(record.query), own.text)
            length += [float(len(text)) for text in own.text]
            good += [float(value is not None and value >= 0.5) for value in own.quality]
            query += [q] * own.size
            model += [unseen.index(name)] * own.size
    columns = [np.array(values, dtype=float) for values in (score, length, good)]
    return {"deal": deal, "known": known, "unseen": unseen, **_areas(columns, np.array(query), np.array(model))}


def _areas(columns: list[FloatArray], query: Any, model: Any) -> dict[str, Any]:
    """Return areas under the curve over all answers, and within a model (the mean), with intervals over queries."""
    score, length, good = columns
    weights = np.vstack([np.ones(len(good)), resample_groups(query.tolist(), resamples=RESAMPLES)])
    found: dict[str, Any] = {"answers": len(good), "good": float(good.mean())}
    for name, by in (("reward", score), ("length", length)):
        pooled = weighted_auroc(by, good, weights)
        within = np.nanmean(
            [weighted_auroc(by[model == m], good[model == m], weights[:, model == m]) for m in np.unique(model)], axis=0
        )
        found[name] = [float(pooled[0]), *interval(pooled[1:])]
        found[f"{name}, within a model"] = [float(within[0]), *interval(within[1:])]
    return found


def acceptance(records: Sequence[Record], members: Sequence[str], deal: int) -> dict[str, Any]:
    """Train reward and router on one half; frozen prices on the other, with the reward as acceptance and without."""
    pool = Pool(tuple(members), {m: PRICES[m] for m in members}, reference=REFERENCE, max_n=1)
    whole = [r for r in only(records, members) if set(r.samples) == set(members)]
    learnt, fresh = halves(whole, deal)
    reward = train_reward(learnt, RewardSettings(reference=REFERENCE, pairs="across", seed=deal), resamples=100)
    found: dict[str, Any] = {"deal": deal, "queries": len(fresh)}
    scored = score_records(reward, learnt, for_training=True), score_records(reward, fresh)
    plain = [
        [replace(r, samples={m: replace(s, reward=None) for m, s in r.samples.items()}) for r in part]
        for part in (learnt, fresh)
    ]
    for name, (train, test) in (("with the reward", scored), ("without", plain)):
        own = SampleArrays.of(train, pool, reward="recorded")
        training = train_router(own, TrainSettings(seed=deal))
        arrays = SampleArrays.of(test, pool, reward="recorded", token_means=training.router.token_means)
        found[name] = {target: _frozen(training.router, arrays, target) for target in TARGETS}
    return found


def _frozen(router: MultiHeadRouter, arrays: SampleArrays, target: str) -> dict[str, Any]:
    """Return quality and cost of each query under a frozen price and under the reference, and how often which plan."""
    frozen, alone = (
        decided(router, arrays, policy) for policy in (policy_for(router.frozen[target]), ReferencePolicy())
    )
    return {
        "sums": np.column_stack([frozen.quality, frozen.cost, alone.quality, alone.cost]).tolist(),
        "tried": float(np.mean([len(plan.steps) > 1 for plan in frozen.plans])),
        "cheap": float(np.mean([len(plan.steps) == 1 and plan != router.pool.reference_plan for plan in frozen.plans])),
    }


def summed(deals: Sequence[dict[str, Any]], name: str, target: str) -> dict[str, Any]:
    """Return saving and drop over all deals; the interval is that of one deal's queries, and of the deals' own luck."""
    each = [np.array(deal[name][target]["sums"]) for deal in deals]

    def figures(sums: FloatArray) -> FloatArray:
        return np.array([1 - sums[1] / sums[3], 1 - sums[0] / sums[2]])

    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):  # a deal, then queries of it: as one user meets one deal
        table = each[rng.integers(len(each))]
        drawn.append(figures(table[rng.integers(len(table), size=len(table))].sum(axis=0)))
    mean = np.mean([figures(table.sum(axis=0)) for table in each], axis=0)
    (s0, s1), (d0, d1) = (interval(column) for column in np.array(drawn).T)
    own = {part: float(np.mean([deal[name][target][part] for deal in deals])) for part in ("tried", "cheap")}
    return {"saving": [float(mean[0]), s0, s1], "drop": [float(mean[1]), d0, d1], **own}


def page(report: dict[str, Any]) -> str:
    """Return the page."""
    mean, length = (np.mean([deal[name][0] for deal in report["unseen"]]) for name in ("reward", "length"))
    lines = [
        "# A reward model trained on a judge",
        "",
        "This page is written by `make judged-rewards SHARED=../shared`; do not edit it. The data are free text of",
        "AlpacaEval: 542 instructions, with answers of 21 models, each judged by GPT-4. A good answer is one that the",
        "judge prefers to a fixed answer. The reward model is the light one of `train-reward` and",
        "`train --reward learn`. Brackets are 95 % intervals.",
        "",
        "## Answers of models that it was not trained on",
        "",
        "The reward model is trained on ten models and the reference, on half of the queries. It is scored on ten",
        "other models and the other half. The table shows the area under the ROC curve, over all answers and within a",
        "model (the mean over models). Within a model, the style of a model does not help. For comparison, it shows",
        "the area of the answer's length alone.",
        "",
        "| split | answers | good | reward | within a model | length | within a model |",
        "|---|---|---|---|---|---|---|",
    ]
    for deal in report["unseen"]:
        names = ("reward", "reward, within a model", "length", "length, within a model")
        cells = " | ".join(_of(deal[name]) for name in names)
        lines.append(f"| {deal['deal'] + 1} | {deal['answers']} | {deal['good']:.0%} | {cells} |")
    lines += [
        "",
        f"The mean over splits is {mean:.3f}, and {length:.3f} for the length alone. So on models that it was not",
        "trained on, the reward model knows little more than that this judge likes long answers. The next table shows",
        "what it is worth on members of its own pool, on which it is trained.",
        "",
        "## As acceptance for free text",
        "",
        "Reward model and router are trained on one half of the queries. Their prices are frozen there for a drop of",
        "1 or 3 %, and scored on the other half. There are five splits; the interval covers the choice of the split",
        "and of the queries. Each model has one draw. A plan asks a cheap member first, and escalates to the",
        "reference if the calibrated reward is too low. Prices are list prices of late 2023. *Without* is the same",
        "router without the reward model, which can only choose by the query.",
        "",
        "| pool | frozen for | saving, with reward | drop | asked the cheap one first | saving, without | drop |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in report["acceptance"].items():
        for target in TARGETS:
            own, plain = (found[kind][target] for kind in KINDS)
            lines.append(
                f"| {', '.join(POOLS[name])} | {float(target):.0%} | {_share(own['saving'])} | {_share(own['drop'])} | "
                f"{own['tried']:.0%} | {_share(plain['saving'])} | {_share(plain['drop'])} |"
            )
    lines += [
        "",
        "The drop is that of the judge's verdicts. People may judge differently ([formats](formats.md)).",
        "",
    ]
    return "\n".join(lines)


def _of(estimate: Sequence[float]) -> str:
    value, low, high = estimate
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _share(estimate: Sequence[float]) -> str:
    value, low, high = (100 * end for end in estimate)
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def main() -> None:
    """Run what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = json.loads(JSON.read_text()) if JSON.exists() else {"unseen": [], "acceptance": {}}

    def keep() -> None:
        JSON.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    if options.shared is not None:
        records = read_records(options.shared / "data" / "alpaca_eval.jsonl.gz")
        for deal in range(len(report["unseen"]), DEALS):
            report["unseen"].append(unseen_models(records, deal))
            keep()
        for name, members in POOLS.items():
            if name not in report["acceptance"]:
                deals = [acceptance(records, members, deal) for deal in range(DEALS)]
                report["acceptance"][name] = {
                    "queries": deals[0]["queries"],
                    **{kind: {target: summed(deals, kind, target) for target in TARGETS} for kind in KINDS},
                }
                keep()
    PAGE.write_text(page(report), encoding="utf-8")


if __name__ == "__main__":
    main()
