"""The demo: the held-out queries through a framework's own model class, and what that cost and was worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bestroute._utils.extras import to_install
from bestroute.billing.ledger import Ledger
from bestroute.demo.dataset import ROUTER, demo_arrays
from bestroute.demo.tasks import check, normalise
from bestroute.labels import PlanLabels, label_plans
from bestroute.labels.plan_labels import fixed_candidates
from bestroute.policies.policies import QualityPolicy
from bestroute.records.records import Record
from bestroute.reward_models.majority_vote import MajorityVote
from bestroute.stats.bootstrap import interval, interval95, resample_groups
from bestroute.stats.hull import hull_quality, upper_hull
from bestroute.types.arrays import FloatArray
from bestroute.types.pool import Pool
from bestroute.types.protocols import Generator

RESAMPLES = 10_000
DAY_ONE = "no router yet"
"""The run of somebody who has no records: members and prices are all there is."""
Framework = Literal["langchain", "llamaindex"]
MODEL_CLASSES: Mapping[Framework, str] = {"langchain": "BestRouteChat", "llamaindex": "BestRouteLLM"}


class DemoAnswer(NamedTuple):
    """An answer, and what the model tells of how it came about."""

    text: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Routed:
    """What the answers of one policy were worth and cost, query by query."""

    name: str
    quality: FloatArray
    cost_usd: FloatArray
    reference_share: float
    mean_samples: float
    ledger_cost_usd: float


@dataclass(frozen=True)
class Line:
    """One line of the table: means and 95 % intervals over groups, relative to always asking the reference."""

    name: str
    quality: float
    quality_ci95: tuple[float, float]
    cost_usd: float
    saving: float
    saving_ci95: tuple[float, float]
    drop: float
    drop_ci95: tuple[float, float] | None
    """``None`` where the queries are so few that the reference is right on none in many a resample."""


@dataclass(frozen=True)
class RoutedLine:
    """A routed run against what needs no router, at the same cost."""

    line: Line
    gain_over_hull: float
    """Quality above the hull of fixed candidates."""
    gain_ci95: tuple[float, float]
    gain_over_mixing: float
    """Quality above a coin between the reference and the cheapest fixed choice."""
    mixing_ci95: tuple[float, float]
    reference_share: float
    mean_samples: float
    ledger_cost_usd: float


@dataclass(frozen=True)
class Report:
    """The demo's figures."""

    queries: int
    groups: int
    arms: tuple[Line, ...]
    on_hull: frozenset[str]
    """Names of the fixed choices that no mixture of others beats."""
    routed: tuple[RoutedLine, ...]


def demo_model(
    pool: Pool,
    members: Mapping[str, Generator],
    *,
    policy: QualityPolicy | None = None,
    ledger: Ledger | None = None,
    framework: Framework = "langchain",
    is_trained: bool = True,
) -> Callable[[str], DemoAnswer]:
    """Return what answers a question: the framework's model, the shipped router, the winner of a majority vote."""
    arguments: dict[str, Any] = {
        "models": dict(members),
        "prices": dict(pool.prices),
        "reference": pool.reference,
        "router": str(ROUTER),
        "reward_model": MajorityVote(normalise),
        "policy": policy,
        "max_n": pool.max_n,
        "bills_input": {model: pool.bills(model) for model in pool.models},
        "ledger": ledger,
    }
    return _ask_llamaindex(arguments) if framework == "llamaindex" else _ask_langchain(arguments)


def _ask_langchain(arguments: Mapping[str, Any]) -> Callable[[str], DemoAnswer]:
    from langchain_bestroute import BestRouteChat

    chat = BestRouteChat(**arguments)

    def ask(text: str) -> DemoAnswer:
        message = chat.invoke(text)
        return DemoAnswer(str(message.text), message.response_metadata["bestroute"])

    return ask


def _ask_llamaindex(arguments: Mapping[str, Any]) -> Callable[[str], DemoAnswer]:
    from llamaindex_bestroute import BestRouteLLM

    llm = BestRouteLLM(**arguments)

    def ask(text: str) -> DemoAnswer:
        response = llm.complete(text)
        return DemoAnswer(response.text, response.additional_kwargs["bestroute"])

    return ask


def run_routed(
    name: str,
    records: Sequence[Record],
    pool: Pool,
    members: Mapping[str, Generator],
    policy: QualityPolicy | None,
    on_answer: Callable[[], Any] = lambda: None,
    *,
    framework: Framework = "langchain",
    ledger: Ledger | None = None,
) -> Routed:
    """Ask every query through the framework's model; the expected answers are looked at only afterwards.

    Without a policy it is the model without a router. Bills go to the ledger, or to a new one in memory.
    """
    ledger = Ledger() if ledger is None else ledger
    ask = demo_model(pool, members, policy=policy, ledger=ledger, framework=framework, is_trained=policy is not None)
    quality, costs, samples, reference = [], [], 0, 0
    for record in records:
        text, metadata = ask(record.query)
        quality.append(check(record.extra, text))
        costs.append(metadata["cost_usd"])
        samples += metadata["n"]
        reference += metadata["model"] == pool.reference
        on_answer()
    size = len(records)
    return Routed(name, np.array(quality), np.array(costs), reference / size, samples / size, ledger.cost_usd)


