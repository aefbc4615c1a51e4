"""What tells right from wrong in longer answers: a part of ``docs/evidence.md``.

``python benchmarks/evidence_long.py PROMPTS:DRAWS...`` reads draws of ``draws.py --long`` and keeps of each answer
what is compared here in ``benchmarks/long_answers.jsonl.gz``; ``measure`` reads that. Compared are the whole answer,
the tokens that hold its final answer, the tokens that hold digits, the tokens of words that the question does not
hold, the length, and whether a second draw ends with the same answer. Answers that were cut are counted apart.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from auroc import RESAMPLES, Estimate, auroc, mean_of, weighted_auroc
from draws import read_draws
from step_tasks import check, final_number

from bestroute.records.jsonl import read_jsonl, write_jsonl
from bestroute.stats.bootstrap import interval, resample_groups

KEPT = Path(__file__).parent / "long_answers.jsonl.gz"
WORDINGS = {"verbose": "steps in sentences", "steps": "steps a line each"}
"""Two ways to ask for step-by-step answers to the same problems, by the file of prompts."""
SCORES = {
    "sum": "whole answer, sum",
    "mean": "whole answer, mean",
    "min": "whole answer, least token",
    "span": "tokens of the final answer, sum",
    "digits": "tokens that hold digits, mean",
    "digits_min": "tokens that hold digits, least",
    "new": "tokens of words that are not in the question, mean",
    "new_min": "tokens of words that are not in the question, least",
    "shorter": "fewer tokens",
    "agrees": "a second draw ends with the same answer",
}


def kept_of(prompt: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of one answer."""
    tokens, logprobs = line["tokens"], np.array(line["logprobs"])
    text = "".join(tokens)
    ends = np.cumsum([len(token) for token in tokens])
    begins = ends - [len(token) for token in tokens]
    new = _words(text, set(re.findall(r"\w+", prompt["query"].casefold())))
    if prompt["task"] == "steps":
        found = final_number(text)
        final, spans = (None, []) if found is None else (found[0], [found[1:]])
    else:
        final = " ".join(text[begin:end].casefold() for begin, end in new) or None
        spans = new
    digits = np.array([bool(re.search(r"\d", token)) for token in tokens])
    in_span, is_new = _covered(begins, ends, spans), _covered(begins, ends, new)
    return {
        "id": prompt["id"],
        "group": prompt["group"],
        "kind": prompt["task"],
        "model": line["model"],
        "mode": line["mode"],
        "at": line["at"],
        "right": check(prompt, text),
        "cut": line["finish"] == "length",
        "tokens": len(tokens),
        "final": final,
        "sum": _number(logprobs.sum()),
        "mean": _number(logprobs.mean()),
        "min": _number(logprobs.min()),
        "span": _number(logprobs[in_span].sum() if in_span.any() else None),
        "digits": _number(logprobs[digits].mean() if digits.any() else None),
        "digits_min": _number(logprobs[digits].min() if digits.any() else None),
        "new": _number(logprobs[is_new].mean() if is_new.any() else None),
        "new_min": _number(logprobs[is_new].min() if is_new.any() else None),
    }


def _words(text: str, known: set[str]) -> list[tuple[int, int]]:
    """Return where the words of a text stand that are not among the known ones."""
    return [m.span() for m in re.finditer(r"\w+", text) if m.group().casefold() not in known]


def _covered(begins: Any, ends: Any, spans: Sequence[tuple[int, int]]) -> Any:
    """Return which tokens hold a letter of a span."""
    covered = np.zeros(len(begins), dtype=bool)
    for begin, end in spans:
        covered |= (begins < end) & (ends > begin)
    return covered


