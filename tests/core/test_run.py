"""A run ends in the stated way, with its bill, whatever the code of others in it does."""

import asyncio
import threading
import time

import numpy as np
import pytest

from bestroute import (
    BestRoute,
    ConfigError,
    Delta,
    GenerationError,
    Ledger,
    MajorityVote,
    Plan,
    Pool,
    Price,
    Sample,
    Settings,
    Step,
    Usage,
)
from bestroute.engine.decider import NO_ROUTER
from bestroute.errors import DeadlineError
from bestroute.testing import FakeGenerator, FakeReward, FakeRouter

POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, "large")
USAGE = Usage(10, 5)
ONE_SMALL = (10 * 1 + 5 * 2) / 1e6


class Boom(BaseException):
    pass


FOREIGN = [StopIteration(), StopAsyncIteration(), SystemExit(3), Boom(), asyncio.CancelledError(), RuntimeError("?")]


def engine(router=("small", 1), *, small=None, large=None, reward=None, **options):
    members = {
        "small": small or FakeGenerator(["small"], usage=USAGE),
        "large": large or FakeGenerator(["large"], usage=USAGE),
    }
    choose = (lambda query: router) if isinstance(router, tuple | Plan) else router
    return BestRoute(POOL, members, choose, reward, **options)


def within(seconds, coroutine):
    """Run a coroutine that would else hang."""
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


async def last(items):
    return [item async for item in items][-1]


WAYS = {
    "run": lambda it, **options: it.run("hi", **options),
    "arun": lambda it, **options: within(20, it.arun("hi", **options)),
    "stream": lambda it, **options: list(it.stream("hi", **options))[-1],
    "astream": lambda it, **options: within(20, last(it.astream("hi", **options))),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
foreign = pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)


class Member:
    """Does what it is told, in all four ways."""

    native_n = True

    def __init__(self, work):
        self.work, self.params = work, []

    def generate(self, query, n, *, params, cancel):
        return self.work(n)

    async def agenerate(self, query, n, *, params, cancel):
        return self.work(n)

    def stream(self, query, *, params, cancel):
        yield from self.work(1)

    async def astream(self, query, *, params, cancel):
        for piece in self.work(1):
            yield piece


def raising(error):
    def work(*_):
        raise error

    return work


# What others raise.


@foreign
@ways
@pytest.mark.parametrize("options", [{}, {"deadline_s": 20}])
def test_a_member_that_raises_anything_has_failed_and_another_answers(way, error, options):
    it = engine(small=Member(raising(error)))
    assert way(it, **options).text == "large"
    assert [row["status"] for row in it.ledger.rows()] == ["failed", "ok"]


@foreign
@ways
@pytest.mark.parametrize("options", [{}, {"deadline_s": 20}])
def test_a_router_that_raises_anything_costs_no_answer(way, error, options):
    result = way(engine(raising(error)), **options)
    assert result.text == "large"
    assert f"the router failed ({type(error).__name__}" in result.decision.reason


class Policy:
    def __init__(self, choose):
        self.choose = choose


def predicted(policy):
    router = FakeRouter({("small", 1): 0.9, ("large", 1): 1.0}, [9, 9])
    members = {"small": FakeGenerator(["small"], usage=USAGE), "large": FakeGenerator(["large"], usage=USAGE)}
    return BestRoute(POOL, members, router, policy=policy)


@foreign
@ways
@pytest.mark.parametrize("options", [{}, {"deadline_s": 20}])
def test_a_policy_that_raises_anything_costs_no_answer(way, error, options):
    result = way(predicted(Policy(raising(error))), **options)
    assert result.text == "large"
    assert f"the policy failed ({type(error).__name__}" in result.decision.reason


@pytest.mark.parametrize("chosen", [[7], [-1], 0, [None], [], [0.5]])
def test_a_policy_that_returns_the_index_of_no_plan_costs_no_answer(chosen):
    result = predicted(Policy(lambda *_: chosen)).run("hi")
    assert (result.text, "the policy failed" in result.decision.reason) == ("large", True)