def report_on(records: Sequence[Record], pool: Pool, runs: Sequence[Routed], *, seed: int = 0) -> Report:
    """Compare routed runs with every fixed choice, their hull, and random mixing.

    Fixed choices are exact expectations over the recorded samples; a routed run is one real run. All intervals
    are paired, from the same resampled groups.
    """
    arrays = demo_arrays(records, pool)
    arms = label_plans(arrays, fixed_candidates(arrays))
    groups = [record.group for record in records]
    weights = resample_groups(groups, resamples=RESAMPLES, seed=seed)
    at = arms.plans.index(pool.reference_plan)
    reference = (arms.quality[:, at], arms.cost_usd[:, at])
    names = [str(plan) for plan in arms.plans]
    hull = upper_hull(arms.cost_usd.mean(axis=0), arms.quality.mean(axis=0))
    return Report(
        queries=len(records),
        groups=len(set(groups)),
        arms=tuple(
            _line(name, (arms.quality[:, a], arms.cost_usd[:, a]), reference, weights) for a, name in enumerate(names)
        ),
        on_hull=frozenset(names[i] for i in hull),
        routed=tuple(_routed_line(run, arms, at, weights) for run in runs),
    )


def _routed_line(run: Routed, arms: PlanLabels, reference: int, weights: FloatArray) -> RoutedLine:
    here = np.full((1, len(run.quality)), 1 / len(run.quality))
    return RoutedLine(
        line=_line(
            run.name,
            (run.quality, run.cost_usd),
            (arms.quality[:, reference], arms.cost_usd[:, reference]),
            weights,
        ),
        gain_over_hull=float(_gains(arms, run, here)[0]),
        gain_ci95=interval(_gains(arms, run, weights)),
        gain_over_mixing=float(_mixing_gains(arms, run, here, reference)[0]),
        mixing_ci95=interval(_mixing_gains(arms, run, weights, reference)),
        reference_share=run.reference_share,
        mean_samples=run.mean_samples,
        ledger_cost_usd=run.ledger_cost_usd,
    )


def _line(
    name: str,
    values: tuple[FloatArray, FloatArray],
    reference: tuple[FloatArray, FloatArray],
    weights: FloatArray,
) -> Line:
    quality, cost = values
    ref_quality, ref_cost = reference
    savings = 1 - (weights @ cost) / (weights @ ref_cost)
    with np.errstate(divide="ignore", invalid="ignore"):
        drops = 1 - (weights @ quality) / (weights @ ref_quality)
        drop = float(1 - quality.mean() / ref_quality.mean())
    known = interval95(drops)
    return Line(
        name=name,
        quality=float(quality.mean()),
        quality_ci95=interval(weights @ quality),
        cost_usd=float(cost.mean()),
        saving=float(1 - cost.mean() / ref_cost.mean()),
        saving_ci95=interval(savings),
        drop=drop,
        drop_ci95=None if known is None else (known[0], known[1]),
    )


def _gains(arms: PlanLabels, routed: Routed, weights: FloatArray) -> FloatArray:
    """Quality above the hull of fixed candidates at the routed cost, for each resample (the hull anew each time)."""
    quality, cost = weights @ arms.quality, weights @ arms.cost_usd
    own_quality, own_cost = weights @ routed.quality, weights @ routed.cost_usd
    return np.array(
        [
            q - hull_quality(c_all, q_all, c)
            for q_all, c_all, q, c in zip(quality, cost, own_quality, own_cost, strict=True)
        ]
    )


def _mixing_gains(arms: PlanLabels, routed: Routed, weights: FloatArray, reference: int) -> FloatArray:
    """Quality above a coin between the reference and the cheapest fixed choice, at the routed cost."""
    cheapest = int(np.argmin(arms.cost_usd.mean(axis=0)))
    quality, cost = weights @ arms.quality, weights @ arms.cost_usd
    own_quality, own_cost = weights @ routed.quality, weights @ routed.cost_usd
    share = (own_cost - cost[:, cheapest]) / (cost[:, reference] - cost[:, cheapest])
    share = np.clip(share, 0, 1)
    return np.asarray(own_quality - (share * quality[:, reference] + (1 - share) * quality[:, cheapest]))


