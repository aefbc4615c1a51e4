"""The demo: the held-out queries through ``BestRouteChat``, and what that cost and was worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestroute.curves import hull_quality, interval, resample_groups, upper_hull
from bestroute.demo.arms import Arms, arms_of
from bestroute.demo.dataset import ROUTER
from bestroute.demo.tasks import check, normalise
from bestroute.ledger import Ledger
from bestroute.plans import Candidate
from bestroute.pool import Pool
from bestroute.protocols import FloatArray, Generator
from bestroute.records import Record
from bestroute.rewards import MajorityVote

if TYPE_CHECKING:
    from langchain_bestroute import BestRouteChat

RESAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class Routed:
    """What the routed answers were worth and cost, query by query."""

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
    drop_ci95: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Report:
    """The demo's figures."""

    queries: int
    groups: int
    lines: tuple[Line, ...]
    hull: tuple[tuple[float, float], ...]
    """(cost, quality) of the fixed choices that no mixture of others beats."""
    routed: Line
    gain_over_hull: float
    """Quality above the hull of fixed candidates at the same cost."""
    gain_ci95: tuple[float, float]
    gain_over_mixing: float
    """Quality above a coin between the reference and the cheapest fixed choice, at the same cost."""
    mixing_ci95: tuple[float, float]


def demo_chat(pool: Pool, members: Mapping[str, Generator], ledger: Ledger | None = None) -> BestRouteChat:
    """Return the demo's chat model: the shipped router, answers chosen by majority vote."""
    from langchain_bestroute import BestRouteChat

    return BestRouteChat(
        models=dict(members),
        prices=dict(pool.prices),
        reference=pool.reference,
        router=str(ROUTER),
        reward_model=MajorityVote(normalise),
        max_n=pool.max_n,
        bills_input={model: pool.bills(model) for model in pool.models},
        ledger=ledger,
    )


def run_routed(
    records: Sequence[Record],
    pool: Pool,
    members: Mapping[str, Generator],
    on_answer: Callable[[], Any] = lambda: None,
) -> Routed:
    """Ask every query through the chat model; the expected answers are looked at only afterwards."""
    ledger = Ledger()
    chat = demo_chat(pool, members, ledger)
    quality, costs, samples, reference = [], [], 0, 0
    for record in records:
        message = chat.invoke(record.query)
        told = message.response_metadata["bestroute"]
        quality.append(check(record.extra, str(message.text)))
        costs.append(told["cost_usd"])
        samples += told["n"]
        reference += told["model"] == pool.reference
        on_answer()
    size = len(records)
    return Routed(np.array(quality), np.array(costs), reference / size, samples / size, ledger.cost_usd)