def test_a_router_that_returns_no_prediction_is_named():
    class Router:
        def predict(self, queries):
            return None

    with pytest.raises(ConfigError, match="must return a Prediction, got NoneType"):
        engine(Router()).run("hi")


class Reward:
    range = (0.0, 1.0)

    def __init__(self, work):
        self.work = work

    def score(self, query, texts):
        return self.work(query, texts)


class AsyncReward(Reward):
    async def ascore(self, query, texts):
        return self.work(query, texts)


class Calibration(Reward):
    def calibrated(self, rewards):
        return self.work()

    def score(self, query, texts):
        return [0.5] * len(texts)


@foreign
@ways
@pytest.mark.parametrize("kind", [Reward, AsyncReward, Calibration])
def test_a_reward_model_that_raises_anything_accepts_nothing(way, error, kind):
    plan = Plan((Step("small", 1, 0.5), Step("large")))
    for options in ({}, {"deadline_s": 20}):
        it = engine(plan, reward=kind(raising(error)))
        assert way(it, **options).text == "large"
        assert len(it.ledger.rows()) == 2


def test_a_reward_that_breaks_off_while_it_is_read_scores_nothing():
    def half(query, texts):
        yield 1.0
        raise SystemExit

    result = engine(("small", 2), reward=Reward(half)).run("hi")
    assert "SystemExit" in result.decision.reason
    assert [s.reward is not None and np.isfinite(s.reward) for s in result.samples] == [False, False]


# Between a reply and its bill.


def broken_off(n):
    yield Sample("came", usage=USAGE)
    raise RuntimeError("the second choice cannot be read")


@pytest.mark.parametrize("way", [WAYS["run"], WAYS["arun"]])
def test_what_a_member_handed_over_before_it_raised_is_kept_and_billed(way):
    it = engine(("small", 2), small=Member(broken_off), reward=FakeReward(len))
    assert way(it).text == "came"
    assert [(row["status"], row["cost_usd"]) for row in it.ledger.rows()] == [
        ("ok", pytest.approx(ONE_SMALL)),
        ("failed", 0.0),
    ]


@ways
def test_a_stream_that_raises_after_its_sample_has_come_whole(way):
    it = engine(small=Member(broken_off))
    assert way(it).text == "came"
    assert [row["status"] for row in it.ledger.rows()] == ["ok"] * len(it.ledger.rows())


class Unreadable:
    @property
    def tool_calls(self):
        raise RecursionError("too deep")


def test_a_sample_that_cannot_be_checked_has_a_flaw_and_keeps_its_bill():
    it = engine(small=Member(lambda n: [Sample("", Unreadable(), USAGE)]))
    result = it.run("hi", model="small")
    assert result.samples[0].flaw == "could not be checked: RecursionError: too deep"
    assert result.cost_usd == it.ledger.cost_usd == pytest.approx(ONE_SMALL)


class NotANumber(Usage):
    def __post_init__(self):
        pass


@pytest.mark.parametrize("usage", [NotANumber(float("nan"), 1), Usage(10**400, 1), {"input": 5}, "many"])
def test_a_usage_of_no_use_is_estimated_and_the_answer_kept(usage):
    it = engine(small=Member(lambda n: [Sample("four words are here", usage=usage)]))
    assert it.run("hi").text == "four words are here"
    (row,) = it.ledger.rows()
    assert (row["status"], row["estimated"], row["output_tokens"]) == ("ok", True, 5)


@pytest.mark.parametrize("returned", [[None], ["text"], [{"text": "x"}], None, 7])
def test_what_is_no_sample_is_a_failed_draw(returned):
    it = engine(small=Member(lambda n: returned))
    assert it.run("hi").text == "large"
    assert [row["status"] for row in it.ledger.rows()] == ["failed", "ok"]


class OneWay:
    """A ledger of the user's: it has ``add`` alone, and raises until it is mended."""

    def __init__(self, error=None):
        self.error, self.written = error, []

    def add(self, rows):
        if self.error is not None:
            raise self.error
        self.written += rows


@ways
def test_a_ledger_that_raises_costs_no_answer_and_no_row(way):
    ledger = OneWay(OSError("full"))
    it = engine(ledger=ledger)
    assert way(it).text == "small"
    ledger.error = None
    assert way(it).text == "small"
    assert sorted(row["model"] for row in ledger.written) == ["small", "small"]


