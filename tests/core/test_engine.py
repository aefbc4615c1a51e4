import asyncio
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest

from bestroute import (
    BestRoute,
    Candidate,
    ConfigError,
    Delta,
    GenerationError,
    Ledger,
    MajorityVote,
    NotTunedError,
    Plan,
    QualityPolicy,
    Query,
    Result,
    Sample,
    Step,
    ThresholdPolicy,
    Usage,
    Verifier,
)
from bestroute.engine.decider import NO_ROUTER
from bestroute.testing import FakeGenerator, FakeReward, FakeRouter


def members(**answers):
    return {name: FakeGenerator(answers.get(name, [name])) for name in ("small", "mid", "large")}


def longest():
    return FakeReward(len)


TABLE = {("small", 1): 0.3, ("small", 3): 0.7, ("mid", 1): 0.9, ("large", 1): 1.0}
TOKENS = [10.0, 20.0, 30.0]


def test_best_of_n_keeps_the_highest_reward_and_bills_every_sample(pool):
    generators = members(small=["ok", "longest", "mid"])
    engine = BestRoute(pool, generators, router=lambda q: ("small", 3), reward_model=longest())
    result = engine.run("say something")
    assert result.text == "longest"
    assert result.usage == Usage(input=6, output=3)  # three calls of two words, one word each
    assert result.cost_usd == pytest.approx((6 * 1.0 + 3 * 2.0) / 1e6, abs=1e-15)
    assert len(engine.ledger.rows()) == 3
    assert engine.ledger.cost_usd == pytest.approx(result.cost_usd, abs=1e-15)


def test_a_provider_that_samples_natively_is_asked_once_and_bills_the_prompt_once(pool):
    generators = members()
    generators["small"] = FakeGenerator(["a", "bb", "c"], native_n=True)
    engine = BestRoute(pool, generators, router=lambda q: ("small", 3), reward_model=longest())
    result = engine.run("say something")
    assert generators["small"].calls == [("say something", 3)]
    assert result.usage == Usage(input=2, output=3)


def test_samples_for_n_1_need_no_scoring(pool):
    reward = longest()
    BestRoute(pool, members(), router=lambda q: ("small", 1), reward_model=reward).run("?")
    assert reward.scored == []


def test_draws_that_wait_for_nothing_run_at_the_same_time(pool):
    barrier = threading.Barrier(4, timeout=60)

    class Meeting(FakeGenerator):
        def generate(self, query, n, *, params, cancel):
            barrier.wait()
            return super().generate(query, n, params=params, cancel=cancel)

    generators = {**members(), "small": Meeting(["a"])}
    result = BestRoute(pool, generators, router=lambda q: ("small", 4), reward_model=longest()).run("?")
    assert len(result.samples) == 4


async def test_async_draws_run_at_the_same_time_and_do_not_block_the_loop(pool):
    class Meeting(FakeGenerator):
        arrived, everyone = 0, asyncio.Event()

        async def agenerate(self, query, n, *, params, cancel):
            self.arrived += 1
            if self.arrived == 5:
                self.everyone.set()
            await asyncio.wait_for(self.everyone.wait(), timeout=60)
            return await super().agenerate(query, n, params=params, cancel=cancel)

    generators = {**members(), "small": Meeting(["a"])}
    engine = BestRoute(pool, generators, router=lambda q: ("small", 5), reward_model=longest())
    assert len((await engine.arun("?")).samples) == 5


async def test_a_generator_that_cannot_wait_is_run_in_a_thread(pool):
    seen = []

    class SyncOnly:
        native_n = False

        def generate(self, query, n, *, params, cancel):
            seen.append(threading.current_thread() is threading.main_thread())
            return [Sample("a", usage=Usage(1, 1))]

    engine = BestRoute(pool, {**members(), "small": SyncOnly()}, router=lambda q: ("small", 2), reward_model=longest())
    assert (await engine.arun("?")).text == "a"
    assert seen == [False, False]
    assert [type(p) for p in engine.stream("?", n=1)] == [Delta, Result]


