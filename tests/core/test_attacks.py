"""Attacks on money, time and trust, of kinds seen: what is paid is billed, what is secret stays so, every call ends."""

import asyncio
import json
import math
import sqlite3
import traceback
from types import SimpleNamespace

import httpx
import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestroute import (
    BestRoute,
    BestRouteError,
    Budget,
    BudgetError,
    ConfigError,
    GenerationError,
    Ledger,
    Plan,
    Pool,
    Price,
    Query,
    Sample,
    Settings,
    Step,
    Usage,
    Verifier,
)
from bestroute.errors import named
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.records.collect import Prompt, collect
from bestroute.records.records import read_records
from bestroute.testing import FakeGenerator

POOL = Pool(["s", "l"], {"s": Price(1, 1), "l": Price(2, 2)}, "l")
FAST = Settings(attempts=1)
ANY = st.text(st.characters(codec=None, exclude_categories=()))
"""All code points, surrogates and NUL among them."""
QUESTION = "What did Ada Lovelace write to Charles Babbage in 1843?"
KEY = "sk-live-0123456789abcdefghij"


def engine(small=None, *, n=1, plan=None, reward=None, **options):
    members = {"s": small or FakeGenerator(["a b"], usage=Usage(3, 2)), "l": FakeGenerator(["c"], usage=Usage(3, 1))}
    return BestRoute(POOL, members, lambda query: plan or ("s", n), reward, **{"settings": FAST, **options})


async def answered(it, how, query="hello", **options):
    if how == "run":
        return await asyncio.to_thread(it.run, query, **options)
    if how == "stream":
        return await asyncio.to_thread(lambda: list(it.stream(query, **options))[-1])
    if how == "arun":
        return await it.arun(query, **options)
    return [item async for item in it.astream(query, **options)][-1]


async def outcome_of(call, raised=BestRouteError):
    """Return what a call answers, and what it raises."""
    try:
        return await call, None
    except raised as error:
        return None, error


WAYS = ["run", "arun", "stream", "astream"]
REQUEST = httpx.Request("POST", f"https://u:{KEY}@x.test/v1?key={KEY}", headers={"Authorization": f"Bearer {KEY}"})
RESPONSE = httpx.Response(500, headers={"X-Api-Key": KEY, "Set-Cookie": f"session={KEY}"}, request=REQUEST, text=KEY)


def noted(error, *notes):
    error.__notes__ = list(notes)
    return error


def in_groups(error, depth):
    for _ in range(depth):
        error = ExceptionGroup("several", [error, ValueError("other")])
    return error


def in_a_circle(error):
    error.__cause__ = RuntimeError("outer")
    error.__cause__.__context__ = error
    return error


LEAKS = {
    "headers": openai.InternalServerError(
        f"failed with {KEY}", response=RESPONSE, body={"headers": dict(RESPONSE.headers)}
    ),
    "a request in args": RuntimeError("no", REQUEST.headers.raw, dict(REQUEST.headers), str(REQUEST.url)),
    "notes": noted(RuntimeError("no"), f"Authorization: Bearer {KEY}", QUESTION),
    "a note that is none": noted(RuntimeError(QUESTION), 7, None),
    "deep groups": in_groups(RuntimeError(f"{QUESTION} {KEY}"), 60),
    "a circle": in_a_circle(RuntimeError(f"{QUESTION} {KEY}")),
    "bytes": RuntimeError(QUESTION.encode(), KEY.encode()),
    "a dict of dicts": RuntimeError({"a": [{"prompt": QUESTION, "api_key": KEY}]}),
}


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("how", ["run", "astream"])
async def test_no_error_of_a_member_tells_a_key_or_the_question(name, how, caplog):
    caplog.set_level("DEBUG", logger="bestroute")
    failing = FakeGenerator([LEAKS[name]])
    it = BestRoute(POOL, {"s": failing, "l": failing}, lambda query: ("s", 1), settings=FAST)
    with pytest.raises(GenerationError) as caught:
        await answered(it, how, QUESTION)
    shown = "".join(traceback.format_exception(caught.value)) + str(it.ledger.rows())
    shown += "".join(record.getMessage() for record in caplog.records if record.name.startswith("bestroute"))
    assert KEY not in shown
    assert "Babbage" not in shown