def _number(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


def second_draws(answers: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return for each answer whether another one of its model and prompt ends alike; ``None`` without another."""
    drawn: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, answer in enumerate(answers):
        drawn[answer["model"], answer["id"]].append(i)
    probabilities: list[float | None] = []
    for i, answer in enumerate(answers):
        same_prompt = drawn[answer["model"], answer["id"]]
        other = next((j for j in [*same_prompt[same_prompt.index(i) + 1 :], *same_prompt] if j != i), None)
        probabilities.append(
            None if other is None else float(answer["final"] is not None and answers[other]["final"] == answer["final"])
        )
    return probabilities


def measure() -> dict[str, Any]:
    """Return the figures by kind of question and model."""
    answers = [answer for _, answer in read_jsonl(KEPT)]
    for answer, agrees in zip(answers, second_draws(answers), strict=True):
        answer["agrees"], answer["shorter"] = agrees, -answer["tokens"]
    figures: dict[str, Any] = {}
    for kind in sorted({answer["kind"] for answer in answers}):
        for model in sorted({answer["model"] for answer in answers}):
            own = [a for a in answers if a["kind"] == kind and a["model"] == model]
            if own:
                figures[f"{kind}, {model}"] = _compared(own)
    return figures


def _compared(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    whole = [a for a in answers if not a["cut"]]
    groups = [a["group"] for a in whole]
    right = np.array([a["right"] for a in whole])
    table: dict[str, Any] = {}
    for name, words in SCORES.items():
        known = [i for i, a in enumerate(whole) if a[name] is not None]
        score = np.array([float(whole[i][name]) for i in known])
        if 0 < right[known].sum() < len(known):
            made = auroc(score, right[known], [groups[i] for i in known])
            table[words] = {"answers": len(known), **made.to_json()}
    claimed = np.exp([a["sum"] for a in whole])
    cut = np.array([a["right"] for a in answers if a["cut"]])
    return {
        "answers": len(answers),
        "groups": len({a["group"] for a in answers}),
        "cut": len(cut),
        "right_of_cut": float(cut.mean()) if len(cut) else None,
        "right": mean_of(right, groups).to_json(),
        "mean_tokens": float(np.mean([a["tokens"] for a in whole])),
        "said_by_sum": float(claimed.mean()),
        "auroc": table,
        "digits_beyond": _beyond(whole, right, groups),
    }


def _beyond(whole: Sequence[Mapping[str, Any]], right: Any, groups: Sequence[str]) -> dict[str, Any]:
    """Return by how much the tokens that hold digits tell more than what else there is, in pairs."""
    differences: dict[str, Any] = {}
    for name in ("mean", "span", "agrees"):
        known = [i for i, a in enumerate(whole) if a["digits"] is not None and a[name] is not None]
        if not 0 < right[known].sum() < len(known) or whole[known[0]]["kind"] == "sentence":
            continue
        weights = resample_groups([groups[i] for i in known], resamples=RESAMPLES)
        one, other = (np.array([float(whole[i][n]) for i in known]) for n in ("digits", name))

        def apart(rows: Any, one: Any = one, other: Any = other, known: Any = known) -> Any:
            return weighted_auroc(one, right[known], rows) - weighted_auroc(other, right[known], rows)

        values = apart(weights)
        made = Estimate(float(apart(np.ones((1, len(known))))[0]), interval(values[~np.isnan(values)]))
        differences[SCORES[name]] = made.to_json()
    return differences


def main() -> None:
    """Read draws, keep what is compared."""
    kept = []
    for spec in sys.argv[1:]:
        prompts_file, _, draws_file = spec.partition(":")
        prompts = {prompt["id"]: prompt for _, prompt in read_jsonl(Path(prompts_file))}
        wording = Path(prompts_file).stem  # one problem may be put in several ways
        made = [kept_of(prompts[line["id"]], line) for line in read_draws(Path(draws_file))]
        kept += [{**one, "id": f"{wording}-{one['id']}", "kind": WORDINGS.get(wording, one["kind"])} for one in made]
    write_jsonl(KEPT, kept)
    print(json.dumps(measure(), indent=1))


if __name__ == "__main__":
    main()