def test_sync_and_async_give_the_same(pool):
    def engine():
        table = {**members(), "small": FakeGenerator(["a", "ccc", "bb"], native_n=True)}
        return BestRoute(pool, table, router=lambda q: ("small", 3), reward_model=longest())

    one, two = engine().run("hello you"), asyncio.run(engine().arun("hello you"))
    assert one.call_id != two.call_id
    assert {**one.to_dict(), "call_id": ""} == {**two.to_dict(), "call_id": ""}


def test_one_failed_sample_does_not_lose_the_rest(pool):
    generators = members(small=[RuntimeError("no"), "a", "bb"])
    engine = BestRoute(pool, generators, router=lambda q: ("small", 3), reward_model=longest())
    result = engine.run("?")
    assert result.text == "bb"
    rows = engine.ledger.rows()
    assert sorted(row["status"] for row in rows) == ["failed", "ok", "ok"]
    failed = next(row for row in rows if row["status"] == "failed")
    assert (failed["error"], failed["cost_usd"], failed["estimated"]) == ("RuntimeError: no", 0.0, True)


def test_if_all_fail_the_error_holds_each(pool):
    generators = members(small=[RuntimeError("one"), KeyError("two")], large=[OSError("three")])
    engine = BestRoute(pool, generators, router=lambda q: ("small", 2), reward_model=longest())
    with pytest.raises(GenerationError) as caught:
        engine.run("?")
    assert [f.model for f in caught.value.failures] == ["small", "small", "large"]
    assert {type(f.error) for f in caught.value.failures} == {RuntimeError, KeyError, OSError}
    assert isinstance(caught.value.__cause__, OSError)


def test_a_generator_that_returns_too_few_samples_is_named(pool):
    class Short(FakeGenerator):
        def generate(self, query, n, *, params, cancel):
            return super().generate(query, n, params=params, cancel=cancel)[:1]

    generators = {**members(), "small": Short(["a"], native_n=True)}
    engine = BestRoute(pool, generators, router=lambda q: ("small", 3), reward_model=longest())
    result = engine.run("?")
    assert result.text == "a"
    assert "'small' was asked for 3 samples, got 1" in str(result.samples[1].error)


def test_a_sample_without_usage_is_billed_by_estimate_and_says_so(pool):
    generators = {**members(), "small": FakeGenerator([Sample("four")])}
    engine = BestRoute(pool, generators, router=lambda q: ("small", 1))
    result = engine.run("a prompt of words")
    assert result.usage == Usage(input=5, output=1, estimated=True)
    assert engine.ledger.rows()[0]["estimated"] is True


def test_a_nan_reward_never_wins(pool):
    generators = members(small=["nan", "0.1"])
    engine = BestRoute(pool, generators, router=lambda q: ("small", 2), reward_model=FakeReward(float))
    assert engine.run("?").text == "0.1"


def test_a_reward_model_that_returns_the_wrong_number_is_named(pool):
    engine = BestRoute(pool, members(), router=lambda q: ("small", 2), reward_model=lambda q, t: [1.0])
    with pytest.raises(ConfigError, match="was given 2 texts and returned 1 rewards"):
        engine.run("?")


# Deciding.


def test_a_router_and_a_threshold_decide_by_algorithm_1(pool):
    router = FakeRouter(TABLE, TOKENS)
    at = {}
    for t in (0.2, 0.6, 0.8, 0.95):
        engine = BestRoute(pool, members(), router, longest(), threshold=t)
        at[t] = engine.route("a short question").plan.candidate
    assert at == {
        0.2: Candidate("small", 1),
        0.6: Candidate("small", 3),
        0.8: Candidate("mid", 1),
        0.95: Candidate("large", 1),
    }