def table(report: Report, framework: Framework = "langchain") -> str:
    """Return the figures as text."""
    lines = [
        f"{report.queries} held-out queries of {report.groups} groups. Intervals (95 %) resample groups "
        f"{RESAMPLES:,} times; saved and drop are relative to asking the reference once.",
        "",
        f"  {'fixed choices':28} {'quality':>7} {'':>14} {'USD/1k':>8} {'saved':>7} {'':>17} {'drop':>7}",
    ]
    for arm in report.arms:
        lines.append(("* " if arm.name in report.on_hull else "  ") + _row(arm))
    lines += [
        "* on the hull: no mixture of other fixed choices is as good at its cost",
        "",
        f"  routed by {MODEL_CLASSES[framework]}",
    ]
    lines += ["> " + _row(routed.line) for routed in report.routed]
    lines += ["", f"  {'at the same cost, quality above':31} the hull of fixed choices    random mixing"]
    for routed in report.routed:
        (low, high), (mix_low, mix_high) = routed.gain_ci95, routed.mixing_ci95
        lines.append(
            f"> {routed.line.name:31} {routed.gain_over_hull:+.3f} [{low:+.3f}, {high:+.3f}]    "
            f"{routed.gain_over_mixing:+.3f} [{mix_low:+.3f}, {mix_high:+.3f}]   "
            f"{routed.reference_share:4.0%} by the reference, {routed.mean_samples:.2f} samples a query, "
            f"bill {routed.ledger_cost_usd:.6f} USD"
        )
    lines += [
        "Random mixing is a coin between the reference and the cheapest fixed choice. A gain counts only where",
        "its interval is clear of 0.",
    ]
    return "\n".join(lines)


def _row(line: Line) -> str:
    (q0, q1), (s0, s1), drop = line.quality_ci95, line.saving_ci95, line.drop_ci95
    drops = "[no interval]" if drop is None else f"[{drop[0]:6.1%}, {drop[1]:6.1%}]"
    return (
        f"{line.name:28} {line.quality:7.3f} [{q0:5.3f}, {q1:5.3f}] {line.cost_usd * 1000:8.4f} "
        f"{line.saving:7.1%} [{s0:7.1%}, {s1:6.1%}] {line.drop:7.1%} {drops}"
    )


_COLORS = ("#D55E00", "#009E73", "0.4", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe and Ito, told apart by the colour-blind."""


def plot(report: Report, path: Path) -> None:
    """Draw what is kept against what is saved: fixed choices, their hull, the routed runs with their intervals."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(f"the plot needs matplotlib: {to_install('plots')}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    by_model: dict[str, list[tuple[str, Line]]] = {}
    for arm in report.arms:
        model, _, n = arm.name.rpartition(" x ")
        by_model.setdefault(model, []).append((n, arm))
    for (model, arms), shape, color in zip(by_model.items(), "svoDP^", _COLORS, strict=False):
        points = [_place(arm) for _, arm in arms]
        axes.plot(*zip(*points, strict=True), f"{shape}:", color=color, mfc="white", label=f"{model} x n")
        for (n, _), point in zip(arms, points, strict=True):
            axes.annotate(n, point, (4, 4), textcoords="offset points", fontsize=8)
    hull = sorted(_place(arm) for arm in report.arms if arm.name in report.on_hull)
    axes.plot(*zip(*hull, strict=True), "k-", lw=1, label="hull of fixed choices")
    lines = [routed.line for routed in report.routed]
    drops = [line.drop_ci95 or (np.nan, np.nan) for line in lines]
    axes.errorbar(
        [100 * line.saving for line in lines],
        [100 * (1 - line.drop) for line in lines],
        xerr=100 * np.abs(np.array([[line.saving - line.saving_ci95[side] for line in lines] for side in (0, 1)])),
        yerr=100
        * np.abs(
            np.array([[line.drop - ends[side] for line, ends in zip(lines, drops, strict=True)] for side in (1, 0)])
        ),
        fmt="*",
        color="#0072B2",
        mec="black",
        ms=13,
        capsize=4,
        label="BestRoute, 95 % intervals",
    )
    for i, line in enumerate(lines):  # neighbours' names stand on different sides of their stars
        by = (9, 16) if i % 2 == 0 else (9, -18)
        axes.annotate(line.name, _place(line), by, textcoords="offset points", fontsize=8, weight="bold")
    axes.plot(0, 100, "X", color="black", ms=9, label="the reference")
    axes.set_xlim(-60, 100)
    axes.set_xlabel("saved of the reference's cost, %")
    axes.set_ylabel("kept of the reference's quality, %")
    axes.set_title(f"Demo set: {report.queries} held-out queries; n samples, chosen by majority vote", fontsize=11)
    axes.legend(fontsize=8, loc="lower left")
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _place(line: Line) -> tuple[float, float]:
    """Return what a line saves and what it keeps, in %."""
    return 100 * line.saving, 100 * (1 - line.drop)
