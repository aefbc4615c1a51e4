"""Budgets: of a process, and of many that share a database."""

import asyncio
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from bestroute import BestRoute, Budget, BudgetError, ConfigError, Pool, Price, Sample, Usage
from bestroute.testing import FakeGenerator
from bestroute.types.settings import Settings
from bestroute.types.usage import estimate_tokens

IS_FULL = os.environ.get("BESTROUTE_FULL") == "1"


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "memory":
        return None
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/budget.db"
    return request.getfixturevalue("postgres").new_url()


def test_what_is_reserved_cannot_be_reserved_again(store):
    budget = Budget(1.0, store=store)
    assert (budget.reserve(0.75), budget.reserve(0.5), budget.reserve(0.25)) == (True, False, True)
    budget.settle(0.75, 0.125)
    budget.refresh()
    assert (budget.left_usd, budget.spent_usd) == (0.625, 0.125)
    assert asyncio.run(budget.areserve(0.625))
    assert not asyncio.run(budget.areserve(0.01))
    budget.close()


def test_an_attempt_is_reserved_and_settled_once(store):
    budget = Budget(1.0, store=store)
    assert all(budget.reserve(0.75, attempt_id="a") for _ in range(3))
    for _ in range(3):
        budget.settle(0.75, 0.5, attempt_id="a")
    budget.refresh()
    assert (budget.left_usd, budget.spent_usd) == (0.5, 0.5)
    assert budget.reserve(0.75, attempt_id="a")  # done already
    assert budget.left_usd == 0.5
    budget.close()


def test_processes_share_a_budget_by_its_name(database_url):
    one, two, other = (Budget(1.0, store=database_url, name=name) for name in ("team", "team", "other"))
    assert one.reserve(0.75)
    assert (two.reserve(0.5), two.reserve(0.25), other.reserve(1.0)) == (False, True, True)
    one.settle(0.75, 0.0)
    assert one.close()
    assert two.reserve(0.5)
    two.close()


@pytest.mark.parametrize(
    ("per", "period"), [("hour", "2026-01-31T17"), ("day", "2026-01-31"), ("month", "2026-01"), (None, "")]
)
def test_periods_are_of_utc(per, period):
    assert Budget(1.0, per=per)._period_of(1769880000.0 - 1200) == period


def test_a_new_period_has_the_whole_sum_again(store, monkeypatch):
    budget = Budget(1.0, per="day", store=store)
    assert budget.reserve(1.0)
    budget.settle(1.0, 0.75)
    assert not budget.reserve(0.5)
    day_s = 86_400
    now = type(budget)._period_of
    if store is None:
        later = time.time() + day_s
        monkeypatch.setattr("bestroute.billing.budget.time.time", lambda: later)
    else:
        budget._account.period_of = lambda moment: now(budget, moment + day_s)
    assert budget.reserve(1.0)
    assert budget.spent_usd == 0.0
    budget.close()


def test_the_clock_is_the_database_s(database_url, monkeypatch):
    budget = Budget(1.0, store=database_url, release_s=30)
    assert budget.reserve(0.75)
    monkeypatch.setattr("time.time", lambda now=time.time: now() + 90)
    skewed = Budget(1.0, store=database_url, release_s=30)
    assert not skewed.reserve(0.5)
    budget.settle(0.75, 0.75)
    for each in (budget, skewed):
        each.close()


def test_attempts_of_one_draw_are_settled_one_by_one(store):
    budget = Budget(1.0, store=store)
    assert budget.reserve(0.75, attempt_id=["a", "b", "c"])
    budget.settle(0.0, 0.125, attempt_id="a")
    budget.refresh()
    assert (budget.left_usd, budget.spent_usd) == (0.375, 0.125)
    for attempt_id in ("a", "b", "b", "c"):
        budget.settle(0.0, 0.125, attempt_id=attempt_id)
    budget.refresh()
    assert (budget.left_usd, budget.spent_usd) == (0.625, 0.375)
    budget.close()


def test_a_caller_that_is_cancelled_as_the_sum_is_granted_gives_it_back(tmp_path):
    budget = Budget(1.0, store=f"sqlite:///{tmp_path}/budget.db")

    async def run():
        reserving = asyncio.ensure_future(budget.areserve(0.75, attempt_id="a"))
        await asyncio.sleep(0)
        while not (granted := [wish.granted for wish in list(budget._account._in_flight)]) or not granted[0].done():
            time.sleep(0.001)  # the loop cannot see yet that it was granted
        reserving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reserving

    asyncio.run(run())
    assert budget.reserve(1.0)
    budget.close()


