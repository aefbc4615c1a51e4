"""A large sample is judged off the event loop, until the call's deadline, and is paid whatever becomes of that."""

import asyncio
import json
import threading
import time

import pytest

from bestroute import BestRoute, Pool, Price, Query, Sample, Usage
from bestroute.engine.comparison import Comparer
from bestroute.reward_models import agreement
from bestroute.selection import answer_form, json_schema, judge, judge_off_loop, read_demand
from bestroute.selection.checks import IN_PLACE
from bestroute.testing import FakeGenerator

POOL = Pool(["s", "l"], {"s": Price(1, 1), "l": Price(2, 2)}, "l")
DEMAND = read_demand(schema={"type": "array", "items": {"type": "object"}})
LARGE = json.dumps([{"name": "abc", "value": 1}] * 180_000)


class Judged(FakeGenerator):
    """A member whose reply is judged by a function, off the loop if it is large."""

    def __init__(self, text, judging):
        super().__init__(["unused"])
        self.sample, self.judging = Sample(text, usage=Usage(3, 4), finish_reason="stop"), judging

    async def agenerate(self, query, n, *, params, cancel):
        return await judge_off_loop(self.judging, [self.sample], size=len(self.sample.text), cancel=cancel)


def engine(text, judging):
    return BestRoute(POOL, {"s": Judged(text, judging), "l": FakeGenerator(["ok"])}, lambda query: ("s", 1))


async def test_other_coroutines_go_on_while_5_mb_of_json_are_judged():
    ticked = threading.Event()

    def judging(sample):
        assert ticked.wait(30), "the loop stood still"
        return judge(sample, [], DEMAND)

    async def tick():
        for _ in range(3):
            await asyncio.sleep(0)
        ticked.set()

    run = asyncio.create_task(engine(LARGE, judging).arun("x"))
    await asyncio.sleep(0.01)
    await tick()
    result = await run
    assert len(LARGE) > 5_000_000
    assert result.text == LARGE


async def test_a_small_sample_is_judged_where_it_came():
    threads = []
    judging = lambda sample: threads.append(threading.current_thread()) or sample  # noqa: E731
    await engine("x" * IN_PLACE, judging).arun("x")
    await engine("x" * (IN_PLACE + 1), judging).arun("x")
    assert threads[0] is threading.current_thread() is not threads[1]


@pytest.mark.patient(1.5)
async def test_what_is_still_judged_at_the_deadline_answers_as_not_checked(seconds):
    is_over = threading.Event()

    def judging(sample):
        is_over.wait(60)
        return sample

    result = await engine(LARGE, judging).arun("x", deadline_s=seconds)
    is_over.set()
    assert (result.model, result.text) == ("s", LARGE)
    assert result.to_dict()["flaws"] == ["not checked: the deadline came first"]


async def test_what_came_is_paid_as_told_though_the_call_is_cancelled_while_it_is_judged():
    is_judging, is_over = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def judging(sample):
        loop.call_soon_threadsafe(is_judging.set)
        is_over.wait(60)
        return sample

    routed = engine(LARGE, judging)
    run = asyncio.create_task(routed.arun("x"))
    await is_judging.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    is_over.set()
    [row] = routed.ledger.rows()
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (3, 4, False)


async def test_a_check_beside_the_loop_has_more_time_than_one_on_it(monkeypatch):
    limits = []
    monkeypatch.setattr(json_schema, "_left_s", lambda: limits.append(json_schema._clock.end - time.thread_time()) or 1)
    judging = lambda sample: judge(sample, [], DEMAND)  # noqa: E731
    for size in (IN_PLACE, IN_PLACE + 1):
        await engine(json.dumps(["x" * (size - 4)]), judging).arun("x")
    assert limits[0] <= json_schema.LIMIT_S < json_schema.LIMIT_OFF_LOOP_S / 2 < limits[-1]


class Light:
    """A reward that takes no time, of texts of a usual length."""

    is_light = True

    def __init__(self):
        self.threads = []

    def score(self, query, texts):
        self.threads.append(threading.current_thread())
        return [1.0] * len(texts)


@pytest.mark.parametrize("length", [IN_PLACE // 2, IN_PLACE])
async def test_a_light_reward_reads_long_texts_beside_the_loop(length):
    reward, members = Light(), {"s": FakeGenerator(["x" * length]), "l": FakeGenerator(["ok"])}
    await BestRoute(POOL, members, lambda query: ("s", 2), reward).arun("x")
    is_in_place = reward.threads == [threading.current_thread()]
    assert is_in_place == (2 * length <= IN_PLACE)


@pytest.mark.parametrize(
    ("query", "may"), [("What is 12 * 7? Answer with a number only.", True), ("Tell me a story.", False)]
)
def test_no_call_waits_for_a_look_at_a_very_long_answer_that_may_be_audited(monkeypatch, query, may):
    looked = []
    monkeypatch.setattr(answer_form, "marked_answer", looked.append)
    monkeypatch.setattr(agreement, "forms_of", lambda query, samples: looked.append(query))
    assert Comparer(None, None).may_compare(Query(query), Sample("x" * (IN_PLACE + 1))) is may
    assert not looked
