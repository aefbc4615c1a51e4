"""Numbers of other libraries at the doors: taken as Python's own, so that JSON and databases take them, too."""

import json
import math

import numpy as np
import pytest

from bestroute import (
    BestRoute,
    Budget,
    BudgetPolicy,
    Candidate,
    ConfigError,
    Ledger,
    LogprobConfidence,
    Plan,
    Pool,
    Price,
    PriceError,
    QualityPolicy,
    Query,
    Sample,
    Settings,
    Signals,
    Step,
    ThresholdPolicy,
    Usage,
)
from bestroute.billing.outcomes import as_feedback
from bestroute.testing import FakeGenerator
from bestroute.types.settings import Limits
from bestroute.types.token_logprobs import signals_of

POOL = Pool(["a"], {"a": Price(1, 1)}, "a")
ONES = [np.int64(1), np.uint8(1), np.float32(1), np.float64(1)]


def engine_with(**options):
    return BestRoute(POOL, {"a": FakeGenerator(["hi"])}, **options)


@pytest.mark.parametrize("one", ONES, ids=repr)
def test_numbers_of_numpy_are_taken_wherever_a_number_is(one):
    assert ThresholdPolicy(one) == ThresholdPolicy(1.0)
    assert Budget(one).usd == 1.0
    assert LogprobConfidence(accept=one) is not None
    for value in (
        Price(one, one).input,
        Limits(max_cost_usd=one).max_cost_usd,
        Settings(first_wait_s=one).first_wait_s,
        engine_with(share=one).share,
        engine_with(audit=one).audit,
        engine_with(budget=one).run("hello").cost_usd + 1,
    ):
        assert type(value) in (int, float)
        assert value == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("one", ONES[:2], ids=repr)
def test_whole_numbers_of_numpy_are_taken_wherever_a_count_is(one):
    pool = Pool(["a"], {"a": Price(1, 1)}, "a", max_n=one)
    limits = Limits(max_samples=one, wave=one)
    for count in (pool.max_n, limits.max_samples, limits.wave, Settings(attempts=one).attempts):
        assert (type(count), count) == (int, 1)
    assert engine_with(max_retries=one).run("hello", max_samples=one, max_cost_usd=one, deadline_s=one).text


def test_what_is_no_whole_number_is_no_count():
    for value in (np.float64(1), np.True_, True, 1.0):
        with pytest.raises(ConfigError, match="max_samples must be a whole number >= 1"):
            Limits(max_samples=value)


@pytest.mark.parametrize("value", ["0.01", np.True_, [0.1], math.nan], ids=repr)
def test_a_policys_number_that_is_none_is_one_sentence(value):
    for make in (QualityPolicy, lambda value: QualityPolicy(max_drop=value), BudgetPolicy, ThresholdPolicy):
        with pytest.raises(ConfigError, match="must be"):
            make(value)


def test_signals_of_numpy_reach_json_and_the_ledger(tmp_path):
    told = Signals(np.float32(-0.5), np.float16(-0.25), np.float64(-0.25), np.float32(1), np.int64(2))
    member = FakeGenerator([Sample("hi", usage=Usage(1, 2), signals=told)])
    engine = BestRoute(POOL, {"a": member}, ledger=Ledger(f"sqlite:///{tmp_path / 'bills.db'}"))
    signals = json.loads(json.dumps(engine.run("hello").to_dict()))["samples"][0]["signals"]
    assert (signals["sum_logprob"], signals["mean_logprob"], signals["tokens"]) == (-0.5, -0.25, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")], ids=repr)
def test_a_signal_that_is_no_number_is_unknown(value):
    told = Signals(sum_logprob=value, mean_logprob=value, tokens=1)
    assert (told.sum_logprob, told.mean_logprob, told.tokens) == (None, None, 1)
    json.dumps(told.__dict__, allow_nan=False)


def test_log_probabilities_of_numpy_count_beside_unknown_ones():
    logprobs = [np.float32(-0.5), None, np.float32(-0.25)]
    assert Signals.from_logprobs(logprobs).mean_logprob == -0.375
    told = {"logprobs": {"content": [{"token": t, "logprob": p} for t, p in zip("abc", logprobs, strict=True)]}}
    assert signals_of(told, text="abc").mean_logprob == -0.375
    assert signals_of({"avg_logprobs": np.float32(-0.5)}, text="abc").mean_logprob == -0.5


class Unwritable:
    def __repr__(self):
        raise RuntimeError("nobody writes this")


DOORS = {
    "price": lambda value: Price(value, 1),
    "n": lambda value: Candidate("a", value),
    "model": lambda value: Step(value, 1),
    "accept": lambda value: Step("a", 1, accept=value),
    "max_n": lambda value: Pool(["a"], {"a": Price(1, 1)}, "a", max_n=value),
    "bills_input": lambda value: Pool(["a"], {"a": Price(1, 1)}, "a", bills_input=value),
    "prices": lambda value: Pool(["a"], value, "a"),
    "models": lambda value: Pool(value, {"a": Price(1, 1)}, "a"),
    "steps": Plan,
    "input_tokens": lambda value: Query("hi", input_tokens=value),
    "threshold": ThresholdPolicy,
    "price_usd": QualityPolicy,
    "max_drop": lambda value: QualityPolicy(max_drop=value),
    "usd_per_1k": BudgetPolicy,
    "level": lambda value: LogprobConfidence(accept=value),
    "budget": Budget,
    "per": lambda value: Budget(1, per=value),
    "attempts": lambda value: Settings(attempts=value),
    "over_budget": lambda value: Settings(over_budget=value),
    "deadline_s": lambda value: Limits(deadline_s=value),
    "mode": lambda value: engine_with(mode=value),
    "share": lambda value: engine_with(share=value),
    "audit": lambda value: engine_with(audit=value),
    "settings": lambda value: engine_with(settings=value),
    "default": lambda value: engine_with(default=value),
    "router": lambda value: engine_with(router=lambda query: ("a", value)).run("hello"),
    "pool": lambda value: BestRoute(value, {}),
    "score": lambda value: as_feedback("c1", value, None, keeps_notes=False),
}


@pytest.mark.parametrize(
    "value",
    [b"x" * 10**6, -(10**5000), ["y" * 1000] * 1000, Unwritable(), {"k" * 10**6: 1}],
    ids=lambda v: type(v).__name__,
)
@pytest.mark.parametrize("door", DOORS)
def test_a_value_that_makes_no_sense_is_one_short_sentence(door, value):
    with pytest.raises((ConfigError, PriceError)) as refused:
        DOORS[door](value)
    assert len(str(refused.value)) < 300


def test_one_number_names_no_members():
    with pytest.raises(ConfigError, match="allow must be a sequence of pool names, got 3"):
        Limits(allow=3)


def test_a_prompts_length_that_is_no_whole_number_is_rounded_up():
    members = {"a": FakeGenerator([Sample("hi")])}
    engine = BestRoute(POOL, members)
    engine.run(Query("hello", input_tokens=2.5))
    assert engine.ledger.rows()[0]["input_tokens"] == 3
