# ruff: noqa: E501 - the page is prose
"""The words and tables of ``docs/evidence.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evidence_demo import ALLOWED_DROP, BEST_OF, DEALS, DEARER, FOLDS, LARGE, SMALL, UNTRAINED

Figures = Mapping[str, Any]
WANTED_STEPS = 400

OPENING = """\
# Evidence after the draw

How much does a draw itself show about whether its answer is right? This page measures it on answers of small open models
to this project's own questions, by `make evidence`. Intervals are 95 %, by bootstrap over groups (a group is one
template of questions). AUROC is the probability that a right answer scores above a wrong one; .5 is a coin.
"""


def page(figures: Figures) -> str:
    """Return the page."""
    sections = [OPENING]
    if "demo" in figures:
        demo, routers, first = figures["demo"], figures.get("routers"), figures.get("day_one")
        sections += [
            _targets(demo, routers, first),
            _short(demo),
            _money(demo, routers, first),
            _pool(demo, routers, first),
        ]
    if figures.get("long"):
        sections.append(_long(figures["long"]))
    sections.append(MADE)
    return "\n".join(sections)


def _of(figure: Figures, *, percent: bool = False, signed: bool = False) -> str:
    scale, sign = (100, "+" if signed else "") if percent else (1, "+" if signed else "")
    digits = 1 if percent else 3
    value, (low, high) = figure["value"] * scale, (end * scale for end in figure["ci95"])
    unit = " %" if percent else ""
    return f"{value:{sign}.{digits}f}{unit} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _targets(demo: Figures, routers: Figures | None, first: Figures | None) -> str:
    better, pool = demo["stand_in"], demo["pool"]
    frozen, untrained = better["greedy"]["frozen"], better["greedy"]["untrained"]
    greedy = pool["reference_greedy"]["gain_over_hull"]
    saved_enough = frozen["saving"]["value"] >= 0.33 and frozen["drop"]["value"] <= 0.01
    rows = [
        (
            "stand-in reference, frozen for 1 %: at least 33 % saved at a drop of at most 1 %",
            f"{_of(frozen['saving'], percent=True)} saved, drop {_of(frozen['drop'], percent=True)}",
            _met(saved_enough),
        ),
        (
            f"the same, untrained, accepted from {UNTRAINED}: at least 30 % saved",
            f"{_of(untrained['saving'], percent=True)} saved, drop {_of(untrained['drop'], percent=True)}",
            _met(untrained["saving"]["value"] >= 0.30),
        ),
        (
            "the demo's own pool: quality above the hull of fixed plans of sampled answers, clearly above 0 and more than +0.019",
            f"{_of(greedy, signed=True)} by greedy first draws, at a cost that is not above the reference's",
            _met(greedy["value"] > 0.019 and greedy["ci95"][0] > 0),
        ),
    ]
    if first:
        extra = first["pool"]["extra_of_the_dearest_order"]
        rows.append(
            (
                "day one never costs more than the reference by over 2 %",
                f"the demo's own pool, where no step pays: {extra:+.1%} in the most expensive of {first['pool']['orders']} orders",
                _met(extra <= 0.02),
            )
        )
    if routers:
        gain = routers["pool"]["gain_over_hull"]
        rows.append(
            (
                "the same against the hull of fixed plans that also draw greedily first, frozen for 1 %",
                f"{_of(gain, signed=True)} by the router on log-probabilities",
                _met(gain["value"] > 0.019 and gain["ci95"][0] > 0),
            )
        )
    return "## Targets and results\n\n" + _table(("target", "result", ""), rows)


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


def _short(demo: Figures) -> str:
    names = list(demo[SMALL]["auroc"])
    rows = [(name, *(_of(demo[model]["auroc"][name]) for model in (SMALL, LARGE))) for name in names]
    bins = [
        (
            f"{small['from']:g} to {small['to']:g}",
            *(f"{b['answers']} answers: {b['said']:.2f}, {_of(b['right'])}" for b in (small, large)),
        )
        for small, large in zip(*(demo[model]["calibration"]["bins"] for model in (SMALL, LARGE)), strict=True)
    ]
    errors = tuple(f"{demo[model]['calibration']['error']:.3f}" for model in (SMALL, LARGE))
    greedy = [
        (f"greedy {name}", *(_of(demo[model]["greedy"][name], percent=True, signed=True) for model in (SMALL, LARGE)))
        for name in demo[SMALL]["greedy"]
    ]
    right = tuple(
        f"{demo[model]['quality']:.3f} sampled, {demo[model]['greedy_quality']:.3f} greedy" for model in (SMALL, LARGE)
    )
    return (
        f"## Short answers\n\nThe data are the demo set: {demo['queries']} questions of {demo['groups']} groups, with answers of at "
        "most 16 tokens. Each model has ten samples at temperature 0.8 and a greedy answer. llama.cpp reports "
        "log-probabilities before temperature; the token that ends an answer is included.\n\n"
        "### Is a sampled answer right?\n\nAUROC of untrained scores:\n\n"
        + _table(("", SMALL, LARGE), [*rows, ("right answers", *right)])
        + "\nHow well `exp(sum)` works as a probability: its mean, and the share of right answers.\n\n"
        + _table(("`exp(sum)`", SMALL, LARGE), [*bins, ("calibration error (debiased)", *errors)])
        + "\n### Greedy first\n\nHow much more often the one greedy answer is right:\n\n"
        + _table(("", SMALL, LARGE), greedy)
    )


def _bill(name: str, bill: Figures) -> tuple[str, str, str, str]:
    accepted = f"{bill['accepted']:.0%}" if "accepted" in bill else ""
    return name, _of(bill["saving"], percent=True), _of(bill["drop"], percent=True), accepted


def _money(demo: Figures, routers: Figures | None, first: Figures | None) -> str:
    better = demo["stand_in"]
    rows = []
    for name, words in (("greedy", "greedy answer"), ("sampled", "one sample")):
        rows.append(_bill(f"{words}, level frozen for {ALLOWED_DROP:.0%}", better[name]["frozen"]))
        rows.append(_bill(f"{words}, untrained, from {UNTRAINED}", better[name]["untrained"]))
    if first:
        rows.append(_bill("the engine without a router (day one)", first["stand_in"]))
    if routers:
        rows.append(_bill("greedy answer, trained router frozen for 1 %", routers["stand_in"]))
    low, high = better["greedy"]["drops_of_deals"]
    return (
        f"## Savings below a better and more expensive reference\n\n{LARGE} answers first; what is not accepted goes to a "
        f"reference at {DEARER} times its price. **The reference is a stand-in**: it is right if any of {BEST_OF} of the same "
        f"model's samples is ({better['quality']:.3f}).\n\nA frozen level is the one that saves most on the other folds, "
        f"while the loss plus its standard error stays within {ALLOWED_DROP:.0%}. There are {FOLDS} folds by group; figures are "
        f"means over {DEALS} assignments of folds (drops of single assignments: {low:.1%} to {high:.1%}).\n\n"
        + _table(("policy", "saved", "drop", "accepted"), rows)
    )


def _pool(demo: Figures, routers: Figures | None, first: Figures | None) -> str:
    pool = demo["pool"]
    made = dict(pool) if routers is None else {**pool, "routed": routers["pool"]}
    rows = [
        (*_bill(name, made[key]), _of(made[key]["gain_over_hull"], signed=True))
        for name, key in (
            (f"{LARGE}, greedy instead of sampled", "reference_greedy"),
            (f"{SMALL} accepted from {UNTRAINED}, else {LARGE}, both greedy", "untrained"),
            ("the same, level frozen for 1 %", "frozen"),
            ("trained router on log-probabilities, frozen for 1 %, greedy", "routed"),
        )
        if key in made
    ]
    if first:
        rows.append((*_bill("the engine without a router (day one)", first["pool"]), ""))
    return (
        f"## Savings in the demo's own pool\n\n{SMALL} costs {pool['price_share']:.0%} of what {LARGE} does, and "
        f"{pool['untrained']['accepted']:.0%} of its answers are accepted from {UNTRAINED}. So this step costs more than it saves. "
        "That shows without any label, and the engine leaves the step out after a few calls.\n\nThe first and the last row are "
        "compared with one sampled answer of the reference (the first with the hull of sampled plans). The others are compared "
        "with the reference's greedy answer and the hull of plans that also draw greedily first.\n\n"
        + _table(("policy", "saved", "drop", "accepted", "quality above the hull of fixed plans"), rows)
    )


def _long(long: Figures) -> str:
    names = list(dict.fromkeys(name for figures in long.values() for name in figures["auroc"]))
    columns = list(long)
    rows = [
        (name, *(_of(long[c]["auroc"][name]) if name in long[c]["auroc"] else "" for c in columns)) for name in names
    ]
    facts = [
        ("answers (groups)", *(f"{long[c]['answers']} ({long[c]['groups']})" for c in columns)),
        ("cut off at the token limit, left out below", *(str(long[c]["cut"]) for c in columns)),
        ("share right, of those cut off", *(_share(long[c]["right_of_cut"]) for c in columns)),
        ("share right, of the others", *(_of(long[c]["right"]) for c in columns)),
        ("mean tokens", *(f"{long[c]['mean_tokens']:.0f}" for c in columns)),
        ("mean of `exp(sum)`", *(f"{long[c]['said_by_sum']:.2g}" for c in columns)),
    ]
    steps = {name: figures for name, figures in long.items() if name.startswith("steps")}
    made, left = (sum(f[key] for f in steps.values()) for key in ("answers", "cut"))
    differences = [
        (name, against, f"{value['value']:+.2f} [{value['ci95'][0]:+.2f}, {value['ci95'][1]:+.2f}]")
        for name, figures in steps.items()
        for against, value in figures["digits_beyond"].items()
    ]
    return (
        "## Longer answers\n\nThe data are facts stated in one sentence, and our own problems that take several steps. The problems "
        "are worked step by step to a last line with the number. They were asked in two ways: in sentences, and as one "
        "calculation per line after an example. Greedy and sampled answers are taken together.\n\n"
        + _table(("", *columns), facts)
        + "\nAUROC of scores that could distinguish right answers from wrong ones:\n\n"
        + _table(("", *columns), rows)
        + "\nBy how much tokens with digits are better than other evidence (paired differences of AUROC):\n\n"
        + _table(("answers", "against", "difference"), differences)
        + f"\nThere are {made} step-by-step answers ({WANTED_STEPS} were intended). {left} of them were cut off at the token limit, "
        "which by itself is strong evidence.\n\n"
        "- The sum is a weak sign for long answers, and `exp(sum)` is no probability.\n"
        "- No score is clearly better than the alternatives for both models. If the larger model writes sentences, tokens with "
        "digits are better than the mean, than the tokens of the final answer and, barely, than agreement; for the smaller model "
        "they are better than nothing else. Tokens of the final answer, and a second draw with the same result, are better than "
        "nothing else. (With one calculation per line, the smaller model is right too rarely to tell.)\n"
        "- So only agreement is shipped for long answers: `LogprobConfidence` applies to short answers only, and `Agreement` "
        "compares the answers that texts mark.\n"
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


MADE = """\
## How the answers were drawn

You need three GGUF files in a folder (`smollm2-135m.gguf`, `qwen2.5-coder-0.5b.gguf`, `qwen2.5-coder-1.5b.gguf`, 4-bit) and
the extra `local`. `make evidence-draws GGUF=folder` draws the demo set, makes its records, and then draws the longer
answers. Every draw is seeded by its model and question.

- The short answers took an hour of one core, and the long ones some hours; these were stopped before all were drawn.
- Ten samples of a short answer cost hardly more than one, since common beginnings of answers are computed once
  (`benchmarks/answer_tree.py`).
- `smollm2-135m` keeps its first samples, which have no log-probabilities: nothing is accepted on them.
- The demo set's figures on other pages ([rewards](rewards.md), [promises](promises.md),
  [changes of the pool](pool_changes.md), and the encoders in [experiments](experiments.md)) are from the first
  collection: the same questions and models, other samples, without log-probabilities.
"""