@ways
@pytest.mark.patient(0.5)
def test_a_deadline_binds_a_ledger_that_does_not_answer(way, seconds):
    release = threading.Event()

    class Locked(OneWay):
        def add(self, rows):
            release.wait(60)
            super().add(rows)

    ledger = Locked()
    result = way(engine(ledger=ledger), deadline_s=seconds)
    assert (result.text, ledger.written) == ("small", [])
    release.set()
    deadline = time.monotonic() + 60
    while not ledger.written and time.monotonic() < deadline:
        time.sleep(0.005)
    assert [row["model"] for row in ledger.written] == ["small"]


@pytest.mark.parametrize("way", [WAYS["arun"], WAYS["astream"]])
def test_a_deadline_binds_a_router_and_nothing_is_drawn(way):
    release = threading.Event()
    it = engine(lambda query: release.wait(30))
    with pytest.raises(TimeoutError, match=r"did not decide within 0\.1 s"):
        way(it, deadline_s=0.1)
    assert not release.is_set()
    release.set()
    assert it.ledger.rows() == []


def test_the_error_of_a_deadline_is_a_timeout_and_holds_what_failed():
    release = threading.Event()
    it = engine(small=Member(lambda n: release.wait(30) and []))
    with pytest.raises(TimeoutError) as caught:
        it.run("hi", deadline_s=0.05)
    release.set()
    assert isinstance(caught.value, DeadlineError | GenerationError)
    assert isinstance(caught.value.failures[-1].error, DeadlineError)


# Limits.


def test_samples_that_nobody_asked_for_are_paid_and_left_aside():
    five = Member(lambda n: [Sample(f"{i}", usage=USAGE) for i in range(5)])
    it = engine(("small", 3), small=five, reward=FakeReward(float))
    result = it.run("hi", max_samples=2)
    assert (result.text, len(result.samples), len(five.params)) == ("1", 2, 0)
    assert result.cost_usd == it.ledger.cost_usd == pytest.approx(5 * ONE_SMALL)
    assert result.usage == Usage(50, 25)


def test_call_parameters_that_a_member_changes_stay_its_own():
    from bestroute import Query

    class Changing(FakeGenerator):
        def generate(self, query, n, *, params, cancel):
            params["stop"].append("END")
            params["extra"] = {"deep": params.pop("options")}
            params["extra"]["deep"]["a"] = 2
            return super().generate(query, n, params=params, cancel=cancel)

    params = {"stop": ["."], "options": {"a": 1}}
    it = engine(Plan((Step("small", 2),)), small=Changing(["x"], usage=USAGE), reward=FakeReward(len))
    it.run(Query("hi", params=params))
    assert params == {"stop": ["."], "options": {"a": 1}}


@ways
def test_an_empty_reply_that_was_cut_at_its_limit_is_not_tried_again(way):
    small = Member(lambda n: [Sample("", usage=USAGE, finish_reason="length")])
    small.calls = 0

    def work(n):
        small.calls += 1
        return [Sample("", usage=USAGE, finish_reason="length")]

    small.work = work
    result = way(engine(Plan((Step("small", 3, 0.5), Step("large"))), small=small, reward=Reward(raising(Boom()))))
    assert (result.text, small.calls) == ("large", 1)


async def test_many_slow_members_that_cannot_wait_delay_no_quick_one():
    release = threading.Event()

    class Slow:
        native_n = False

        def generate(self, query, n, *, params, cancel):
            release.wait(30)
            return [Sample("slow", usage=USAGE)]

    class Quick:
        native_n = False

        def generate(self, query, n, *, params, cancel):
            return [Sample("quick", usage=USAGE)]

    it = engine(lambda query: ("small" if query.text == "slow" else "large", 1), small=Slow(), large=Quick())
    slow = [asyncio.create_task(it.arun("slow")) for _ in range(60)]
    await asyncio.sleep(0)
    assert (await it.arun("quick")).text == "quick"
    assert not any(task.done() for task in slow)
    release.set()
    assert {result.text for result in await asyncio.gather(*slow)} == {"slow"}