class Unprintable(Exception):
    def __str__(self):
        raise KeyError(QUESTION)

    __repr__ = __str__


class Endless(Exception):
    def __str__(self):
        return str(self)


ODD_ERRORS = [
    Unprintable(),
    Endless(),
    in_groups(Unprintable(), 3),
    noted(Unprintable(), Unprintable()),
    in_groups(OSError(5), 500),
]


@pytest.mark.parametrize("error", ODD_ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("how", WAYS)
async def test_an_error_that_cannot_be_shown_is_a_failed_draw_with_its_row(error, how):
    it = engine(FakeGenerator([error]))
    assert (await answered(it, how)).text == "c"
    assert [row["status"] for row in it.ledger.rows()] == ["failed", "ok"]
    assert describe(error, Query("x"))
    hide_quotations(error, Query("x"))


ODD_REWARDS = [
    "0.5",
    None,
    math.nan,
    math.inf,
    -math.inf,
    -1,
    True,
    b"1",
    10**400,
    1j,
    [0.5],
    np.float64(0.5),
    np.array([0.5]),
]


@pytest.mark.parametrize("value", ODD_REWARDS, ids=repr)
@pytest.mark.parametrize("how", ["run", "arun"])
async def test_whatever_a_judge_returns_the_samples_are_billed_and_the_call_ends(value, how):
    for reward in (Verifier(lambda query, text: value), lambda query, texts: [value] * len(texts)):
        it = engine(n=2, reward=reward, budget=1.0)
        result, error = await outcome_of(answered(it, how))
        assert len(str(error)) < 400 if result is None else result.text == "a b"
        assert [row["cost_usd"] for row in it.ledger.rows()] == [5e-6] * 2
        assert it.budget.spent_usd == pytest.approx(1e-5)
        assert it.budget.left_usd == pytest.approx(1.0 - 1e-5)


class Handing(FakeGenerator):
    """Hands over what a function makes of n."""

    def __init__(self, make):
        super().__init__(["unused"], native_n=True)
        self.make = make

    def generate(self, query, n, *, params, cancel):
        return self.make(n)

    async def agenerate(self, query, n, *, params, cancel):
        return self.make(n)


ONE = Sample("a b", usage=Usage(3, 2))
HANDED = {
    "none": (lambda n: [], 0),
    "None": (lambda n: None, 0),
    "a sample that is no list": (lambda n: ONE, None),
    "the same object": (lambda n: [ONE] * n, 3),
    "two more": (lambda n: [Sample("a b", usage=Usage(3, 2)) for _ in range(n + 2)], 5),
    "texts": (lambda n: ["a b"] * n, None),
    "one too few": (lambda n: [ONE] * (n - 1), None),
    "an iterator that breaks": (lambda n: (ONE if i < 2 else 1 / 0 for i in range(n)), None),
    "text that is none": (lambda n: [Sample(None, usage=Usage(3, 2))] * n, None),
    "bytes": (lambda n: [Sample(b"a b", usage=Usage(3, 2))] * n, None),
}


@pytest.mark.parametrize("name", HANDED)
@pytest.mark.parametrize("how", ["run", "arun"])
async def test_whatever_a_member_hands_over_is_billed_and_no_more_than_asked_is_kept(name, how):
    make, drawn = HANDED[name]
    it = engine(Handing(make), n=3, reward=lambda query, texts: [0.5] * len(texts), budget=1.0)
    result, error = await outcome_of(answered(it, how))
    assert len(str(error)) < 600
    if result is not None:
        assert isinstance(result.text, str)
        assert len([s for s in result.samples if s.model == "s" and s.error is None]) <= 3
    rows = it.ledger.rows()
    assert rows
    if drawn is not None:
        assert sum(row["output_tokens"] for row in rows if row["model"] == "s") == 2 * drawn
    assert it.budget.spent_usd == pytest.approx(sum(row["cost_usd"] for row in rows))
    assert it.budget.left_usd == pytest.approx(1.0 - it.budget.spent_usd)


ODD_USAGES = [Usage(10**30, 2), Usage(0, 0), "usage", 7, SimpleNamespace(input=-5, output=-5), {"input_tokens": 3}]


@pytest.mark.parametrize("usage", ODD_USAGES, ids=repr)
@pytest.mark.parametrize("how", ["run", "arun"])
async def test_a_usage_of_no_sense_is_estimated_or_billed_and_never_free(usage, how):
    ledger = Ledger()
    it = engine(Handing(lambda n: [Sample("one two three", usage=usage)] * n), ledger=ledger, budget=Budget(1e30))
    _, error = await outcome_of(answered(it, how, "a question of several words"))
    assert len(str(error)) < 400
    row = ledger.rows()[0]
    assert row["cost_usd"] > 0
    assert math.isfinite(row["cost_usd"])
    assert json.dumps(ledger.totals(by="model"), default=str)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "error", [RuntimeError("x"), SystemExit(3), StopIteration(), asyncio.CancelledError()], ids=repr
)
async def test_a_budget_is_settled_though_the_reward_fails(error, how):
    def failing(query, texts):
        raise error

    it = engine(n=3, reward=failing, budget=1.0)
    _, raised = await outcome_of(answered(it, how), BaseException)
    assert type(raised) in (type(None), type(error), GenerationError)  # what an interruption is goes up
    assert [row["cost_usd"] for row in it.ledger.rows()] == [5e-6] * 3
    assert it.budget.left_usd == pytest.approx(1.0 - 1.5e-5)


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
def test_a_checker_that_ends_the_program_loses_no_sample_that_was_paid(error, tmp_path):
    def checker(prompt, text):
        raise error

    members = {model: FakeGenerator([f"{model} {i}" for i in range(9)]) for model in POOL.models}
    prompts = [Prompt(f"q{i}", "hi", f"g{i}") for i in range(3)]
    with pytest.raises((ConfigError, KeyboardInterrupt)):
        collect(prompts, POOL, members, tmp_path / "r.jsonl", n=1, checker=checker, concurrency=1)
    drawn = sum(len(member.calls) for member in members.values())
    kept = sum(s.size for record in read_records(tmp_path / "r.jsonl") for s in record.samples.values())
    assert kept == drawn > 0


