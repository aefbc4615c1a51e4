"""Conversations over members with prompt caches, simulated: what routing costs against the best single cached model.

    python benchmarks/sessions.py --out docs

Writes sessions.json and sessions.md. Every turn is a call of the real engine, ``session=`` set, over members that bill
as a provider's cache does. The distributions stand in ``SCENARIOS``, the prices in ``PROVIDERS``; both are invented to
be typical, not measured. A router predicts each member's success at a turn with the stated noise.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bestroute import BestRoute, Candidate, Pool, Price, QualityPolicy, Query, Sample, Settings, Usage
from bestroute.types.plans import as_plan
from bestroute.types.prediction import Prediction

MODELS = ("small", "mid", "large")
PLANS = tuple(as_plan(Candidate(model)) for model in MODELS)
LEAST_TOKENS = 1024


@dataclass(frozen=True)
class Provider:
    """Prices, USD per million tokens, and how a cache bills."""

    prices: Mapping[str, Price]
    lifetime_s: float
    writes: bool
    """Whether what is cached is billed at a price of its own."""


PROVIDERS = {
    "half price": Provider(
        {"small": Price(0.15, 0.6, 0.075), "mid": Price(0.8, 3.2, 0.4), "large": Price(2.5, 10.0, 1.25)}, 300.0, False
    ),
    "tenth, writes dearer": Provider(
        {
            "small": Price(0.25, 1.25, 0.025, 0.3125),
            "mid": Price(1.0, 5.0, 0.1, 1.25),
            "large": Price(3.0, 15.0, 0.3, 3.75),
        },
        300.0,
        True,
    ),
    "quarter price": Provider(
        {"small": Price(0.1, 0.4, 0.025), "mid": Price(0.3, 2.5, 0.075), "large": Price(1.25, 10.0, 0.3125)},
        600.0,
        False,
    ),
}
"""The three ways in which large providers price cached input."""


@dataclass(frozen=True)
class Scenario:
    """What conversations are like."""

    turns: float
    """Mean of a geometric number."""
    start: int
    """Tokens of the first prompt, median."""
    growth: int
    """Tokens that a turn adds beside the answer, median."""
    answer: int
    """Tokens of an answer, median."""
    easy: float
    """Share of turns at which every member succeeds as the reference does."""
    gap: float
    """By how much the cheapest member succeeds less at the others; the middle one by a third of it."""
    noise: float = 0.4
    """Standard deviation of the sign by which the router tells a hard turn, 1, from an easy one, 0; what it predicts is
    calibrated."""
    pause_s: float = 60.0
    """Between turns, median."""


SCENARIOS = {
    "short questions": Scenario(turns=1.5, start=600, growth=150, answer=250, easy=0.7, gap=0.5),
    "assistant": Scenario(turns=6, start=1_800, growth=250, answer=350, easy=0.7, gap=0.5),
    "support with pauses": Scenario(turns=8, start=2_500, growth=150, answer=200, easy=0.8, gap=0.5, pause_s=400),
    "long documents": Scenario(turns=5, start=30_000, growth=150, answer=300, easy=0.7, gap=0.5),
    "agents": Scenario(turns=15, start=6_000, growth=900, answer=150, easy=0.75, gap=0.4, pause_s=8),
    "hard throughout": Scenario(turns=8, start=4_000, growth=400, answer=500, easy=0.1, gap=0.6),
    "a router that knows little": Scenario(turns=6, start=1_800, growth=250, answer=350, easy=0.7, gap=0.5, noise=0.4),
}
REFERENCE_SUCCESS = 0.9
TUNING_TURNS = 3200
EQUAL = 0.01
"""Success that may be lost and still counts as equal, as a share of the reference's."""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation, known to the simulation alone."""

    at: float
    prompt: int
    answer: int
    success: tuple[float, ...]
    predicted: tuple[float, ...]


def conversations(scenario: Scenario, count: int, rng: np.random.Generator) -> list[list[Turn]]:
    """Draw conversations."""
    found = []
    for _ in range(count):
        turns, at, prompt = [], 0.0, int(scenario.start * rng.lognormal(0, 0.5))
        for _ in range(rng.geometric(1 / scenario.turns)):
            answer = max(1, int(scenario.answer * rng.lognormal(0, 0.5)))
            is_hard = float(rng.random() >= scenario.easy)
            hard = probability_of_hard(is_hard + scenario.noise * rng.normal(), scenario)
            turns.append(Turn(at, prompt, answer, successes(is_hard, scenario), successes(hard, scenario)))
            at += float(scenario.pause_s * rng.lognormal(0, 0.7))
            prompt += answer + int(scenario.growth * rng.lognormal(0, 0.5))
        found.append(turns)
    return found


