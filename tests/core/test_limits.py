"""What one call may use: samples, money, time, members; and what happens to draws under way when it ends."""

import asyncio
import contextlib
import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import (
    BestRoute,
    BudgetError,
    ConfigError,
    Delta,
    GenerationError,
    OpenAIGenerator,
    Plan,
    Pool,
    Price,
    Query,
    Result,
    Sample,
    Step,
    Usage,
    Verifier,
)
from bestroute.billing.budget import Budget
from bestroute.testing import FakeGenerator, FakeReward, FakeRouter
from bestroute.types.settings import Limits, Settings

PRICES = {"small": Price(1.0, 2.0), "mid": Price(3.0, 6.0), "large": Price(10.0, 30.0)}
POOL = Pool(["small", "mid", "large"], PRICES, "large")
QUERY = Query("ten tokens", input_tokens=10)
USAGE = Usage(10, 20)
ONE_SMALL, ONE_MID, ONE_LARGE = 50e-6, 150e-6, 700e-6  # 10 in and 20 out at each member's price, USD


def members(**given):
    return {m: given.get(m) or FakeGenerator([f"{m} {i}" for i in range(9)], usage=USAGE) for m in POOL.models}


def engine(router=("small", 1), *, reward=None, settings=None, budget=None, **given):
    if isinstance(router, tuple | Plan):
        decided = router
        router = lambda query: decided  # noqa: E731
    return BestRoute(POOL, members(**given), router, reward, settings=settings, budget=budget)


def by_number():
    return FakeReward(lambda text: float(text.split()[-1]))


NEVER = Verifier(lambda query, text: False)


def drawn(result):
    return [s.model for s in result.samples]


# Samples.


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_max_samples_is_the_most_that_is_drawn_in_all(most):
    plan = Plan((Step("small", 2, 0.9), Step("mid", 1, 0.9), Step("large")))
    result = engine(plan, reward=NEVER).run(QUERY, max_samples=most)
    assert drawn(result) == ["small", "small", "mid", "large"][:most]


def test_of_a_candidate_fewer_are_drawn_and_the_best_of_them_answers():
    result = engine(("small", 5), reward=by_number()).run(QUERY, max_samples=3)
    assert (result.text, len(result.samples)) == ("small 2", 3)


