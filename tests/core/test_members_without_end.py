"""Members, rewards and streams that never end, or will not stop: a call ends, in its time, and is paid."""

import asyncio
import itertools
import threading
import time

import numpy as np
import pytest

from bestroute import BestRoute, DeadlineError, Plan, Pool, Price, Sample, Settings, Step, Usage
from bestroute.engine.attempts import MOST_SURPLUS
from bestroute.testing import FakeGenerator, FakeRouter
from bestroute.types.sample import Delta

POOL = Pool(["s", "l"], {"s": Price(1, 1), "l": Price(2, 2)}, "l")
LATE_S = 30.0
"""Far beyond every deadline here, and far below what would never end."""


def engine(member, decide=lambda query: ("s", 1), reward=None):
    return BestRoute(POOL, {"s": member, "l": FakeGenerator(["of the reference"])}, decide, reward)


async def answered(routed, how, **options):
    """Answer in one of four ways, in a thread where it blocks."""
    if how == "arun":
        return await routed.arun("hello", **options)
    if how == "astream":
        return [item async for item in routed.astream("hello", **options)][-1]
    call = routed.run if how == "run" else lambda *of, **more: list(routed.stream(*of, **more))[-1]
    return await asyncio.to_thread(call, "hello", **options)


def endless(pause_s=0.0):
    while True:
        time.sleep(pause_s)
        yield Sample("a b", usage=Usage(3, 4), finish_reason="stop")


def outlasts(thread):
    thread.join(LATE_S)
    return thread.is_alive()


class Endless(FakeGenerator):
    """Hands over samples for ever."""

    def __init__(self, pause_s=0.0):
        super().__init__(["unused"])
        self.pause_s = pause_s

    def generate(self, query, n, *, params, cancel):
        return endless(self.pause_s)

    async def agenerate(self, query, n, *, params, cancel):
        return endless(self.pause_s)

    def stream(self, query, *, params, cancel):
        return endless()

    async def astream(self, query, *, params, cancel):
        for sample in endless():
            yield sample


@pytest.mark.parametrize("how", ["run", "arun", "stream", "astream"])
@pytest.mark.parametrize("deadline_s", [None, LATE_S])
async def test_a_member_that_hands_over_samples_for_ever_is_read_to_a_limit_and_paid(how, deadline_s, own_threads):
    routed = engine(Endless())
    result = await answered(routed, how, deadline_s=deadline_s)
    assert (result.model, result.text, len(result.samples)) == ("s", "a b", 1)
    if how == "stream":
        assert not [thread for thread in own_threads() if thread.name == "bestroute-stream" and outlasts(thread)]
    [row] = routed.ledger.rows()
    assert 4 < row["output_tokens"] <= 4 * (1 + MOST_SURPLUS)


@pytest.mark.parametrize("how", ["run", "arun"])
async def test_a_member_that_takes_its_time_is_not_waited_for_once_all_came_that_was_asked_for(how):
    result = await answered(engine(Endless(0.05), lambda query: ("s", 2), lambda q, texts: [1.0] * len(texts)), how)
    assert [sample.text for sample in result.samples] == ["a b"] * 2


async def test_samples_that_are_made_while_they_are_read_do_not_block_the_loop():
    is_free = threading.Event()

    class Blocked(Endless):
        async def agenerate(self, query, n, *, params, cancel):
            return (Sample("came" if is_free.wait(LATE_S) else "the loop stood still") for _ in range(n))

    async def free():
        is_free.set()

    result, _ = await asyncio.gather(engine(Blocked()).arun("hello"), free())
    assert result.text == "came"


class Stubborn(FakeGenerator):
    """Never stops, whoever asks."""

    def __init__(self):
        super().__init__(["unused"])

    async def astream(self, query, *, params, cancel):
        yield Delta("one two ")
        await asleep()


async def asleep():
    end = time.monotonic() + LATE_S
    while time.monotonic() < end:
        try:
            await asyncio.sleep(LATE_S)
        except asyncio.CancelledError:
            continue