def successes(hard: float, scenario: Scenario) -> tuple[float, ...]:
    """Return each member's success at a turn that is hard with that probability."""
    loss = hard * scenario.gap
    return REFERENCE_SUCCESS - loss, REFERENCE_SUCCESS - loss / 3, REFERENCE_SUCCESS


def probability_of_hard(sign: float, scenario: Scenario) -> float:
    """Return what is to be believed of a turn after its sign."""
    odds = math.log((1 - scenario.easy) / scenario.easy) + (sign - 0.5) / scenario.noise**2
    return 1 / (1 + math.exp(-odds))


class Clock:
    """The simulation's time."""

    now = 0.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


class CachingMember:
    """Bills as its provider's cache does, and answers with the tokens that the turn says."""

    native_n = False

    def __init__(self, model: str, provider: Provider, clock: Clock) -> None:
        """Hold nothing."""
        self.model, self.provider, self.clock = model, provider, clock
        self.held: dict[str, tuple[float, int]] = {}

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Any) -> list[Sample]:
        """Answer."""
        turn: Turn = (query.messages or [])[0]
        at, tokens = self.held.get(query.context, (-math.inf, 0))
        is_warm = self.clock.now - at <= self.provider.lifetime_s and tokens >= LEAST_TOKENS
        cached = min(tokens, turn.prompt) if is_warm else 0
        written = turn.prompt - cached if self.provider.writes and turn.prompt >= LEAST_TOKENS else 0
        self.held[query.context] = (self.clock.now, turn.prompt)
        return [Sample("an answer", usage=Usage(turn.prompt, turn.answer, cached, written), finish_reason="stop")]