def report_on(records: Sequence[Record], pool: Pool, routed: Routed, *, seed: int = 0) -> Report:
    """Compare the routed answers with every fixed choice, their hull, and random mixing.

    Fixed choices are exact expectations over the recorded samples; the routed answers are one real run. All
    intervals are paired, from the same resampled groups.
    """
    arms = arms_of(records, pool)
    groups = [record.group for record in records]
    weights = resample_groups(groups, resamples=RESAMPLES, seed=seed)
    at = arms.candidates.index(Candidate(pool.reference))
    reference = (arms.quality[:, at], arms.cost_usd[:, at])
    lines = [
        _line(str(candidate), (arms.quality[:, a], arms.cost_usd[:, a]), reference, weights)
        for a, candidate in enumerate(arms.candidates)
    ]
    mean_quality, mean_cost = arms.quality.mean(axis=0), arms.cost_usd.mean(axis=0)
    hull = upper_hull(mean_cost, mean_quality)
    gains = _gains(arms, routed, weights)
    mixing = _mixing_gains(arms, routed, weights, at)
    here = np.full((1, len(records)), 1 / len(records))
    return Report(
        queries=len(records),
        groups=len(set(groups)),
        lines=tuple(lines),
        hull=tuple((float(mean_cost[i]), float(mean_quality[i])) for i in hull),
        routed=_line("BestRoute", (routed.quality, routed.cost_usd), reference, weights),
        gain_over_hull=float(_gains(arms, routed, here)[0]),
        gain_ci95=interval(gains),
        gain_over_mixing=float(_mixing_gains(arms, routed, here, at)[0]),
        mixing_ci95=interval(mixing),
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
    drops = 1 - (weights @ quality) / (weights @ ref_quality)
    return Line(
        name=name,
        quality=float(quality.mean()),
        quality_ci95=interval(weights @ quality),
        cost_usd=float(cost.mean()),
        saving=float(1 - cost.mean() / ref_cost.mean()),
        saving_ci95=interval(savings),
        drop=float(1 - quality.mean() / ref_quality.mean()),
        drop_ci95=interval(drops),
    )


def _gains(arms: Arms, routed: Routed, weights: FloatArray) -> FloatArray:
    """Quality above the hull of fixed candidates at the routed cost, for each resample (the hull anew each time)."""
    quality, cost = weights @ arms.quality, weights @ arms.cost_usd
    own_quality, own_cost = weights @ routed.quality, weights @ routed.cost_usd
    return np.array(
        [
            q - hull_quality(c_all, q_all, c)
            for q_all, c_all, q, c in zip(quality, cost, own_quality, own_cost, strict=True)
        ]
    )


def _mixing_gains(arms: Arms, routed: Routed, weights: FloatArray, reference: int) -> FloatArray:
    """Quality above a coin between the reference and the cheapest fixed choice, at the routed cost."""
    cheapest = int(np.argmin(arms.cost_usd.mean(axis=0)))
    quality, cost = weights @ arms.quality, weights @ arms.cost_usd
    own_quality, own_cost = weights @ routed.quality, weights @ routed.cost_usd
    share = (own_cost - cost[:, cheapest]) / (cost[:, reference] - cost[:, cheapest])
    share = np.clip(share, 0, 1)
    return np.asarray(own_quality - (share * quality[:, reference] + (1 - share) * quality[:, cheapest]))


def table(report: Report, routed: Routed) -> str:
    """Return the figures as text."""
    head = f"{'':28} {'quality':>7} {'95 %':>14} {'USD/1k':>8} {'saved':>7} {'95 %':>15} {'drop':>7} {'95 %':>16}"
    lines = [
        f"{report.queries} held-out queries of {report.groups} groups; intervals resample groups {RESAMPLES:,} times",
        head,
    ]
    on_hull = {cost for cost, _ in report.hull}
    for line in (*report.lines, report.routed):
        mark = "*" if line.cost_usd in on_hull else ">" if line is report.routed else " "
        (q0, q1), (s0, s1), (d0, d1) = line.quality_ci95, line.saving_ci95, line.drop_ci95
        lines.append(
            f"{mark} {line.name:26} {line.quality:7.3f} [{q0:5.3f}, {q1:5.3f}] {line.cost_usd * 1000:8.4f} "
            f"{line.saving:7.1%} [{s0:6.1%}, {s1:6.1%}] {line.drop:7.1%} [{d0:6.1%}, {d1:6.1%}]"
        )
    low, high = report.gain_ci95
    mix_low, mix_high = report.mixing_ci95
    lines += [
        "* on the hull of fixed choices; saved and drop are relative to always asking the reference once",
        f"quality above the hull of fixed choices at the same cost: {report.gain_over_hull:+.3f} "
        f"[{low:+.3f}, {high:+.3f}]",
        f"quality above random mixing of the reference and the cheapest choice: {report.gain_over_mixing:+.3f} "
        f"[{mix_low:+.3f}, {mix_high:+.3f}]",
        f"{routed.reference_share:.0%} of answers from the reference, {routed.mean_samples:.2f} samples a query; "
        f"the ledger's bill: {routed.ledger_cost_usd:.6f} USD",
    ]
    return "\n".join(lines)


def plot(report: Report, path: Path) -> None:
    """Draw quality against cost: fixed choices, their hull, the routed answers with their interval."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('the plot needs matplotlib: pip install "bestroute[plots]"') from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    by_model: dict[str, list[Line]] = {}
    for line in report.lines:
        by_model.setdefault(line.name.rsplit(" x ", 1)[0], []).append(line)
    for model, lines in by_model.items():
        axes.plot([x.cost_usd * 1000 for x in lines], [x.quality for x in lines], "o:", label=model, alpha=0.8)
        for x in lines:
            axes.annotate(
                x.name.rsplit(" x ", 1)[1],
                (x.cost_usd * 1000, x.quality),
                (4, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axes.plot(
        [c * 1000 for c, _ in report.hull], [q for _, q in report.hull], "k-", lw=1, label="hull of fixed choices"
    )
    routed = report.routed
    spread = [[routed.quality - routed.quality_ci95[0]], [routed.quality_ci95[1] - routed.quality]]
    axes.errorbar(
        routed.cost_usd * 1000, routed.quality, spread, fmt="r*", ms=14, capsize=4, label="BestRoute (95 % interval)"
    )
    axes.set_xlabel("mean cost, USD per 1,000 queries")
    axes.set_ylabel("share of right answers")
    axes.set_title(f"Demo set: {report.queries} held-out queries, n samples by majority vote", fontsize=11)
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