def test_route_calls_no_model(pool):
    generators = members()
    BestRoute(pool, generators, FakeRouter(TABLE, TOKENS), longest()).route("?")
    assert all(g.calls == [] for g in generators.values())


def test_a_decision_is_plain_json_and_explains_every_plan(pool):
    decision = BestRoute(pool, members(), FakeRouter(TABLE, TOKENS), longest(), threshold=0.6).route("?")
    told = json.loads(json.dumps(decision.to_dict()))
    assert told["plan"] == [{"model": "small", "n": 3, "accept": None}]
    assert len(told["plans"]) == 4
    words = decision.explain()
    assert "small x 3" in words.splitlines()[0]
    assert "below the threshold 0.6; valid at 0.300 or less" in words
    assert "taken: the cheapest that reaches 0.6; out at a threshold above 0.700" in words
    assert "reaches 0.6, but costs more" in words


def test_a_quality_decision_says_at_which_price_it_flips(pool):
    decision = BestRoute(pool, members(), FakeRouter(TABLE, TOKENS), longest(), QualityPolicy(1e-5)).route("?")
    assert "taken at a price" in decision.explain()


def test_the_prompt_length_reaches_the_cost(pool):
    engine = BestRoute(pool, members(), FakeRouter(TABLE, TOKENS), longest(), threshold=0.2)
    short, long = engine.route(Query("?", input_tokens=10)), engine.route(Query("?", input_tokens=10_000))
    # small x 1: 10 tokens of output at 2 USD a million
    assert short.estimated_cost_usd == pytest.approx((10 * 1 + 10 * 2) / 1e6)
    assert long.estimated_cost_usd == pytest.approx((10_000 * 1 + 10 * 2) / 1e6)


def test_no_router_means_the_reference(pool):
    engine = BestRoute(pool, members())
    decision = engine.route("?")
    assert (decision.plan, decision.reason) == (pool.reference_plan, NO_ROUTER)


def test_no_router_with_a_reward_that_needs_no_training_tries_the_cheaper_models_in_price_order(pool):
    engine = BestRoute(pool, members(mid=["right"]), reward_model=Verifier(lambda q, text: text == "right"))
    result = engine.run("?")
    assert result.decision.plan == Plan((Step("small", 1, 1.0), Step("mid", 1, 1.0), Step("large")))
    assert (result.text, [s.model for s in result.samples]) == ("right", ["small", "mid"])


def test_no_router_with_an_untrained_function_means_the_reference(pool):
    assert BestRoute(pool, members(), reward_model=longest()).route("?").plan == pool.reference_plan


@pytest.mark.parametrize("returned", [("small", 2), Candidate("small", 2), Plan((Step("small", 2),))])
def test_a_router_function_decides_alone(pool, returned):
    engine = BestRoute(pool, members(), router=lambda q: returned, reward_model=longest())
    assert engine.route("?").plan.candidate == Candidate("small", 2)


@pytest.mark.parametrize("way", ["aroute", "arun", "astream"])
async def test_a_slow_router_function_does_not_hold_the_loop(pool, way):
    went_on = threading.Event()

    def slow(query):
        return ("small" if went_on.wait(timeout=60) else "large", 1)

    async def ask(engine):
        if way == "astream":
            return [piece async for piece in engine.astream("?")][-1].model
        answer = await getattr(engine, way)("?")
        return answer.model

    asking = asyncio.create_task(ask(BestRoute(pool, members(), router=slow)))
    await asyncio.sleep(0.01)  # it is deciding
    went_on.set()
    assert await asking == "small"


@pytest.mark.parametrize("told", [{"policy": ThresholdPolicy(0.5)}, {"threshold": 0.5}, {"max_drop": 0.1}])
def test_a_policy_beside_a_router_function_or_no_router_is_refused(pool, told):
    with pytest.raises(ConfigError, match="a router function decides alone"):
        BestRoute(pool, members(), router=lambda q: ("small", 1), **told)
    with pytest.raises(ConfigError, match="there is no router"):
        BestRoute(pool, members(), **told)