def test_attempts_that_failed_are_no_samples():
    small = FakeGenerator([TimeoutError("late"), "small 1"], usage=USAGE)
    result = engine(settings=Settings(first_wait_s=0.0), small=small).run(QUERY, max_samples=1)
    assert (result.text, len(result.samples)) == ("small 1", 2)


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ({"max_samples": 0}, "max_samples must be a whole number >= 1, got 0"),
        ({"max_samples": 1.5}, "max_samples must be a whole number >= 1, got 1.5"),
        ({"max_cost_usd": -1}, "max_cost_usd must be a number of USD >= 0, got -1"),
        ({"max_cost_usd": float("nan")}, "max_cost_usd must be a number of USD >= 0"),
        ({"deadline_s": "soon"}, "deadline_s must be a number of seconds >= 0, got 'soon'"),
        ({"wave": 0}, "wave must be a whole number >= 1"),
        ({"allow": "small"}, "allow must be a sequence of pool names"),
        ({"allow": []}, "allow must name at least one member"),
        ({"allow": ["smal"]}, "unknown model 'smal'.*Did you mean 'small'"),
        ({"max_sample": 2}, "unknown argument 'max_sample'.*Did you mean 'max_samples'"),
    ],
)
def test_a_limit_that_makes_no_sense_is_named(limit, sentence):
    with pytest.raises(ConfigError, match=sentence):
        engine().run(QUERY, **limit)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"attempts": 0}, "attempts must be a whole number >= 1, got 0"),
        ({"first_wait_s": -1}, "first_wait_s must be a number of seconds >= 0"),
        ({"breaker_failures": True}, "breaker_failures must be a whole number"),
        ({"concurrency": 0}, "concurrency must be a whole number >= 1"),
        ({"concurrency": {"small": 0}}, "concurrency must be a whole number >= 1"),
        ({"over_budget": "ignore"}, "over_budget must be one of 'degrade', 'refuse', got 'ignore'"),
        ({"broken_stream": "hide"}, "broken_stream must be one of 'raise', 'keep'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Settings(**settings)


def test_a_limit_of_an_unknown_member_and_wrong_retries_are_named():
    with pytest.raises(ConfigError, match="unknown concurrency 'smal'"):
        engine(settings=Settings(concurrency={"smal": 2}))
    with pytest.raises(ConfigError, match="max_retries must be a whole number >= 0, got -1"):
        BestRoute(POOL, members(), max_retries=-1)


# Waves.


@pytest.mark.parametrize(("wave", "calls"), [(1, 3), (2, 4), (3, 3), (5, 5)])
def test_a_wave_draws_so_many_before_it_looks(wave, calls):
    small = FakeGenerator([f"small {i}" for i in range(9)], usage=USAGE)
    plan = Plan((Step("small", 5, 1.0), Step("large")))
    accept_third = Verifier(lambda query, text: text == "small 2")
    result = engine(plan, reward=accept_third, small=small).run(QUERY, wave=wave)
    assert result.text == "small 2"
    assert len(result.samples) == len(small.calls) == calls
    everywhere = engine(plan, reward=accept_third, settings=Settings(wave=wave))
    assert len(everywhere.run(QUERY).samples) == calls


def test_a_wave_draws_at_the_same_time():
    barrier = threading.Barrier(3, timeout=60)

    class Meeting(FakeGenerator):
        def generate(self, query, n, *, params, cancel):
            barrier.wait()
            return super().generate(query, n, params=params, cancel=cancel)

    plan = Plan((Step("small", 3, 0.9),))
    result = engine(plan, reward=NEVER, small=Meeting(["x"], usage=USAGE)).run(QUERY, wave=3)
    assert len(result.samples) == 3


# Money.


def test_what_fits_the_budget_is_drawn_and_no_more():
    limited = Query("ten tokens", input_tokens=10, params={"max_tokens": 20})
    result = engine(("small", 5), reward=by_number()).run(limited, max_cost_usd=3.2 * ONE_SMALL)
    assert len(result.samples) == 3
    assert result.cost_usd <= 3.2 * ONE_SMALL
    assert "the budget let nothing more be drawn" in result.decision.reason


def test_where_nobody_tells_a_limit_of_length_the_budget_sets_one():
    small = FakeGenerator(["small 0"], usage=USAGE)
    engine(("small", 5), reward=by_number(), small=small).run(QUERY, max_cost_usd=2.5 * ONE_SMALL)
    # 125e-6 USD: 10e-6 for the prompt leave 57 tokens; 20 of them come, and 75e-6 USD leave 32 for the second
    assert [params["max_tokens"] for params in small.params] == [57, 32]


def test_a_limit_of_the_call_keeps_its_name():
    small = FakeGenerator(["small 0"], usage=USAGE)
    query = Query("ten tokens", input_tokens=10, params={"max_completion_tokens": 1000})
    engine(small=small).run(query, max_cost_usd=ONE_SMALL)
    assert dict(small.params[0]) == {"max_completion_tokens": 20}


def test_where_money_is_plenty_nothing_is_sent_that_was_not_asked_for():
    small = FakeGenerator(["small 0"], usage=USAGE)
    engine(small=small).run(QUERY, max_cost_usd=1.0)
    assert dict(small.params[0]) == {}


def test_a_dearer_step_that_does_not_fit_is_left_out_and_the_best_seen_answers():
    plan = Plan((Step("small", 2, 0.9), Step("large")))
    result = engine(plan, reward=NEVER).run(QUERY, max_cost_usd=4 * ONE_SMALL)
    assert drawn(result) == ["small", "small"]
    assert result.cost_usd <= 4 * ONE_SMALL


def test_a_plan_that_does_not_fit_at_all_gives_way_to_the_dearest_single_sample_that_does():
    result = engine(("large", 1)).run(QUERY, max_cost_usd=ONE_MID)
    assert drawn(result) == ["mid"]
    assert "too little for large x 1, so mid x 1" in result.decision.reason


def test_if_nothing_fits_nothing_is_spent():
    small = FakeGenerator(["small 0"], usage=USAGE)
    it = engine(small=small)
    for call in ({}, {"model": "large"}):
        with pytest.raises(BudgetError, match="nothing was drawn. Raise max_cost_usd"):
            it.run(QUERY, max_cost_usd=1e-9, **call)
    assert (small.calls, it.ledger.rows()) == ([], [])


def test_a_forced_model_is_not_replaced_by_a_cheaper_one():
    with pytest.raises(BudgetError, match="one sample of 'large'"):
        engine().run(QUERY, max_cost_usd=ONE_SMALL, model="large")


def test_the_policy_may_be_to_refuse():
    it = engine(("small", 5), reward=by_number(), settings=Settings(over_budget="refuse"))
    limited = Query("ten tokens", input_tokens=10, params={"max_tokens": 20})
    with pytest.raises(BudgetError, match="could cost 0.00025 USD and 0.0002 USD is left"):
        it.run(limited, max_cost_usd=4 * ONE_SMALL)
    assert it.ledger.rows() == []
    assert len(it.run(limited, max_cost_usd=5 * ONE_SMALL).samples) == 5


def test_a_free_model_fits_every_budget():
    pool = Pool(["local"], {"local": Price(0.0, 0.0)}, "local")
    result = BestRoute(pool, {"local": FakeGenerator(["x"])}).run("hi", max_cost_usd=0.0)
    assert result.cost_usd == 0.0


def test_a_run_has_a_budget_that_all_calls_share():
    it = engine(budget=10 * ONE_SMALL)
    for _ in range(10):
        it.run(QUERY)
    with pytest.raises(BudgetError):
        it.run(QUERY)
    assert it.ledger.cost_usd == pytest.approx(10 * ONE_SMALL, abs=1e-15)
    assert it.budget.left_usd == pytest.approx(0.0, abs=1e-15)


def test_engines_may_share_a_budget_and_threads_never_overspend_it():
    budget = Budget(50 * ONE_SMALL)
    engines = [engine(("small", 3), reward=by_number(), budget=budget) for _ in range(2)]

    def spend(it):
        for _ in range(40):
            try:
                it.run(QUERY)
            except BudgetError:
                return

    threads = [threading.Thread(target=spend, args=(it,)) for it in engines for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = sum(it.ledger.cost_usd for it in engines)
    assert 40 * ONE_SMALL < spent <= 50 * ONE_SMALL + 1e-12
    assert budget.spent_usd == pytest.approx(spent, abs=1e-12)


def test_failed_and_empty_attempts_count_against_the_budget_as_billed():
    empty = Sample("", usage=USAGE)
    small = FakeGenerator([empty, TimeoutError("late"), "small 1"], usage=USAGE)
    it = engine(small=small, settings=Settings(first_wait_s=0.0), budget=1.0)
    assert it.run(QUERY).text == "small 1"
    assert it.budget.spent_usd == pytest.approx(2 * ONE_SMALL, abs=1e-15)
    assert it.budget.left_usd == pytest.approx(1.0 - 2 * ONE_SMALL, abs=1e-12)


def test_a_retry_that_does_not_fit_is_not_made():
    empty = Sample("", usage=USAGE)
    small = FakeGenerator([empty], usage=USAGE)
    limited = Query("ten tokens", input_tokens=10, params={"max_tokens": 20})
    result = engine(small=small, settings=Settings(first_wait_s=0.0)).run(limited, max_cost_usd=1.5 * ONE_SMALL)
    assert (len(small.calls), result.text) == (1, "")


async def test_async_calls_and_streams_keep_to_the_same_budget():
    it = engine(("small", 5), reward=by_number())
    result = await it.arun(QUERY, max_cost_usd=2.5 * ONE_SMALL)
    assert len(result.samples) == 2
    pieces = list(engine().stream(QUERY, max_cost_usd=ONE_SMALL))
    assert isinstance(pieces[-1], Result)
    with pytest.raises(BudgetError):
        list(engine().stream(QUERY, max_cost_usd=1e-9))
    with pytest.raises(BudgetError):
        [piece async for piece in engine().astream(QUERY, max_cost_usd=1e-9)]


# Members.


TABLE = {("small", 1): (0.9, 0.6), ("mid", 1): (0.9, 0.7), ("large", 1): (1.0, 0.9)}


def test_only_members_that_the_call_allows_are_asked():
    router = FakeRouter(TABLE, [20.0] * 3)
    assert engine(router, reward=by_number()).run(QUERY).model == "small"
    assert engine(router, reward=by_number()).run(QUERY, allow=["mid", "large"]).model == "mid"
    assert engine(router, reward=by_number()).run(QUERY, allow=["large"]).model == "large"


def test_a_reference_that_is_not_allowed_is_no_fallback():
    router = FakeRouter({("small", 1): (0.1, 0.3), ("mid", 1): (0.1, 0.5), ("large", 1): 1.0}, [20.0] * 3)
    assert engine(router).run(QUERY).model == "large"
    assert engine(router).run(QUERY, allow=["small", "mid"]).model == "mid"
    broken = {m: FakeGenerator([OSError("down")]) for m in ("small", "mid")}
    large = FakeGenerator(["large"], usage=USAGE)
    with pytest.raises(GenerationError):
        engine(router, large=large, **broken).run(QUERY, allow=["small", "mid"])
    assert large.calls == []


def test_without_a_router_the_dearest_that_is_allowed_answers():
    it = BestRoute(POOL, members())
    assert it.run(QUERY, allow=["small", "mid"]).model == "mid"
    plans = BestRoute(POOL, members(), reward_model=NEVER).route(QUERY, allow=["small", "large"])
    assert plans.plan == Plan((Step("small", 1, 1.0), Step("large")))


def test_a_function_that_chose_a_member_which_is_not_allowed_is_overruled_and_the_reason_says_so():
    decision = engine(("large", 1)).route(QUERY, allow=["small"])
    assert decision.plan == Plan((Step("small"),))
    assert decision.reason == (
        "chosen by the router function (large x 1), without the members that the call does not allow"
    )


def test_a_forced_model_that_is_not_allowed_is_an_error_and_a_wish_gives_way():
    with pytest.raises(ConfigError, match="model='large' is not among the members this call allows, 'small'"):
        engine().run(QUERY, model="large", allow=["small"])
    assert engine().run(QUERY, model="large", reason="a tool turn", allow=["small"]).model == "small"


def test_if_no_plan_of_a_router_is_allowed_it_says_so():
    router = FakeRouter({("small", 1): 0.9, ("large", 1): 1.0}, [20.0] * 3)
    with pytest.raises(ConfigError, match="no plan of the router can be run: 'small': the call does not allow it"):
        engine(router).run(QUERY, allow=["mid"])


def test_a_dry_run_calls_no_model_and_bills_nothing():
    small = FakeGenerator(["small 0"], usage=USAGE)
    it = engine(FakeRouter(TABLE, [20.0] * 3), small=small, reward=NEVER, settings=Settings(dry_run=True))
    result = it.run(QUERY)
    assert result.text.startswith("dry run: small x 1: threshold 0.8")
    assert (result.cost_usd, small.calls, it.ledger.rows()) == (0.0, [], [])
    assert [type(p) for p in it.stream(QUERY)] == [Delta, Result]
    assert asyncio.run(it.arun(QUERY)).text == result.text


# Time.


class Slow(FakeGenerator):
    """Answers when it is let."""

    def __init__(self, answers=("late 1",), *, first_at_once=False):
        super().__init__(list(answers), usage=USAGE)
        self.release = threading.Event()
        self.first_at_once = first_at_once
        self.started = 0

    def generate(self, query, n, *, params, cancel):
        with self._lock:
            self.started += 1
            is_first = self.started == 1
        if not (is_first and self.first_at_once):
            self.release.wait(60)
        return self._take(query, n, params)

    async def agenerate(self, query, n, *, params, cancel):
        self.started += 1
        if not (self.started == 1 and self.first_at_once):
            await asyncio.sleep(60)
        return self._take(query, n, params)

    def stream(self, query, *, params, cancel):
        yield Delta("late ")
        self.release.wait(60)
        yield self._take(query, 1, params)[0]

    async def astream(self, query, *, params, cancel):
        yield Delta("late ")
        await asyncio.sleep(60)


def wait_for(is_true, seconds=60.0):
    waited = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if is_true():
            return
        waited.wait(0.005)
    raise AssertionError("it did not happen in time")


def statuses(it):
    return sorted(row["status"] for row in it.ledger.rows())


@pytest.mark.patient(0.5)
def test_at_the_deadline_the_best_seen_answers_and_the_rest_is_billed_when_it_comes(seconds):
    slow = Slow(first_at_once=True)
    it = engine(("small", 3), reward=by_number(), small=slow)
    result = it.run(QUERY, deadline_s=seconds)
    assert (result.text, len(result.samples)) == ("late 1", 1)
    assert result.decision.reason.endswith("the deadline passed, the best seen so far answers")
    assert statuses(it) == ["ok"]
    slow.release.set()
    wait_for(lambda: len(it.ledger.rows()) == 3)
    assert statuses(it) == ["cancelled", "cancelled", "ok"]
    assert it.ledger.cost_usd == pytest.approx(3 * ONE_SMALL, abs=1e-15)
    assert len({row["run_id"] for row in it.ledger.rows()}) == 1


@pytest.mark.patient(0.3)
def test_if_nothing_came_before_the_deadline_the_error_is_a_timeout(seconds):
    slow = Slow()
    it = engine(small=slow)
    started = time.perf_counter()
    with pytest.raises(GenerationError, match=f"the deadline passed.*no answer within {seconds:g} s") as caught:
        it.run(QUERY, deadline_s=seconds)
    assert time.perf_counter() - started < 50
    assert isinstance(caught.value.failures[-1].error, TimeoutError)
    slow.release.set()
    wait_for(lambda: statuses(it) == ["cancelled"])


def test_after_the_deadline_no_step_is_begun():
    slow, large = Slow(), FakeGenerator(["large"], usage=USAGE)
    plan = Plan((Step("small", 1, 0.5), Step("large")))
    with pytest.raises(GenerationError):
        engine(plan, reward=NEVER, small=slow, large=large).run(QUERY, deadline_s=0.05)
    assert large.calls == []
    slow.release.set()


@pytest.mark.patient(0.5)
async def test_in_a_loop_draws_are_cancelled_at_the_deadline_and_billed(seconds):
    it = engine(("small", 3), reward=by_number(), small=Slow(first_at_once=True))
    result = await it.arun(QUERY, deadline_s=seconds)
    assert result.text == "late 1"
    assert statuses(it) == ["cancelled", "cancelled", "ok"]
    # the two prompts that were sent, 10 tokens each at 1 USD a million
    assert it.ledger.cost_usd == pytest.approx(ONE_SMALL + 2 * 10e-6, abs=1e-15)
    assert result.cost_usd == pytest.approx(it.ledger.cost_usd, abs=1e-15)
    assert others() == []


def others():
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_siblings_stop_at_once_when_their_call_is_cancelled():
    slow = Slow()
    it = engine(("small", 5), reward=by_number(), small=slow)
    task = asyncio.create_task(it.arun(QUERY))
    while slow.started < 5:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert others() == []  # none is left, a turn of the loop after the call has ended
    assert statuses(it) == ["cancelled"] * 5


@pytest.mark.patient(0.5)
async def test_a_draw_that_will_not_stop_is_left_to_itself_and_billed_when_it_ends(seconds):
    release = asyncio.Event()

    class Stubborn(FakeGenerator):
        async def agenerate(self, query, n, *, params, cancel):
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return self._take(query, n, params)

    it = engine(("small", 2), reward=by_number(), small=Stubborn(["x 1"], usage=USAGE))
    with pytest.raises(GenerationError, match="the deadline passed"):
        await it.arun(QUERY, deadline_s=seconds)
    assert statuses(it) == []
    release.set()
    while others():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert statuses(it) == ["cancelled", "cancelled"]
    assert it.ledger.cost_usd == pytest.approx(2 * ONE_SMALL, abs=1e-15)


@pytest.mark.patient(0.5)
async def test_a_generator_that_cannot_wait_is_abandoned_in_its_thread_and_bills_itself(seconds):
    release = threading.Event()

    class SyncOnly:
        native_n = False

        def generate(self, query, n, *, params, cancel):
            release.wait(60)
            return [Sample("x 1", usage=USAGE)]

    it = engine(("small", 2), reward=by_number(), small=SyncOnly())
    with pytest.raises(GenerationError, match="the deadline passed"):
        await it.arun(QUERY, deadline_s=seconds)
    release.set()
    for _ in range(12_000):
        if len(it.ledger.rows()) == 2:
            break
        await asyncio.sleep(0.005)
    assert statuses(it) == ["cancelled", "cancelled"]


@pytest.mark.patient(0.3)
def test_draws_that_wait_for_their_turn_never_start_after_the_end(own_threads, seconds):
    slow = Slow()
    it = engine(("small", 3), reward=by_number(), small=slow, settings=Settings(concurrency=1))
    with pytest.raises(GenerationError):
        it.run(QUERY, deadline_s=seconds)
    slow.release.set()
    wait_for(lambda: len(it.ledger.rows()) == 1 and not own_threads())
    assert slow.started == 1


def test_draws_that_wait_to_be_repeated_never_start_after_the_end(monkeypatch, own_threads):
    small, large = FakeGenerator([TimeoutError("late")]), FakeGenerator([TimeoutError("late")])
    monkeypatch.setattr("bestroute.engine.attempts.backoff_s", lambda made, settings: 30.0)
    it = engine(small=small, large=large, settings=Settings(attempts=9))
    with pytest.raises(GenerationError):
        it.run(QUERY, deadline_s=20)  # at once: there is time for another member, and none for another attempt
    wait_for(lambda: not own_threads())
    assert (len(small.calls), len(large.calls)) == (1, 1)


@pytest.mark.patient(0.3)
def test_a_stream_has_a_deadline_too(own_threads, seconds):
    slow = Slow()
    it = engine(small=slow)
    shown = []
    with pytest.raises(GenerationError, match=f"not done within {seconds:g} s"):
        shown.extend(it.stream(QUERY, deadline_s=seconds))
    assert statuses(it) == ["cancelled"]
    slow.release.set()
    wait_for(lambda: not own_threads())
    kept = Slow()
    pieces = list(engine(small=kept, settings=Settings(broken_stream="keep")).stream(QUERY, deadline_s=seconds))
    kept.release.set()
    assert [p.text for p in pieces] == ["late ", "late "]


@pytest.mark.patient(0.3)
async def test_an_async_stream_has_a_deadline_too(seconds):
    it = engine(small=Slow())
    with pytest.raises(GenerationError, match=f"not done within {seconds:g} s"):
        [piece async for piece in it.astream(QUERY, deadline_s=seconds)]
    assert statuses(it) == ["cancelled"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_waits_for_its_turn_never_starts_after_its_deadline(is_async):
    slow = Slow()
    it = engine(small=slow, settings=Settings(concurrency=1))
    first = threading.Thread(target=it.run, args=(QUERY,))
    first.start()
    wait_for(lambda: slow.started == 1)
    opened = []
    slow.stream = slow.astream = lambda *args, **kwargs: opened.append(args)

    async def arun():
        return [piece async for piece in it.astream(QUERY, deadline_s=0.05)]

    try:
        with pytest.raises(GenerationError, match="the deadline passed"):
            asyncio.run(arun()) if is_async else list(it.stream(QUERY, deadline_s=0.05))
        assert statuses(it) == []  # the first is still under way: nobody waited for it
    finally:
        slow.release.set()
        first.join()
    assert opened == []
    assert statuses(it) == ["ok"]


class Broken(FakeGenerator):
    """Its streams break before their first piece; what they sent is billed."""

    def __init__(self):
        super().__init__(["x"])
        self.opened = 0

    def stream(self, query, *, params, cancel):
        self.opened += 1
        yield Sample("", usage=USAGE, error=ConnectionError("broken"))

    async def astream(self, query, *, params, cancel):
        for piece in self.stream(query, params=params, cancel=cancel):
            yield piece


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_would_be_repeated_after_its_deadline_is_not(is_async, monkeypatch):
    monkeypatch.setattr("bestroute.engine.attempts.backoff_s", lambda made, settings: 30.0)
    small = Broken()
    it = engine(small=small, large=FakeGenerator(["large"], usage=USAGE))

    async def arun():
        return [piece async for piece in it.astream(QUERY, deadline_s=20)]

    pieces = asyncio.run(arun()) if is_async else list(it.stream(QUERY, deadline_s=20))
    assert (pieces[-1].text, small.opened) == ("large", 1)  # there is time for another member


async def test_a_stream_cancelled_before_it_is_repeated_is_billed_and_gives_its_reserve_back(monkeypatch):
    monkeypatch.setattr("bestroute.engine.attempts.backoff_s", lambda made, settings: 30.0)
    small = Broken()
    it = engine(small=small, budget=1.0)

    async def arun():
        return [piece async for piece in it.astream(QUERY)]

    task = asyncio.create_task(arun())
    while not small.opened:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert statuses(it) == ["failed"]
    assert it.budget.spent_usd == pytest.approx(ONE_SMALL, abs=1e-15)
    assert it.budget.left_usd == pytest.approx(1.0 - ONE_SMALL, abs=1e-15)


@pytest.mark.patient(0.5)
@pytest.mark.parametrize("way", ["sync", "a thread", "a coroutine"])
def test_a_reward_model_that_does_not_answer_is_not_waited_for_beyond_the_deadline(way, own_threads, seconds):
    release = threading.Event()

    class Silent:
        def score(self, query, texts):
            release.wait(60)
            return [1.0] * len(texts)

    class SilentCoroutine(Silent):
        async def ascore(self, query, texts):
            await asyncio.sleep(60)

    it = engine(("small", 2), reward=SilentCoroutine() if way == "a coroutine" else Silent())

    async def arun():
        try:
            return await it.arun(QUERY, deadline_s=seconds)
        finally:
            release_in_the_end.append(release.is_set())
            release.set()

    release_in_the_end = []
    if way == "sync":
        result = it.run(QUERY, deadline_s=seconds)
        release_in_the_end.append(release.is_set())
        release.set()
    else:
        result = asyncio.run(arun())
    assert release_in_the_end == [False]  # it had not answered
    assert (result.text, len(result.samples)) == (result.samples[0].text, 2)
    assert f"DeadlineError: no rewards within {seconds:g} s; nothing was scored" in result.decision.reason
    wait_for(lambda: not own_threads())


def test_within_a_deadline_a_reward_model_scores_and_its_errors_have_their_rules():
    assert engine(("small", 3), reward=by_number()).run(QUERY, deadline_s=30).text == "small 2"
    wrong = Verifier(lambda query, text: 2)
    with pytest.raises(ConfigError, match="in \\[0, 1\\]"):
        engine(("small", 3), reward=wrong).run(QUERY, deadline_s=30)
    failing = FakeReward(lambda text: 1 / 0)
    assert "ZeroDivisionError" in engine(("small", 3), reward=failing).run(QUERY, deadline_s=30).decision.reason


def test_draws_for_which_there_is_no_thread_fail_and_the_others_are_billed(monkeypatch):
    begin, begun = threading.Thread.start, []

    def start(self):
        if self.name.startswith("bestroute"):
            begun.append(self)
        if len(begun) > 2:
            raise RuntimeError("can't start new thread")
        begin(self)

    it = engine(("small", 4), reward=by_number(), budget=1.0)
    monkeypatch.setattr(threading.Thread, "start", start)
    result = it.run(QUERY)
    monkeypatch.undo()
    assert (result.text, statuses(it)) == ("small 1", ["failed", "failed", "ok", "ok"])
    assert it.ledger.cost_usd == pytest.approx(2 * ONE_SMALL, abs=1e-15)
    assert it.budget.left_usd == pytest.approx(1.0 - 2 * ONE_SMALL, abs=1e-15)


def test_a_deadline_that_is_not_reached_changes_nothing():
    result = engine(("small", 3), reward=by_number()).run(QUERY, deadline_s=30)
    assert (result.text, result.decision.reason) == ("small 2", "chosen by the router function")
    pieces = list(engine(small=FakeGenerator(["a b c"], usage=USAGE)).stream(QUERY, deadline_s=30))
    assert [p.text for p in pieces[:-1]] == ["a ", "b ", "c "]


# Pace.


@pytest.mark.parametrize("native", [True, False])
def test_no_more_calls_of_a_member_are_under_way_than_its_limit(server, native):
    member = OpenAIGenerator("slow-10-x", base_url=server.base_url, api_key="k")
    pool = Pool(["x"], {"x": Price(1, 1)}, "x")
    settings = Settings(concurrency={"x": 2})
    with BestRoute(pool, {"x": member}, lambda q: ("x", 4), FakeReward(len), settings=settings) as it:
        if native:
            threads = [threading.Thread(target=it.run, args=("hi",)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:

            async def main():
                async with it:
                    await asyncio.gather(*(it.arun("hi") for _ in range(4)))

            asyncio.run(main())
    assert len(server.requests) == 16
    assert server.max_inflight <= 2


def test_threads_are_gone_when_their_call_is(own_threads):
    it = engine(("small", 5), reward=by_number())
    for _ in range(20):
        it.run(QUERY)
    wait_for(lambda: not own_threads())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_goes_on_with_the_same_engine(server):
    pool = Pool(["x"], {"x": Price(1, 1)}, "x")
    member = OpenAIGenerator("x", base_url=server.base_url, api_key="k")
    with BestRoute(pool, {"x": member}, settings=Settings(concurrency=1)) as it:
        it.run("hi")
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if it.run("hi").text and len(it.ledger.rows()) == 2 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert it.run("hi").text
    assert len(server.requests) == 3


def test_limits_are_data_that_can_be_compared():
    assert Limits(allow=["a"]) == Limits(allow=("a",))


# Whatever is asked, no budget is passed.


class Talkative:
    """Answers at any length up to the limit it is given; without one, up to 9000 tokens."""

    native_n = False

    def __init__(self, lengths):
        self.lengths = lengths

    def generate(self, query, n, *, params, cancel):
        wanted = self.lengths.pop() if self.lengths else 9000
        output = min(wanted, params.get("max_tokens", 9000))
        if output == 13:
            raise TimeoutError("bad luck")
        return [Sample("" if output == 7 else f"x {output}", usage=Usage(query.prompt_tokens, output))]


STEPS = st.builds(Step, st.sampled_from(POOL.models), st.integers(1, 5), st.sampled_from([0.3, 0.9]))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STEPS, min_size=1, max_size=3),
    st.lists(st.one_of(st.integers(1, 60), st.integers(1, 9000), st.just(7), st.just(13)), max_size=40),
    st.floats(0, 0.3),
    st.floats(0, 0.5),
    st.integers(1, 3000),
    st.sampled_from([{}, {"max_tokens": 50}, {"max_tokens": 4000}]),
)
def test_no_call_and_no_run_passes_its_budget(steps, lengths, call_usd, run_usd, prompt, params):
    talk = {m: Talkative(lengths) for m in POOL.models}
    reward = FakeReward(lambda text: (int(text.split()[-1]) % 10) / 10, is_probability=True)
    pace = Settings(first_wait_s=0.0)
    it = BestRoute(POOL, talk, lambda query: Plan(tuple(steps)), reward, settings=pace, budget=run_usd)
    for _ in range(3):
        before = it.ledger.cost_usd
        with contextlib.suppress(BudgetError, GenerationError):
            it.run(Query("a prompt", input_tokens=prompt, params=params), max_cost_usd=call_usd)
        assert it.ledger.cost_usd - before <= call_usd * (1 + 1e-9)
    assert it.ledger.cost_usd <= run_usd * (1 + 1e-9)
    assert it.budget.spent_usd == pytest.approx(it.ledger.cost_usd, abs=1e-12)
    assert it.budget.left_usd == pytest.approx(run_usd - it.ledger.cost_usd, abs=1e-12)  # nothing stays reserved


# Interruptions.


@pytest.mark.parametrize("n", [1, 3])
def test_an_interruption_is_billed_and_goes_on_up(n):
    class Interrupted(FakeGenerator):
        def generate(self, query, n, *, params, cancel):
            raise KeyboardInterrupt

    it = engine(("small", n), reward=by_number(), small=Interrupted(["x"]))
    with pytest.raises(KeyboardInterrupt):
        it.run(QUERY)
    wait_for(lambda: len(it.ledger.rows()) == n)
    assert statuses(it) == ["cancelled"] * n
    assert all(row["estimated"] and row["input_tokens"] == 10 for row in it.ledger.rows())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_stream_that_came_whole_is_the_answer_though_its_close_fails():
    class Pieces:
        def __init__(self, pieces):
            self.pieces = iter(pieces)

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.pieces)

        def close(self):
            raise OSError("the socket is gone")

    class Member(FakeGenerator):
        def stream(self, query, *, params, cancel):
            return Pieces(list(super().stream(query, params=params, cancel=cancel)))

    pool = Pool(["x"], {"x": Price(1, 1)}, "x")
    it = BestRoute(pool, {"x": Member(["whole"])})
    *_, result = it.stream("hi", deadline_s=60)
    assert result.text == "whole"
    assert [row["status"] for row in it.ledger.rows()] == ["ok"]