class KnowingRouter:
    """Predicts what the turn says; lengths of answers as they are on average."""

    is_light = True

    def __init__(self, answer: float) -> None:
        """Keep the mean length."""
        self.answer = answer

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Return the predictions."""
        quality = np.array([query.messages[0].predicted for query in queries])  # type: ignore[index]
        return Prediction(PLANS, quality, quality, np.full((len(queries), 3), self.answer))


@dataclass(frozen=True)
class Run:
    """Cost and success of each conversation."""

    usd: np.ndarray
    success: np.ndarray
    turns: np.ndarray


def simulate(
    talks: Sequence[Sequence[Turn]],
    scenario: Scenario,
    provider: Provider,
    *,
    price: float = 0.0,
    model: str | None = None,
) -> Run:
    """Run conversations: routed at a price of quality, or all turns with one model."""
    clock = Clock()
    members = {m: CachingMember(m, provider, clock) for m in MODELS}
    pool = Pool(MODELS, provider.prices, "large", 1)
    settings = Settings(cache_lifetime_s=provider.lifetime_s)
    engine = BestRoute(pool, members, KnowingRouter(scenario.answer), policy=QualityPolicy(price), settings=settings)
    engine._sessions.clock = clock
    usd, success = np.zeros(len(talks)), np.zeros(len(talks))
    for i, turns in enumerate(talks):
        for turn in turns:
            clock.now = 1e6 * i + turn.at
            query = Query("turn", messages=[turn], context=str(i), input_tokens=turn.prompt)
            result = engine.run(query, session=str(i), model=model)
            usd[i] += result.cost_usd
            success[i] += turn.success[MODELS.index(result.model)]
    return Run(usd, success, np.array([len(turns) for turns in talks]))


def tuned_price(scenario: Scenario, provider: Provider, rng: np.random.Generator, count: int) -> float:
    """Return the lowest price of quality that keeps success on conversations apart; the highest where none does."""
    talks = conversations(scenario, count, rng)
    best = simulate(talks, scenario, provider, model="large")
    low, high = math.log(1e-4), math.log(100.0)
    for _ in range(10):
        middle = (low + high) / 2
        kept = simulate(talks, scenario, provider, price=math.exp(middle)).success.sum()
        low, high = (low, middle) if kept >= (1 - EQUAL / 2) * best.success.sum() else (middle, high)
    return math.exp(high)


def ratio_interval(over: np.ndarray, under: np.ndarray, rng: np.random.Generator, draws: int = 2000) -> list[float]:
    """Return a ratio of sums over conversations, and a 95 % bootstrap interval."""
    picks = rng.integers(0, len(over), (draws, len(over)))
    ratios = over[picks].sum(axis=1) / under[picks].sum(axis=1)
    return [float(over.sum() / under.sum()), *map(float, np.quantile(ratios, [0.025, 0.975]))]


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--conversations", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows, totals = [], {"routed": 0.0, "single": 0.0, "kept": 0.0, "reference": 0.0}
    for name, scenario in SCENARIOS.items():
        for who, provider in PROVIDERS.items():
            rng = np.random.default_rng([arguments.seed, len(rows)])
            apart = max(arguments.conversations // 4, math.ceil(TUNING_TURNS / scenario.turns))
            price = tuned_price(scenario, provider, rng, apart)
            talks = conversations(scenario, arguments.conversations, rng)
            singles = {model: simulate(talks, scenario, provider, model=model) for model in MODELS}
            reference = singles["large"]
            enough = [m for m in MODELS if singles[m].success.sum() >= (1 - EQUAL) * reference.success.sum()]
            best = min(enough, key=lambda m: singles[m].usd.sum())
            routed = simulate(talks, scenario, provider, price=price)
            saving = ratio_interval(singles[best].usd - routed.usd, singles[best].usd, rng)
            drop = ratio_interval(reference.success - routed.success, reference.success, rng)
            rows.append(
                {
                    "scenario": name,
                    "provider": who,
                    "best_single": best,
                    "saving": saving,
                    "drop": drop,
                    "usd_per_conversation": float(routed.usd.mean()),
                    "single_usd_per_conversation": float(singles[best].usd.mean()),
                    "turns": float(routed.turns.mean()),
                }
            )
            # each scenario counts alike: a conversation of long documents is dearer than a hundred short questions
            totals["routed"] += float(routed.usd.sum() / singles[best].usd.sum())
            totals["single"] += 1.0
            print(json.dumps(rows[-1]), flush=True)
    found = {
        "conversations": arguments.conversations,
        "seed": arguments.seed,
        "saving_over_all": 1 - totals["routed"] / totals["single"],
        "scenarios": {name: asdict(scenario) for name, scenario in SCENARIOS.items()},
        "rows": rows,
    }
    (arguments.out / "sessions.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.out / "sessions.md").write_text(page(found))


def page(found: Mapping[str, Any]) -> str:
    """Return the page."""

    def percent(values: Sequence[float]) -> str:
        return f"{100 * values[0]:.1f} % [{100 * values[1]:.1f}, {100 * values[2]:.1f}]"

    rows = found["rows"]
    poor = [row for row in rows if row["saving"][1] < 0.05]
    lost = [row for row in rows if row["drop"][0] > EQUAL]
    dearer = [row for row in rows if row["saving"][0] < 0]
    lines = [
        "# Conversations and prompt caches",
        "",
        "Made by `benchmarks/sessions.py`: simulated conversations from stated distributions, not measured ones. Every",
        "turn is a call of the real engine with `session=`; members bill as their provider's cache does. The router",
        "tells hard turns from easy ones by a noisy sign, and is calibrated; its price of quality is tuned on other",
        "conversations to lose half a percent of success. "
        f"{found['conversations']} conversations a row, seed {found['seed']};",
        "95 % bootstrap intervals over conversations. *Saving* is against the best single model, its cache as warm as",
        "one model's can be, among those that succeed as often as the reference (within 1 %).",
        "",
        f"Over all rows, each counting alike, routing is {100 * found['saving_over_all']:.0f} % cheaper. "
        + (
            "It is dearer in the mean in no row."
            if not dearer
            else "It is dearer in the mean in: " + ", ".join(f"{r['scenario']} ({r['provider']})" for r in dearer) + "."
        ),
        "",
        "Where it does not pay, or hardly (the saving's lower end below 5 %): "
        + (", ".join(f"{row['scenario']} ({row['provider']})" for row in poor) + "." if poor else "nowhere."),
        "",
        "Success lost beyond 1 % in the mean: "
        + (", ".join(f"{row['scenario']} ({row['provider']})" for row in lost) + "." if lost else "nowhere."),
        "",
        "| conversations | cached input | turns | best single | saving | success lost |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['scenario']} | {row['provider']} | {row['turns']:.1f} | {row['best_single']} | "
            f"{percent(row['saving'])} | {percent(row['drop'])} |"
        )
    lines += [
        "",
        "A turn is priced by what each member's cache holds of the conversation (`Price.cached_input`,",
        "`Settings.cache_lifetime_s`, `cache_least_tokens`), so one moves only where the predicted gain beats a cold",
        "cache.",
        "What a conversation will still bring is not foreseen: each turn is decided by itself.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
