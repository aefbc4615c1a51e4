"""Whatever happens to a call, its books are right: random plans, faults, limits and cancellations, seeded."""

import asyncio
import random
import threading
import time

import pytest

from bestroute import (
    BestRoute,
    Delta,
    GenerationError,
    Plan,
    Pool,
    Price,
    Result,
    Sample,
    Settings,
    Step,
    Usage,
)
from bestroute.testing import FakeReward

POOL = Pool(["small", "mid", "large"], {"small": Price(1, 2), "mid": Price(3, 6), "large": Price(10, 30)}, "large")


class Moody:
    """Answers, fails, or answers nothing, after a while; counts what was asked of it."""

    def __init__(self, name, chance, *, native_n):
        self.name, self.chance, self.native_n = name, chance, native_n
        self.lock, self.asked = threading.Lock(), 0

    def _begin(self, n):
        with self.lock:
            self.asked += n
            return self.chance.random() * 0.01

    def _end(self, n):
        drawn = self.chance.random()
        if drawn < 0.25:
            raise self.chance.choice((TimeoutError("late"), ConnectionResetError("gone"), RuntimeError("?")))
        if drawn < 0.32:
            return [Sample("", usage=Usage(5, 0))] * n
        return [
            Sample(f"{self.name} {self.chance.random():.3f}", usage=Usage(0 if i else 5, 3), finish_reason="stop")
            for i in range(n)
        ]

    def generate(self, query, n, *, params, cancel):
        time.sleep(self._begin(n))
        return self._end(n)

    async def agenerate(self, query, n, *, params, cancel):
        await asyncio.sleep(self._begin(n))
        return self._end(n)

    def stream(self, query, *, params, cancel):
        time.sleep(self._begin(1))
        yield from self._pieces()

    def _pieces(self):
        (sample,) = self._end(1)
        for word in sample.text.split():
            if self.chance.random() < 0.1:
                raise ConnectionResetError("gone")
            yield Delta(word + " ")
        yield sample

    async def astream(self, query, *, params, cancel):
        await asyncio.sleep(self._begin(1))  # counted before anything may end it
        for piece in self._pieces():
            await asyncio.sleep(self.chance.random() * 0.003)
            yield piece


class CannotWait:
    """The same, without the methods of a loop."""

    def __init__(self, moody):
        self.moody, self.native_n = moody, moody.native_n
        self.generate = moody.generate


def some_plan(chance):
    steps, count = [], chance.randint(1, 3)
    for i in range(count):
        levels = [0.5, 0.9] + [None] * 3 * (i == count - 1)
        steps.append(Step(chance.choice(POOL.models), chance.randint(1, 4), chance.choice(levels)))
    return Plan(tuple(steps))


async def call(engine, way, limits, chance):
    """Return the result, if there is one."""

    async def read():
        return [piece async for piece in engine.astream("hello", **limits)][-1]

    if way == "run":
        return await asyncio.to_thread(engine.run, "hello", **limits)
    if way == "stream":
        return (await asyncio.to_thread(lambda: list(engine.stream("hello", **limits))))[-1]
    coroutine = engine.arun("hello", **limits) if "arun" in way else read()
    if not way.startswith("cancelled"):
        return await coroutine
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(chance.random() * 0.03)
    task.cancel()
    return await task


async def until(is_true):
    for _ in range(1000):
        if is_true():
            return True
        await asyncio.sleep(0.005)
    return False


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("way", ["run", "arun", "stream", "astream", "cancelled arun", "cancelled astream"])
async def test_every_call_that_was_begun_has_one_row_and_nothing_is_left(way, seed):
    chance = random.Random(f"{way} {seed}")
    for _ in range(6):
        plan, native = some_plan(chance), chance.random() < 0.3
        moody = {m: Moody(m, random.Random(chance.random()), native_n=native) for m in POOL.models}
        members = {m: CannotWait(g) for m, g in moody.items()} if chance.random() < 0.3 else moody
        settings = Settings(
            first_wait_s=0.002,
            max_wait_s=0.01,
            concurrency=chance.choice([None, 1, 2]),
            wave=chance.randint(1, 3),
            broken_stream=chance.choice(["raise", "keep"]),
        )
        reward = FakeReward(lambda text: float(text.split()[-1]), is_probability=True)
        engine = BestRoute(POOL, members, lambda query, plan=plan: plan, reward, settings=settings, budget=1.0)
        limits = {"deadline_s": chance.random() * 0.03} if chance.random() < 0.3 else {}
        limits |= {"max_samples": chance.randint(1, 4)} if chance.random() < 0.2 else {}
        try:
            result = await call(engine, way, limits, chance)
        except (GenerationError, asyncio.CancelledError):
            result = None
        asked = lambda moody=moody: sum(member.asked for member in moody.values())  # noqa: E731
        rows = engine.ledger.rows
        assert await until(lambda asked=asked, rows=rows: len(rows()) == asked()), (plan, limits, rows())
        assert engine.budget.spent_usd == pytest.approx(engine.ledger.cost_usd, abs=1e-12)
        assert await until(lambda b=engine.budget: abs(b.left_usd + b.spent_usd - b.usd) < 1e-12)
        assert all(limit.in_use == 0 for limit in engine._sampler.limits.values())
        assert await until(lambda: len(asyncio.all_tasks()) == 1)
        if isinstance(result, Result) and not limits:
            assert len(result.samples) == len(rows())
            assert result.cost_usd == pytest.approx(engine.ledger.cost_usd, abs=1e-12)
