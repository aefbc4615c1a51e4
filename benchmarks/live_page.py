# ruff: noqa: E501 - the page is prose
"""The page ``docs/live.md`` from the figures of ``live.py``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from textwrap import fill
from typing import Any

import numpy as np

from bestroute.monitoring.alarms import HORIZON_AUDITS

HEAD = """\
# Live traffic

This page tests audits, following prices, alarms and familiarity on streams of calls that are drawn from real answers. It
is written by `benchmarks/live.py` (`make live`).

Promise, control and interval are different: a **promise** of `tune` is a bound on traffic like that of its records;
**follow** is a control that brings the mean drop to a target in the long run; an **interval** of audits says what is known
now.

"""
COVERAGE = """\
## Is the interval valid at every moment?

Each stream has 50,000 calls. 4 % of the eligible ones are audited (2,000); in a third of the calls the reference answers
alone. There are three kinds of traffic: steady, with a slow drift from the easier half of a set's tasks (or texts) to the
harder, and with a sudden change in the middle.

- *Covered*: the share of streams whose interval contained the running mean after each of their audits. In 1,000 streams,
  a share of .95 has a standard error of .007.
- *Width*: of the interval after 2,000 audits, as a multiple of the interval for that single moment (1.96 standard
  errors).
- *With predictions*: corrected by a prediction from 31 statistics of the text, trained on other folds.

"""
AGAIN = """\
The three lowest sets were repeated with 3,000 fresh streams each: all nine rows without predictions and all nine with
them are at .952 or more (standard error .004), except the sudden change of `routerbench`, .944 and .948. That is not
chance: drops there vary 2.6 times as much after the change as before, and the interval is made narrow for a variance
that stays the same.
"""
ASSUMED = """\

What the interval assumes:

- drops are in [-1, 1];
- calls are audited by a coin that does not depend on the answer;
- sums of drops are nearly normal by the time that intervals are narrow;
- the variance of drops changes slowly.

There is no finite-sample proof. Variances are increased by one squared drop, as a safeguard for sums of few audits.
The interval is made narrow between 1,000 and 2,000 audits. Before and after that, it is 1.7 to 2.5 times as wide as the
interval for that single moment.

"""
FOLLOW = """\
## A price that follows audits

Each stream has 50,000 calls in the order of time (`livecodebench`), of tasks (`reasoning_gym`) or of topics
(`routellm_mmlu`). The router was not trained on them, and they continue to change until the end. The last half is scored.
Drops are relative to the reference's quality. 4 % of calls are audited at random; the cost of audits is subtracted from
the saving. *Hindsight* is the most that any single price (and margin) would have saved on that very half at a drop
within the target.

"""
ALARMS = """\
## Alarms

Null streams have a mean drop at the target; drops of -1 and 1 have the same *rate*. 20,000 calls at 4 % are 800 audits.
*False* is the share of streams with any alarm. *Within 500* is the share of streams with an alarm within 500 audits after
a loss of 5 points begins at audit 0, 200 or 300.

"""
TRIED_BETS = """\
500 audits are few for noisy drops. Even a test of that single moment at 5 %, with known deviation, would find a loss of
5 points only in .91 and .78 of streams at a deviation of .35 and .45.

Bets whose size follows from the variance so far, for a loss of 4 or 5 points, were tried on 1,500 streams and not kept.
They find up to .05 more at these two deviations, but up to .1 fewer if the loss begins at audit 200 or 300 and the
deviation is .14 or .24. Predictions as control variates would reduce the variance by at most a tenth (correlations
above).

"""
FAMILIAR = """\
## Familiarity

A router for `routellm_mmlu` was trained on 2,500 queries of four fifths of its topics. The table shows the share of
queries below a familiarity of .05, by split. `mmlu_pro` and `routerbench` (ARC) are questions of the same kind; the
former are partly the same questions with ten answers instead of four.

"""


TRIED_DISTANCES = """\

Two alternatives were tried on four splits and not kept:

- *The mean distance to the ten nearest training queries*, in the same space, alone or together with the distance from the
  mean: `mmlu_pro` .734 and .738 instead of .737, held-out topics .115 and .117 instead of .114.
- *Distances compared with those of held-out topics*: then nothing of MMLU is unfamiliar (0 of held-out topics), but hardly
  anything else is (`mmlu_pro` 0, `cruxeval_output` 0, `alpaca_eval` .35), since one topic of long passages is farther
  away than other sets.