class Stepping(FakeGenerator):
    """Draws in several turns of the loop, and counts what it was asked for."""

    asked = 0

    async def agenerate(self, query, n, *, params, cancel):
        self.asked += 1
        for _ in range(3):
            await asyncio.sleep(0)
        return [Sample("a b", usage=Usage(3, 2))]


class SteppingReward:
    range = (0.0, 1.0)

    def score(self, query, texts):
        return [0.1] * len(texts)

    async def ascore(self, query, texts):
        await asyncio.sleep(0)
        return [0.1] * len(texts)

    def calibrated(self, rewards):
        return rewards


async def test_a_call_that_is_cancelled_at_any_turn_of_the_loop_bills_every_draw_and_keeps_no_reserve():
    plan = Plan((Step("s", 3, 0.9), Step("l")))
    ended = 0
    for turn in range(80):
        small, large = Stepping(["x"]), Stepping(["x"])
        it = BestRoute(POOL, {"s": small, "l": large}, lambda query: plan, SteppingReward(), settings=FAST, budget=1.0)
        task = asyncio.ensure_future(it.arun("hello", wave=3))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
            ended += 1
        except asyncio.CancelledError:
            pass
        for _ in range(20):
            await asyncio.sleep(0)
        rows = it.ledger.rows()
        assert len(rows) == small.asked + large.asked, turn
        assert it.budget.spent_usd == pytest.approx(sum(row["cost_usd"] for row in rows)), turn
        assert it.budget.left_usd == pytest.approx(1.0 - it.budget.spent_usd), turn


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.patient(0.5)
async def test_a_locked_ledger_holds_up_no_answer_beyond_the_deadline_and_gets_its_rows(tmp_path, how, seconds):
    path = tmp_path / f"{seconds}.db"
    it = engine(n=2, reward=lambda query, texts: [0.5] * len(texts), ledger=Ledger(f"sqlite:///{path}"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        results = await asyncio.gather(*(answered(it, how, deadline_s=seconds) for _ in range(3)))
        assert [result.text for result in results] == ["a b"] * 3
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert await asyncio.to_thread(it.ledger.close, 60)
    assert len(Ledger(it.ledger.url).rows()) == 6


WRITTEN = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@WRITTEN
@given(ANY.filter(bool), ANY, ANY)
def test_a_ledger_takes_names_tags_and_reasons_of_any_text(tmp_path_factory, model, tag, reason):
    names = [model, "other" if model != "other" else "another"]
    pool = Pool(names, {name: Price(1, 1) for name in names}, names[1])
    url = f"sqlite:///{tmp_path_factory.mktemp('any')}/x.db"
    for ledger in (Ledger(url), Ledger()):
        it = BestRoute(pool, {name: FakeGenerator(["a b"]) for name in names}, lambda query: (model, 1), ledger=ledger)
        result = it.run("hello", tags={tag: reason}, model=model, reason=reason or None)
        assert result.model == model
        [total] = ledger.totals(by="model").values()
        assert total["samples"] == 1
        [row] = ledger.rows()
        assert [*ledger.totals(by="model")] == [row["model"]]
        assert ledger.totals(by="model", tags=row["tags"])
        ledger.close()


@WRITTEN
@given(ANY)
def test_a_budget_takes_a_name_of_any_text(tmp_path_factory, name):
    url = f"sqlite:///{tmp_path_factory.mktemp('any')}/x.db"
    if not name:
        with pytest.raises(ConfigError, match="name"):
            Budget(1.0, store=url, name=name)
        return
    budget = Budget(1.0, store=url, name=name)
    assert budget.reserve(0.5)
    budget.settle(0.5, 0.25)
    budget.close()
    assert Budget(1.0, store=url, name=name).spent_usd == 0.25


ODD_NAMES = {"long": "g" * 500, "nul": "a\0b", "half": "\ud83d", "lines": "a\nb\u2028c", "escapes": "\x1b[31m\u202e"}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_pool_of_any_names_runs_and_refuses_in_short_sentences(name, tmp_path):
    model = ODD_NAMES[name]
    pool = Pool([model, "l"], {model: Price(1, 1), "l": Price(2, 2)}, "l")
    assert Pool.from_dict(json.loads(json.dumps(pool.to_dict())), where="pool").models == pool.models
    it = BestRoute(pool, {m: FakeGenerator(["a b"]) for m in pool.models}, lambda query: (model, 1))
    assert it.run("hello").model == model
    assert it.route("hello").explain()
    with pytest.raises(ConfigError) as caught:
        it.run("hello", model="unknown")
    assert len(str(caught.value)) < 1000
    failing = BestRoute(
        pool, {m: FakeGenerator([OSError("x")]) for m in pool.models}, lambda q: (model, 1), settings=FAST
    )
    with pytest.raises(GenerationError) as failed:
        failing.run("hello")
    assert len(str(failed.value)) < 2000
    tight = BestRoute(pool, {m: FakeGenerator(["a b"]) for m in pool.models}, lambda q: (model, 1))
    with pytest.raises(BudgetError) as refused:
        tight.run("hello", max_cost_usd=0.0)
    assert len(str(refused.value)) < 1000


def test_a_name_of_giant_length_is_refused_in_one_short_sentence():
    giant = "g" * 100_000
    with pytest.raises(ConfigError, match="a model's name has at most 500 characters, got 'ggg") as caught:
        Pool([giant, "l"], {giant: Price(1, 1), "l": Price(2, 2)}, "l")
    assert len(str(caught.value)) < 200
    for call in (lambda: engine().run("hello", model=giant), lambda: engine().run("hello", allow=[giant])):
        with pytest.raises(ConfigError, match="unknown model 'ggg") as caught:
            call()
        assert len(str(caught.value)) < 300
    with pytest.raises(ConfigError) as caught:
        BestRoute(POOL, {m: FakeGenerator(["a"]) for m in POOL.models}, lambda query: (giant, 1)).run("hello")
    assert len(str(caught.value)) < 300
    assert named(f"m{i}" for i in range(10_000)).endswith("'m49' and 9950 more")