DEAD = """
import os, signal
from bestroute import Budget
budget = Budget(1.0, store={url!r}, name="{seconds}", release_s={seconds})
assert all([budget.reserve(usd, attempt_id=str(usd)) for usd in {reserved}])
budget.settle(0.0, 0.0, attempt_id="0.0625")  # if there is one
budget.refresh()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.patient(0.6)
def test_a_process_that_dies_frees_one_call_and_has_spent_the_others(database_url, seconds):
    code = DEAD.format(url=database_url, seconds=seconds, reserved=[0.125, 0.5, 0.25, 0.0625])
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == -9
    budget = Budget(1.0, store=database_url, name=str(seconds), release_s=seconds)
    end = time.monotonic() + 60
    while not budget.reserve(0.5):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not budget.reserve(0.25)
    assert budget.spent_usd == 0.375
    budget.close()


@pytest.mark.patient(0.6)
def test_a_process_that_dies_frees_what_it_reserved_after_the_stated_time(database_url, seconds):
    code = DEAD.format(url=database_url, seconds=seconds, reserved=[0.75])
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == -9
    budget = Budget(1.0, store=database_url, name=str(seconds), release_s=seconds)
    end = time.monotonic() + 60
    while not budget.reserve(0.5):
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1.7 * seconds)  # a living process keeps its own
    assert not Budget(1.0, store=database_url, name=str(seconds), release_s=seconds).reserve(0.75)
    budget.settle(0.5, 0.5)
    budget.close()


def test_a_store_that_cannot_be_asked_spends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("bestroute.billing.budget._PATIENCE_S", 0.05)
    budget = Budget(1.0, store=f"sqlite:///{tmp_path}/budget.db")
    holder = sqlite3.connect(tmp_path / "budget.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BudgetError, match="cannot be reached: database is locked; nothing was drawn"):
        budget.reserve(0.5)
    assert not budget.reserve(0.5, timeout_s=0.0)
    budget.settle(0.0, 0.25)
    holder.execute("ROLLBACK")
    holder.close()
    assert budget.close()
    assert Budget(1.0, store=f"sqlite:///{tmp_path}/budget.db").spent_usd == 0.25


def test_a_budget_can_be_pickled(store):
    budget = Budget(1.0, per="month", store=store, name="team")
    budget.settle(0.0, 0.25)
    budget.close()
    again = pickle.loads(pickle.dumps(budget))
    assert (again.usd, again.per, again.name, again.spent_usd) == (1.0, "month", "team", 0.25)


@pytest.mark.parametrize(
    "arguments", [{"per": "week"}, {"store": "mysql://u:secret@h/x"}, {"name": ""}, {"release_s": -1}]
)
def test_a_budget_that_makes_no_sense_is_refused(arguments):
    with pytest.raises(ConfigError) as caught:
        Budget(1.0, **arguments)
    assert "secret" not in str(caught.value)


WORKER = """
import asyncio, os, random, sys, time
import time as clock
skew = {skew}
real = clock.time
clock.time = lambda: real() + skew
from bestroute import Budget
budget = Budget({usd}, store={url!r})
chance = random.Random({seed})
async def call():
    if not await budget.areserve(0.01):
        return
    with open({bill!r}, "ab", buffering=0) as bill:
        bill.write(b"x")  # the provider bills what it is asked
    await asyncio.sleep(chance.random() / 50)
    budget.settle(0.01, 0.01)
async def main():
    await asyncio.gather(*(call() for _ in range({calls})))