def in_a_loop_that_is_left(coroutine):
    """Run a coroutine; ``asyncio.run`` would wait for tasks that do not stop."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


@pytest.mark.patient(1.0)
def test_a_stream_that_swallows_its_cancellation_does_not_outlast_the_deadline(seconds):
    routed = engine(Stubborn())
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        in_a_loop_that_is_left(answered(routed, "astream", deadline_s=seconds))
    assert time.monotonic() - started < LATE_S
    [row] = routed.ledger.rows()
    assert (row["status"], row["estimated"], row["output_tokens"]) == ("cancelled", True, 2)


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_pieces_that_come_faster_than_they_are_read_do_not_outlast_the_deadline(how):
    class Fast(FakeGenerator):
        def stream(self, query, *, params, cancel):
            return itertools.repeat(Delta("a "))

        async def astream(self, query, *, params, cancel):
            for delta in itertools.repeat(Delta("a ")):
                yield delta

    started = time.monotonic()
    with pytest.raises(DeadlineError):
        await answered(engine(Fast(["unused"])), how, deadline_s=0.2)
    assert time.monotonic() - started < LATE_S


class Reward:
    range = (0.0, 1.0)

    def score(self, query, texts):
        return [0.5] * len(texts)


class StubbornReward(Reward):
    async def ascore(self, query, texts):
        await asleep()


@pytest.mark.patient(1.0)
def test_a_reward_that_swallows_its_cancellation_does_not_outlast_the_deadline(seconds):
    routed = engine(FakeGenerator(["came"]), lambda query: ("s", 2), StubbornReward())
    started = time.monotonic()
    result = in_a_loop_that_is_left(routed.arun("hello", deadline_s=seconds))
    assert time.monotonic() - started < LATE_S
    assert (result.text, len(result.samples)) == ("came", 2)


async def test_a_reward_without_end_is_as_wrong_as_one_too_many():
    class EndlessReward(Reward):
        def calibrated(self, rewards):
            return itertools.repeat(0.9)

    plan = Plan((Step("s", 2, 0.5), Step("l")))
    with pytest.raises(ValueError, match="was given 1 rewards and returned 2 probabilities"):
        await engine(FakeGenerator(["came"]), lambda query: plan, EndlessReward()).arun("hello")


ODD = {
    "finish_reason": ["stop"],
    "form": {"a": 1},
    "flaw": 5,
    "unchecked": object(),
    "request": [1],
    "error": "went wrong",
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("how", ["run", "arun"])
async def test_a_sample_whose_fields_are_of_other_types_is_paid_and_answers(name, n, how):
    sample = Sample("came", usage=Usage(3, 4), **{name: ODD[name]})
    member = FakeGenerator([sample])
    member._take = lambda query, n, params: [sample] * n
    routed = engine(member, lambda query: ("s", n), Reward())
    result = await answered(routed, how)
    assert result.text == ("of the reference" if name == "error" else "came")
    assert sum(row["cost_usd"] for row in routed.ledger.rows() if row["model"] == "s") == n * 7e-6


@pytest.mark.parametrize("how", ["run", "arun"])
async def test_an_error_that_cannot_be_redacted_loses_no_bill(how, monkeypatch):
    def broken():
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr("bestroute.errors.redaction.known_secrets", broken)
    sample = Sample("half", usage=Usage(3, 4), error=ValueError("the key is hunter22"))
    member = FakeGenerator([sample])
    member._take = lambda query, n, params: [sample] * n
    routed = engine(member, lambda query: ("s", 2), Reward())
    result = await answered(routed, how)
    assert result.text == "of the reference"
    rows = [row for row in routed.ledger.rows() if row["model"] == "s"]
    assert [row["cost_usd"] for row in rows] == [7e-6] * 2
    assert "hunter22" not in str(rows) + result.decision.reason
    assert "[hidden]" in rows[0]["error"]


class Choosing:
    """A policy that chooses quickly until it is to have no end; gives reasons without end."""

    def __init__(self, *, quick_calls=0):
        self.quick_calls, self.over = quick_calls, threading.Event()

    def choose(self, prediction, cost_usd, pool):
        self.quick_calls -= 1
        if self.quick_calls < 0:
            self.over.wait(2 * LATE_S)
        return np.array([0])

    def verdicts(self, prediction, cost_usd, chosen, pool):
        return itertools.repeat("as always")


class Predicting:
    """A router whose prediction has no end."""

    plans = (Plan((Step("s"),)), Plan((Step("l"),)))

    def __init__(self):
        self.over = threading.Event()

    def predict(self, queries):
        self.over.wait(2 * LATE_S)


def routed_by(router, policy=None, member=None, **options):
    members = {"s": member or FakeGenerator(["came"]), "l": FakeGenerator(["of the reference"])}
    return BestRoute(POOL, members, router, None, policy, **options)


TABLE = {("s", 1): (0.9, 0.9), ("l", 1): 1.0}


async def alive(loop_turns):
    """Count turns of the loop until cancelled."""
    while True:
        loop_turns.append(1)
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", ["run", "arun", "stream", "astream"])
@pytest.mark.parametrize("which", ["a router", "a policy", "a policy that is asked again"])
@pytest.mark.patient(0.5)
async def test_a_decision_without_end_ends_at_the_deadline_and_blocks_no_loop(how, which, seconds):
    endless = Predicting() if which == "a router" else Choosing(quick_calls=int(which != "a policy"))
    if which == "a router":
        routed = routed_by(endless)
    else:
        failing = FakeGenerator([RuntimeError("down")])
        member = failing if which == "a policy that is asked again" else None
        routed = routed_by(FakeRouter(TABLE, [1.0, 1.0]), endless, member, settings=Settings(attempts=1))
    turns = []
    ticking = asyncio.create_task(alive(turns))
    started = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            await answered(routed, how, deadline_s=seconds)
        assert time.monotonic() - started < LATE_S
        assert len(turns) > 10
        assert [row["status"] for row in routed.ledger.rows()] == ["failed"] * (which == "a policy that is asked again")
    finally:
        endless.over.set()
        ticking.cancel()


def test_reasons_without_end_are_read_to_the_number_of_plans():
    router = FakeRouter(TABLE, [1.0, 1.0])
    assert "as always" not in routed_by(router, Choosing(quick_calls=9)).route("hello").explain()
    dry = routed_by(router, Choosing(quick_calls=9), settings=Settings(dry_run=True))
    assert dry.run("hello").text.startswith("dry run: s x 1")


@pytest.mark.patient(0.5)
async def test_reasons_that_never_come_hold_up_no_dry_run_beyond_its_deadline(seconds):
    class Thinking(Choosing):
        def verdicts(self, prediction, cost_usd, chosen, pool):
            self.over.wait(2 * LATE_S)
            return []

    policy = Thinking(quick_calls=9)
    dry = routed_by(FakeRouter(TABLE, [1.0, 1.0]), policy, settings=Settings(dry_run=True))
    for how in ("run", "arun"):
        result = await answered(dry, how, deadline_s=seconds)
        assert result.text == f"dry run: {result.decision.reason}"
    policy.over.set()
