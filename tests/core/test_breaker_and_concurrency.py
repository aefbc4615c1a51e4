import asyncio
import copy
import os
import pickle
import threading
import time

import pytest

from bestroute import Cancel
from bestroute.billing.budget import Budget, BudgetGroup
from bestroute.engine.circuit_breaker import Breakers
from bestroute.engine.concurrency import ConcurrencyLimit
from bestroute.errors import ConfigError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_breaker_opens_after_failures_in_a_row_and_not_before(clock):
    breakers = Breakers(["a", "b"], failures=3, rest_s=10, clock=clock)
    assert [breakers.failed("a") for _ in range(2)] == [False, False]
    breakers.succeeded("a")
    assert [breakers.failed("a") for _ in range(3)] == [False, False, True]
    assert (breakers.admits("a"), breakers.admits("b")) == (False, True)


def test_after_its_rest_one_draw_finds_out_and_the_others_wait_for_it(clock):
    breakers = Breakers(["a"], failures=1, rest_s=10, clock=clock)
    breakers.failed("a")
    clock.now = 9.9
    assert (breakers.is_open("a"), breakers.admits("a")) == (True, False)
    clock.now = 10.0
    assert breakers.is_open("a") is False
    assert [breakers.admits("a") for _ in range(3)] == [True, False, False]
    breakers.succeeded("a")
    assert breakers.admits("a")


def test_a_probe_that_fails_sends_the_member_back_to_rest(clock):
    breakers = Breakers(["a"], failures=3, rest_s=10, clock=clock)
    for _ in range(3):
        breakers.failed("a")
    clock.now = 10.0
    assert breakers.admits("a")
    assert breakers.failed("a") is True  # one failure of a probe is enough
    clock.now = 19.0
    assert not breakers.admits("a")
    clock.now = 20.0
    assert breakers.admits("a")


def test_a_probe_that_tells_nothing_lets_the_next_one_through(clock):
    breakers = Breakers(["a"], failures=1, rest_s=10, clock=clock)
    breakers.failed("a")
    clock.now = 10.0
    assert breakers.admits("a")
    breakers.undecided("a")
    assert breakers.admits("a")


def test_nobody_else_ends_a_probe_without_an_outcome(clock):
    breakers = Breakers(["a"], failures=1, rest_s=10, clock=clock)
    breakers.failed("a")
    clock.now = 10.0
    assert breakers.admits("a", by="the probe")
    assert (breakers.is_trial("a", by="the probe"), breakers.is_trial("a", by="a forced call")) == (True, False)
    breakers.undecided("a", by="a forced call")
    assert not breakers.admits("a", by="another")
    breakers.undecided("a", by="the probe")
    assert breakers.admits("a", by="another")


def test_a_late_failure_of_another_draw_neither_ends_a_probe_nor_prolongs_a_rest(clock):
    breakers = Breakers(["a"], failures=1, rest_s=10, clock=clock)
    assert breakers.failed("a", by="first") is True
    clock.now = 5.0
    assert breakers.failed("a", by="a draw begun before") is False
    clock.now = 10.0
    assert breakers.admits("a", by="the probe")
    assert breakers.failed("a", by="a slower one") is False
    assert breakers.is_trial("a", by="the probe")
    assert breakers.failed("a", by="the probe") is True
    clock.now = 19.0
    assert breakers.is_open("a")