def test_only_one_of_policy_threshold_and_max_drop(pool):
    with pytest.raises(ConfigError, match="give one of policy, threshold and max_drop"):
        BestRoute(pool, members(), FakeRouter(TABLE, TOKENS), longest(), threshold=0.5, max_drop=0.1)


def test_a_promise_needs_a_tuned_router(pool):
    with pytest.raises(NotTunedError, match="bestroute tune"):
        BestRoute(pool, members(), FakeRouter(TABLE, TOKENS), longest(), max_drop=0.01)


def test_a_plan_that_chooses_needs_a_reward(pool):
    with pytest.raises(ConfigError, match="'small x 3' has to choose among samples and there is no reward_model"):
        BestRoute(pool, members(), FakeRouter(TABLE, TOKENS))
    engine = BestRoute(pool, members(), router=lambda q: ("small", 3))
    with pytest.raises(ConfigError, match="there is no reward_model"):
        engine.run("?")


def test_accept_needs_a_calibrated_reward(pool):
    plan = Plan((Step("small", 2, 0.5), Step("large")))
    with pytest.raises(ConfigError, match="needs a calibrated reward, and FakeReward is not"):
        BestRoute(pool, members(), router=lambda q: plan, reward_model=longest()).run("?")


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (("smal", 1), "unknown model 'smal'.*Did you mean 'small'"),
        (("small", 6), r"n must be in 1\.\.5"),
        (("small", 0), "n must be >= 1, got 0"),
        (None, "got None"),
    ],
)
def test_what_a_router_function_returns_is_checked(pool, returned, sentence):
    engine = BestRoute(pool, members(), router=lambda q: returned, reward_model=longest())
    with pytest.raises(ConfigError, match=sentence):
        engine.route("?")


@pytest.mark.parametrize("count", [-1, math.nan, math.inf])
def test_a_prompt_length_that_is_no_count_is_refused(count):
    with pytest.raises(ConfigError, match="input_tokens must be a count"):
        Query("hi", input_tokens=count)


def test_an_empty_query_is_refused_and_messages_alone_are_not():
    for empty in ("", "  \n"):
        with pytest.raises(ConfigError, match="the text is empty"):
            Query(empty)
    assert Query("", messages=["an image"]).text == ""


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"ledger": {"url": "bills.db"}}, r"ledger must be a Ledger, its path or its URL, .* got {'url': 'bills.db'}"),
        ({"ledger": "mysql://x"}, r"a ledger is kept in a file, .* got 'mysql://x'"),
        ({"settings": {"attempts": 2}}, r"settings must be a Settings, .* got {'attempts': 2}"),
    ],
)
def test_a_wrong_part_is_named_before_anything_is_spent(pool, part, sentence):
    with pytest.raises(ConfigError, match=sentence):
        BestRoute(pool, members(), **part)


@pytest.mark.parametrize("kind", [str, Path])
def test_the_ledger_of_an_engine_may_be_its_path(pool, tmp_path, kind):
    with BestRoute(pool, members(), ledger=kind(tmp_path / "bills.db")) as engine:
        call_id = engine.run("?").call_id
        engine.feedback(call_id, 1.0)
    assert {row["call_id"] for row in Ledger(tmp_path / "bills.db").rows()} == {call_id}


def test_a_missing_generator_and_a_wrong_router_are_named(pool):
    with pytest.raises(ConfigError, match="none for 'large'"):
        BestRoute(pool, {"small": FakeGenerator(["a"]), "mid": FakeGenerator(["a"])})
    with pytest.raises(ConfigError, match="router must be a Router"):
        BestRoute(pool, members(), router=3)