asyncio.run(main())
time.sleep({lasts})
budget.close()
"""


def test_processes_at_the_edge_of_a_budget_never_pass_it(database_url, tmp_path):
    calls, chance = (2500 if IS_FULL else 100), random.Random(3)
    usd = round(2.5 * calls * 0.01, 6)
    bill = tmp_path / "bill"
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WORKER.format(
                    skew=skew, usd=usd, url=database_url, seed=k, bill=str(bill), calls=calls, lasts=60 * (k == 3)
                ),
            ]
        )
        for k, skew in enumerate((0, 90, -90, 0))
    ]
    while not bill.exists():
        time.sleep(0.01)
    time.sleep(chance.random() / 20)
    running[3].send_signal(signal.SIGKILL)
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0, -9]
    billed = 0.01 * bill.stat().st_size
    assert billed <= usd + 4 * 0.01
    assert Budget(usd, store=database_url).spent_usd <= usd + 1e-9


class Counting:
    native_n, max_output_tokens = False, 10

    def generate(self, query, n, *, params, cancel):
        return [Sample("好", usage=Usage(len(query.text), 1), finish_reason="stop")]


@pytest.mark.parametrize("text", ["请", "あ", "한", "🙂"])
def test_a_prompt_of_any_script_keeps_the_first_call_within_its_limit(text):
    engine = BestRoute(Pool(["a"], {"a": Price(1, 1)}, "a"), {"a": Counting()})
    with pytest.raises(BudgetError):
        engine.run(text * 20_000, max_cost_usd=0.006)
    assert engine.ledger.rows() == []
    assert engine.run(text * 2000, max_cost_usd=0.006).cost_usd <= 0.006


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("请你好" * 10, 30), ("안녕" * 10, 20), ("🙂" * 10, 20), ("привет", 3), ("\ud83d" * 10, 10), ("abcd" * 10, 10)],
)
def test_tokens_are_estimated_by_script(text, tokens):
    assert estimate_tokens(text) == tokens


def test_engines_share_a_stored_budget(database_url):
    def engine():
        sample = Sample("a", usage=Usage(100, 100), finish_reason="stop")
        pool = Pool(["one"], {"one": Price(1000, 1000)}, "one")
        return BestRoute(pool, {"one": FakeGenerator([sample])}, budget=Budget(0.5, store=database_url))

    first, second = engine(), engine()
    assert first.run("hello", max_samples=1).cost_usd == pytest.approx(0.2)
    first.budget.refresh()  # what was settled is noted with it
    assert asyncio.run(second.arun("hello")).cost_usd == pytest.approx(0.2)
    second.budget.refresh()
    assert second.budget.spent_usd == pytest.approx(0.4)
    for each in (first, second):
        each.budget.close()


class Again(Budget):
    """Says everything twice, as after an answer that was lost."""

    def reserve(self, usd, **options):
        return super().reserve(usd, **options) and super().reserve(usd, **options)

    async def areserve(self, usd, **options):
        return await super().areserve(usd, **options) and await super().areserve(usd, **options)

    def settle(self, *arguments, **options):
        super().settle(*arguments, **options)
        super().settle(*arguments, **options)


@pytest.mark.parametrize("native_n", [False, True])
def test_an_engine_names_its_attempts_so_that_none_counts_twice(store, native_n):
    sample = Sample("a", usage=Usage(100, 100), finish_reason="stop")
    generator = FakeGenerator([ConnectionError("broken off"), *[sample] * 6], native_n=native_n)
    pool = Pool(["one"], {"one": Price(1000, 1000)}, "one")
    engine = BestRoute(
        pool,
        {"one": generator},
        lambda query: ("one", 3),
        lambda query, texts: [1.0] * len(texts),
        budget=Again(100.0, store=store),
        settings=Settings(first_wait_s=0.0),
    )
    cost_usd = engine.run("hello").cost_usd + asyncio.run(engine.arun("hello")).cost_usd
    for piece in engine.stream("hello", model="one", n=1):
        last = piece
    engine.budget.refresh()
    assert engine.ledger.cost_usd == pytest.approx(cost_usd + last.cost_usd)
    assert engine.budget.spent_usd == pytest.approx(engine.ledger.cost_usd)
    assert engine.budget.left_usd == pytest.approx(100.0 - engine.ledger.cost_usd)
    engine.budget.close()


def test_threads_share_a_process_s_account(database_url):
    budget = Budget(1.0, store=database_url)
    granted = []

    def work():
        granted.append(budget.reserve(0.1))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 10
    for _ in range(10):
        budget.settle(0.1, 0.1)
    assert budget.close()


@pytest.mark.patient(0.3)
def test_a_locked_store_blocks_no_loop_and_no_deadline(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr("bestroute.billing.budget._PATIENCE_S", 60.0)
    url = f"sqlite:///{tmp_path}/{seconds}.db"
    pool = Pool(["one"], {"one": Price(1, 1)}, "one")
    engine = BestRoute(pool, {"one": FakeGenerator(["a"])}, budget=Budget(1.0, store=url))
    holder = sqlite3.connect(tmp_path / f"{seconds}.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    started = time.monotonic()

    async def run():
        calling = asyncio.ensure_future(engine.arun("hello", deadline_s=seconds))
        await asyncio.sleep(0.05)
        is_waiting = not calling.done()
        with pytest.raises(Exception, match="deadline|budget"):
            await calling
        return is_waiting

    assert asyncio.run(run())
    assert time.monotonic() - started < 50
    holder.execute("ROLLBACK")
    holder.close()
    assert engine.run("hello").text == "a"
    engine.budget.close()


@pytest.mark.parametrize("runs", ["sync", "async"])
def test_a_call_spends_from_its_callers_budget_and_from_the_engines(runs):
    pool = Pool(["one"], {"one": Price(1, 1)}, "one")
    mine, ours = Budget(1.0), Budget(1.0)
    with BestRoute(pool, {"one": FakeGenerator(["a"])}, budget=ours) as engine:
        if runs == "sync":
            result = engine.run("hello", budget=mine)
        else:
            result = asyncio.run(engine.arun("hello", budget=mine))
        engine.run("hello")
    assert 1.0 - mine.left_usd == pytest.approx(result.cost_usd)
    assert 1.0 - ours.left_usd == pytest.approx(2 * result.cost_usd)
    with pytest.raises(BudgetError):
        engine.run("hello", budget=Budget(0.0))
    with pytest.raises(ConfigError, match="budget must be a Budget"):
        engine.run("hello", budget=1.0)