"""
NEW_TASKS = """\
## Tasks that are not in training

Routers are trained on three fifths of the tasks of `reasoning_gym`, with the price frozen for a drop of 1 %, and scored on
the other two fifths; nothing is audited (`benchmarks/live_tasks.py`). Figures are means over splits, with the standard
error, then a 95 % interval by resampled tasks. The interval says what other tasks would give. The standard error is too
small for that, since splits share tasks.

"""
NEW_TASKS_TRIED = """
The target was at most 1 %. It is met over all tasks, and missed (2.1 %) on tasks that the design was not chosen on; the
interval says that other tasks may give either.

**Before the current design**, the text alone lost 2.1 %. Routers with votes lost 2.6, 3.2 and 2.3 % at 28, 31 and 13 %
saved on the first three splits. Whole tasks were lost if the text of an unseen task looked easy, and one task on which the
reference fails compensated for others.

**The current design** ([method](method.md)): if texts show nothing about held-out tasks, familiarity is measured against
single texts, so evidence or the reference decides on new tasks. No task compensates for more than the requested drop. A
price has to meet the target with and without the influence of the text. This was chosen on splits of half of the tasks,
separately. What is still lost is lost by votes: cheap members that agree on a wrong answer. If each query is a group of
its own, training chooses as before.

"""
TRIED_STEERING = """\
On `livecodebench` more quality is kept than requested (no call reached the lowest price): the reference gets worse until
the end, and the price follows with a delay. If training froze no price (`reasoning_gym` at 0 %, three splits of five), it
starts with the reference alone, and a target of 0 never lets it leave: nothing is audited, so nothing is learnt.

The following were tried on six streams of each split, with routers of an earlier release, and not kept:

- moves twice as large: the drop of `livecodebench` at 0 % gets .5 points nearer, for ten points of the saving;
- a second sum for steady changes: nearer still, for up to 24 points of the saving;
- two numbers for all heads, refitted on the last 60 or 200 audits: up to two points more saved at 1 and 3 % on
  `reasoning_gym` and `routellm_mmlu`, 1 to 27 fewer on `livecodebench`.