def test_a_call_may_force_the_model_and_n(pool):
    engine = BestRoute(pool, members(), router=lambda q: ("small", 3), reward_model=longest())
    assert engine.route("?", model="mid").plan.candidate == Candidate("mid", 3)
    assert engine.route("?", n=2).plan.candidate == Candidate("small", 2)
    assert engine.route("?", model="large", n=1).reason == "forced by the call: model='large' and n=1"
    with pytest.raises(ConfigError, match="unknown model 'gpt'"):
        engine.route("?", model="gpt")


def test_models_that_cannot_do_what_the_query_needs_are_left_out(pool):
    class NoTools(FakeGenerator):
        def lacks(self, query):
            return "it cannot call tools" if query.tools else None

    generators = {**members(), "small": NoTools(["a"]), "mid": NoTools(["a"])}
    engine = BestRoute(pool, generators, FakeRouter(TABLE, TOKENS), longest(), threshold=0.2)
    assert engine.route("?").plan.candidate == Candidate("small", 1)
    decision = engine.route(Query("?", tools=["add"]))
    assert decision.plan == pool.reference_plan
    assert "small was left out: it cannot call tools" in decision.explain()


# What the reference would have cost.


def test_the_reference_cost_is_exact_when_the_reference_answered(pool):
    result = BestRoute(pool, members()).run("two words")
    assert result.reference_cost_usd == result.cost_usd
    assert not result.reference_cost_is_estimated


def test_the_reference_cost_is_its_input_price_and_its_predicted_tokens(pool):
    engine = BestRoute(pool, members(), FakeRouter(TABLE, TOKENS), longest(), threshold=0.2)
    result = engine.run("two words")
    assert result.model == "small"
    assert result.reference_cost_usd == pytest.approx((2 * 10 + 30 * 30) / 1e6, abs=1e-15)
    assert result.reference_cost_is_estimated
    assert engine.ledger.reference_cost_usd == pytest.approx(result.reference_cost_usd, abs=1e-15)


# Streaming.


def test_n_1_streams_and_n_more_emits_the_winner_once(pool):
    generators = members(small=["one two three"])
    engine = BestRoute(pool, generators, router=lambda q: ("small", 1), reward_model=longest())
    pieces = list(engine.stream("?"))
    assert [p.text for p in pieces[:-1]] == ["one ", "two ", "three "]
    assert isinstance(pieces[-1], Result)
    pieces = list(engine.stream("?", n=3))
    assert [type(p) for p in pieces] == [Delta, Result]
    assert len(engine.ledger.rows()) == 4


async def test_async_streams_are_the_same(pool):
    engine = BestRoute(pool, members(small=["one two"]), router=lambda q: ("small", 1))
    pieces = [piece async for piece in engine.astream("?")]
    assert [p.text for p in pieces[:-1]] == ["one ", "two "]
    assert len(engine.ledger.rows()) == 1


def test_an_abandoned_stream_is_billed_as_cancelled(pool):
    engine = BestRoute(pool, members(small=["one two three"]), router=lambda q: ("small", 1))
    stream = engine.stream("?")
    next(stream)
    stream.close()
    (row,) = engine.ledger.rows()
    assert (row["status"], row["estimated"], row["output_tokens"] >= 1) == ("cancelled", True, True)


def test_a_stream_that_breaks_raises_and_is_billed(pool):
    class Breaks(FakeGenerator):
        def stream(self, query, *, params, cancel):
            yield Delta("half an ")
            raise ConnectionError("gone")

    engine = BestRoute(pool, {**members(), "small": Breaks(["x"])}, router=lambda q: ("small", 1))
    with pytest.raises(GenerationError, match="ConnectionError: gone"):
        list(engine.stream("?"))
    assert engine.ledger.rows()[0]["status"] == "failed"
    assert engine.ledger.rows()[0]["output_tokens"] > 0