# Rows.


def test_a_row_says_which_call_plan_attempt_and_tags_it_belongs_to():
    small = FakeGenerator([TimeoutError("late"), "small"], usage=USAGE)
    it = engine(small=small, settings=Settings(first_wait_s=0.0))
    result = it.run("hi", tags={"team": "search"})
    first, second = it.ledger.rows()
    assert first["call_id"] == second["call_id"] == result.call_id == result.to_dict()["call_id"]
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["attempt_id"] != second["attempt_id"]
    assert {row["plan"] for row in (first, second)} == {"small x 1"}
    assert {row["reason"] for row in (first, second)} == {"chosen by the router function"}
    assert [row["tags"] for row in (first, second)] == [{"team": "search"}] * 2
    assert {row["kind"] for row in (first, second)} == {"draw"}
    assert it.run("hi").call_id != result.call_id


@pytest.mark.parametrize("tags", ["search", {"team": 1}, {1: "x"}, ["a"]])
def test_tags_are_strings_by_name(tags):
    with pytest.raises(ConfigError, match="tags must be a dict of strings"):
        engine().run("hi", tags=tags)


@pytest.mark.parametrize("seconds", [None, 20])
def test_rows_of_a_file_are_there_when_the_call_is_done(tmp_path, seconds):
    it = engine(ledger=Ledger(f"sqlite:///{tmp_path / 'bills.db'}"))
    for way in WAYS.values():
        way(it, deadline_s=seconds)
    it.ledger.close()
    assert len(Ledger(it.ledger.url).rows()) == 4


# Without a router.


def test_a_vote_is_never_planned_where_it_cannot_be_accepted():
    members = {m: FakeGenerator(["4"], usage=USAGE) for m in POOL.models}
    it = BestRoute(POOL, members, reward_model=MajorityVote())
    assert it.route("2 + 2?").plan == Plan((Step("small", 2, 0.85), Step("large")))
    result = it.run("2 + 2?")
    assert ([s.model for s in result.samples], any(s.accepted for s in result.samples)) == (["small"] * 2, True)
    lone = Pool(POOL.models, POOL.prices, "large", max_n=1)
    decision = BestRoute(lone, members, reward_model=MajorityVote()).route("2 + 2?")
    assert decision.plan == lone.reference_plan
    assert "more than max_n" in decision.reason


def test_without_router_and_reward_nothing_is_saved_and_the_reason_and_the_log_say_so(caplog):
    it = engine(None)
    assert "saves nothing" in it.route("hi").reason
    assert [r.getMessage() for r in caplog.records if r.name == "bestroute.engine"] == [NO_ROUTER]


def test_a_router_function_may_return_a_plain_pool_name():
    assert engine(lambda query: "small").run("hi").text == "small"
    with pytest.raises(ConfigError, match="unknown model 'smal'"):
        engine(lambda query: "smal").run("hi")


def test_a_policy_of_ones_own_is_explained_by_numbers_or_by_itself():
    policy = Policy(lambda *_: [1])
    assert "taken by Policy" in predicted(policy).route("hi").explain()
    assert "not taken: quality" in predicted(policy).route("hi").explain()
    policy.verdicts = lambda *_: ["too small", "just right"]
    assert "just right" in predicted(policy).route("hi").explain()


# Streams.


class Closing:
    """A stream whose end cannot be closed."""

    def __init__(self):
        self.pieces = iter([Delta("sm"), Delta("all"), Sample("small", usage=USAGE)])

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        raise OSError("the socket is gone")

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self.pieces)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self):
        raise OSError("the socket is gone")


@pytest.mark.parametrize("way", [WAYS["stream"], WAYS["astream"]])
@pytest.mark.parametrize("options", [{}, {"deadline_s": 20}])
def test_a_stream_that_came_whole_is_the_answer_though_it_cannot_be_closed(way, options):
    member = FakeGenerator(["small"], usage=USAGE)
    member.stream = member.astream = lambda query, *, params, cancel: Closing()
    it = engine(small=member)
    assert way(it, **options).text == "small"
    assert [row["status"] for row in it.ledger.rows()] == ["ok"]