A share of audits that depends on predictions was tried and not kept: more audits if trees expect a larger squared drop
from the text, weighted by the inverse, at the same mean number of audits. It narrowed the interval on one set of four,
and widened it on another. No command of this repository reproduces those figures, so they are not shown.
"""


def page(results: Mapping[str, Any]) -> str:
    """Return the page; sections without figures are left out."""
    makers = {
        "coverage": _coverage,
        "follow": _follow,
        "tasks": _tasks,
        "alarms": _alarms,
        "familiarity": _familiarity,
    }
    return HEAD + "".join(make(results[name]) for name, make in makers.items() if name in results)


def _coverage(rows: Sequence[Mapping[str, Any]]) -> str:
    by_set: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        by_set[row["set"]][row["scenario"]] = row
    lines = [
        (
            f"`{name}`",
            f"{of['steady']['drop']:.3f}",
            f"{of['steady']['change']:+.3f}",
            *(f"{of[s]['covered']:.3f}" for s in ("steady", "drift", "sudden")),
            *(f"{of[s]['covered_predictions']:.3f}" for s in ("steady", "drift", "sudden")),
            f"{of['steady']['width_ratio']:.2f}",
            f"{of['steady']['width_ratio_predictions']:.2f}",
            f"{of['steady']['correlation']:.2f}",
        )
        for name, of in by_set.items()
    ]
    every = [row[key] for row in rows for key in ("covered", "covered_predictions")]
    low, mean = sum(value < 0.95 for value in every), float(np.mean(every))
    by_chance = len(every) * NormalDist(mean, (mean * (1 - mean) / rows[0]["streams"]) ** 0.5).cdf(0.9495)
    text = (
        f"Over all {len(every)} rows, {mean:.3f} of the streams are covered; the lowest row is {min(every):.3f}. {low} rows "
        f"are below .950; if every row were covered like the mean, chance would put {by_chance:.0f} there. {AGAIN}"
    )
    text = f"\n{fill(text, 118)}\n"
    head = (
        "set",
        "drop",
        "change",
        "steady",
        "drift",
        "sudden",
        "steady, predictions",
        "drift, p.",
        "sudden, p.",
        "width",
        "width, p.",
        "correlation",
    )
    return COVERAGE + _table(head, lines) + text + ASSUMED


def _follow(rows: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["set"], row["target"]].append(row)
    lines, noise = [], []
    for (name, target), of in groups.items():
        deals = sorted({row["deal"] for row in of})
        by_deal = [[row["drop"] for row in of if row["deal"] == deal] for deal in deals]
        noise += [np.std(drops, ddof=1) for drops in by_deal if len(drops) > 1]
        mean = {key: np.mean([row[key] for row in of]) for key in of[0] if key not in ("set", "deal")}
        error = (
            np.std([float(np.mean(drops)) for drops in by_deal], ddof=1) / np.sqrt(len(deals)) if len(deals) > 1 else 0
        )
        means = [float(np.mean(drops)) for drops in by_deal]
        within = np.mean([abs(row["drop"] - target) <= 0.01 for row in of])
        lines.append(
            (
                f"`{name}`",
                f"{target:.0%}",
                f"{100 * mean['frozen_drop']:.1f}",
                f"{100 * mean['drop']:.1f} ({100 * error:.1f})",
                f"{100 * min(means):.1f} to {100 * max(means):.1f}",
                f"{within:.0%}",
                f"{100 * mean['frozen_saving']:.1f}",
                f"{100 * mean['saving']:.1f}",
                f"{100 * mean['audits']:.1f}",
                f"{100 * mean['hindsight_saving']:.1f}",
            )
        )
    head = (
        "set",
        "target",
        "frozen: drop %",
        "follow: drop % (s.e. over splits)",
        "by split",
        "streams within 1 point",
        "frozen: saved %",
        "follow: saved %",
        "of it, cost of audits",
        "hindsight: saved %",
    )
    text = (
        f"Noise: streams of the same split and target have a standard deviation of {100 * np.mean(noise):.1f} points of "
        f"drop.\n\n"
        if noise
        else ""
    )
    return FOLLOW + text + _table(head, lines) + "\n" + TRIED_STEERING + "\n"


def _tasks(splits: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for of in splits:
        drop, saved = (
            f"{100 * of[name]:.1f} ({100 * of[f'{name}_se']:.1f}) [{100 * low:.1f}, {100 * high:.1f}]"
            for name, (low, high) in ((name, of[f"{name}_ci95"]) for name in ("drop", "saving"))
        )
        decides = {"text": "the text alone", "evidence": "also votes of up to three draws"}[of["way"]]
        scored = {"all": "all", "apart": "not used for the design"}[of["part"]]
        rows.append((decides, scored, of["splits"], drop, f"{100 * of['most']:.1f}", saved))
    head = ("decided by", "tasks scored", "splits", "drop %", "worst split", "saved %")
    return NEW_TASKS + _table(head, rows) + NEW_TASKS_TRIED


def _alarms(results: Mapping[str, Any]) -> str:
    lines = [
        (
            f"{row['rate']:g}",
            f"{row['deviation']:.2f}",
            f"{row['false']:.3f}",
            *(f"{_audits(row[f'median_{s}'])} / {row[f'within_500_{s}']:.2f}" for s in (0, 200, 300)),
        )
        for row in results["drop"]
    ]
    head = (
        "rate",
        "deviation of a drop",
        "false",
        "from 0: median / within 500",
        "from 200",
        "from 300",
    )
    text = (
        f"\nFor changes of a member (five kinds, each at a level of {results['level']:g} over 20,000 calls), "
        f"{results['one_change']:.4f} of 200 null streams had a false alarm of one kind.\nLevels are proven bounds; shares are "
        f"lower, since wealth rarely stops just above what is needed.\n\n{TRIED_BETS}"
    )
    return ALARMS + _table(head, lines) + text


def _audits(median: float) -> str:
    return f"{median:.0f}" if median <= HORIZON_AUDITS else "none"


def _familiarity(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        (
            row["part"],
            row["queries"],
            f"{np.mean(row['unfamiliar']):.3f}",
            ", ".join(f"{v:.3f}" for v in row["unfamiliar"]),
        )
        for row in rows
    ]
    return FAMILIAR + _table(("part", "queries", "unfamiliar", "by split"), lines) + TRIED_DISTANCES


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