def test_threads_share_an_engine(pool):
    engine = BestRoute(pool, members(), router=lambda q: ("small", 2), reward_model=longest(), ledger=Ledger())
    threads = [threading.Thread(target=lambda: [engine.run("?") for _ in range(20)]) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engine.ledger.rows()) == 12 * 20 * 2


def test_a_policy_of_ones_own_is_enough(pool):
    class Dearest:
        def choose(self, prediction, cost_usd, pool):
            return np.argmax(cost_usd, axis=1)

        def __str__(self):
            return "the dearest"

    decision = BestRoute(pool, members(), FakeRouter(TABLE, TOKENS), longest(), Dearest()).route("?")
    assert decision.plan.candidate == Candidate("large", 1)
    assert "the dearest" in decision.explain()


def test_votes_choose_among_samples(pool):
    generators = {**members(), "small": FakeGenerator(["5", "4", "4"], native_n=True)}
    engine = BestRoute(pool, generators, router=lambda q: ("small", 3), reward_model=MajorityVote())
    result = engine.run("2 + 2?")
    assert (result.text, result.chosen) == ("4", 1)


async def test_a_cancelled_call_bills_what_was_under_way(pool):
    class Stuck(FakeGenerator):
        drawn, all_are_drawn = 0, asyncio.Event()

        async def agenerate(self, query, n, *, params, cancel):
            self.drawn += 1
            if self.drawn == 1:
                return await super().agenerate(query, n, params=params, cancel=cancel)
            if self.drawn == 3:
                self.all_are_drawn.set()
            await asyncio.sleep(60)

    engine = BestRoute(
        pool, {**members(), "small": Stuck(["a"])}, router=lambda q: ("small", 3), reward_model=longest()
    )
    task = asyncio.create_task(engine.arun(Query("two words", input_tokens=100)))
    await Stuck.all_are_drawn.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rows = engine.ledger.rows()
    assert [row["status"] for row in rows] == ["ok", "cancelled", "cancelled"]
    assert [row["estimated"] for row in rows] == [False, True, True]
    assert [row["input_tokens"] for row in rows] == [2, 100, 100]
    assert all(task is asyncio.current_task() or task.done() for task in asyncio.all_tasks())


def test_a_stream_that_comes_whole_is_one_piece(pool):
    class Whole(FakeGenerator):
        def stream(self, query, *, params, cancel):
            yield from self.generate(query, 1, params=params, cancel=cancel)

    engine = BestRoute(pool, {**members(), "small": Whole(["a b"])}, router=lambda q: ("small", 1))
    assert [p.text for p in engine.stream("?")] == ["a b", "a b"]


async def test_a_stream_tells_its_decision_before_anything_is_drawn(pool):
    generator = FakeGenerator(["a"])
    made = []
    with BestRoute(pool, dict.fromkeys(pool.models, generator)) as engine:
        stream = engine.astream("hi", on_decision=lambda *decision: made.append((*decision, len(generator.calls))))
        *_, result = [item async for item in stream]
    ((decision, call_id, calls),) = made
    assert (decision.plan, call_id, calls) == (result.decision.plan, result.call_id, 0)


async def test_a_ledger_that_the_engine_opened_is_closed_with_it_and_one_of_the_user_is_not(pool, tmp_path):
    def writers():
        return [thread for thread in threading.enumerate() if thread.name == "bestroute-writer"]

    generators = {model: FakeGenerator(["yes"]) for model in pool.models}
    before = set(writers())
    engine = BestRoute(pool, generators, ledger=tmp_path / "own.db")
    engine.run("hi")
    assert set(writers()) - before
    engine.close()
    assert not set(writers()) - before
    await engine.arun("hi")
    await engine.aclose()
    assert not set(writers()) - before
    assert len(engine.ledger.rows()) == 2
    with Ledger(tmp_path / "users.db") as ledger:
        engine = BestRoute(pool, generators, ledger=ledger)
        engine.run("hi")
        engine.close()
        assert set(writers()) - before