def test_threads_and_loops_together_never_pass_the_limit():
    limit, inside, most, lock = ConcurrencyLimit(3), 0, 0, threading.Lock()

    def step(change):
        nonlocal inside, most
        with lock:
            inside += change
            most = max(most, inside)

    def in_thread():
        assert limit.acquire(Cancel())
        step(1)
        time.sleep(0.002)
        step(-1)
        limit.release()

    async def in_loop():
        await limit.aacquire()
        step(1)
        await asyncio.sleep(0.002)
        step(-1)
        limit.release()

    async def many():
        await asyncio.gather(*(in_loop() for _ in range(30)))

    threads = [threading.Thread(target=in_thread) for _ in range(30)]
    threads += [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (most, inside, limit.in_use) == (3, 0, 0)


def test_whoever_is_interrupted_at_a_limit_takes_no_place(monkeypatch):
    limit = ConcurrencyLimit(1)
    assert limit.acquire(Cancel())

    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bestroute.engine.concurrency.threading.Event", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            limit.acquire(Cancel())
    limit.release()
    assert limit.in_use == 0
    assert limit.acquire(Cancel(), deadline=time.monotonic() + 60)


def test_whoever_gives_up_at_a_limit_takes_no_place():
    limit, cancel, told = ConcurrencyLimit(1), Cancel(), []
    assert limit.acquire(Cancel())
    waiting = threading.Thread(target=lambda: told.append(limit.acquire(cancel)))
    waiting.start()
    cancel.set()
    waiting.join(timeout=60)
    assert told == [False]
    limit.release()
    assert limit.in_use == 0


async def test_a_task_cancelled_at_a_limit_takes_no_place():
    limit = ConcurrencyLimit(1)
    await limit.aacquire()
    waiting = asyncio.create_task(limit.aacquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    limit.release()
    assert limit.in_use == 0
    await asyncio.wait_for(limit.aacquire(), timeout=60)


def test_a_loop_that_was_closed_while_it_waited_does_not_keep_the_place():
    limit = ConcurrencyLimit(1)
    assert limit.acquire(Cancel())

    async def give_up_hard():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        coroutine = limit.aacquire()
        coroutine.send(None)  # it waits, and nobody will ever wake it
        return coroutine

    kept = asyncio.run(give_up_hard())
    limit.release()
    assert limit.acquire(Cancel())
    with pytest.raises(GeneratorExit):
        kept.throw(GeneratorExit)


def test_a_budget_never_promises_more_than_it_has():
    budget, promised, lock = Budget(1.0), [], threading.Lock()

    def spend():
        for _ in range(50):
            if budget.reserve(0.01):
                with lock:
                    promised.append(0.01)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(promised) == 100
    assert budget.left_usd == pytest.approx(0.0, abs=1e-12)


def test_a_purse_reserves_in_all_budgets_or_in_none():
    call, run = Budget(0.5), Budget(0.2)
    budgets = BudgetGroup((call, run))
    assert not budgets.reserve(0.3)
    assert (call.left_usd, run.left_usd) == (0.5, 0.2)
    assert not budgets.reserve(0.3, attempt_ids=["a", "b"])
    assert (call.left_usd, run.left_usd) == (0.5, 0.2)
    assert budgets.reserve(0.2, attempt_ids=["c", "d"])
    for _ in range(2):  # again, after a lost connection, say
        budgets.settle(["c", "d"], 0.05)
    assert (call.spent_usd, run.spent_usd, budgets.left_usd) == (0.05, 0.05, pytest.approx(0.15))


@pytest.mark.parametrize("usd", [-1, float("nan"), float("inf"), "1", None, True])
def test_a_budget_is_a_sum_of_money(usd):
    with pytest.raises(ConfigError, match="Budget must be a number of USD >= 0"):
        Budget(usd)


@pytest.mark.parametrize(
    "make", [lambda: ConcurrencyLimit(2), lambda: Budget(1.0), lambda: Breakers(["a"], failures=1, rest_s=1)]
)
def test_shared_state_can_be_copied_and_pickled(make):
    state = make()
    for twin in (copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert type(twin) is type(state)
        with twin._guard():
            pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_finds_locks_open_and_forgets_what_its_parent_has_under_way():
    limit, budget = ConcurrencyLimit(1), Budget(1.0)
    assert limit.acquire(Cancel())
    assert budget.reserve(1.0)
    with limit._guard(), budget._guard():  # as if another thread held them at the fork
        child = os.fork()
        if child == 0:
            is_free = limit.acquire(Cancel()) and budget.reserve(0.5)
            os._exit(0 if is_free else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (limit.in_use, budget.left_usd) == (1, 0.0)
