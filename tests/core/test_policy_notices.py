"""What a policy takes notice of: each audit once, whoever made it, and calls that lose nothing, on trust."""

import os
import time
from unittest import mock

import numpy as np
import pytest

from bestroute import BestRoute, Candidate, Ledger, MajorityVote, Plan, Pool, Prediction, Price, Query
from bestroute.billing.outcomes import CallOutcome
from bestroute.engine import policy_notices
from bestroute.engine.policy_notices import PolicyNotices
from bestroute.errors import UnreadableStoreError
from bestroute.testing import FakeGenerator
from bestroute.types.bases import PolicyBase, RouterBase
from bestroute.types.plans import Step

POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large", max_n=1)
HARD, EASY = "hard: What is 12 * 7? Only the number.", "easy: What is 12 * 7? Only the number."


def outcome(i, **changes):
    made = {"time": 0.0, "model": "small", "plan": "small x 1", "status": "compared", "probability": 1.0, "drop": 0.0}
    return CallOutcome(call_id=f"c{i}", **{**made, **changes})


class Router(RouterBase):
    """Takes the small model to be as good where a query is easy, and far worse where it is not."""

    plans = (Plan.of(Candidate("small")), Plan.of(Candidate("large")))

    def predict(self, queries):
        quality = np.array([[0.99 if "easy" in query.text else 0.5, 1.0] for query in queries])
        return Prediction(self.plans, quality, quality, np.full((len(queries), 2), 10.0))

    def steering_prices(self, drop):
        return 1e-6, 3e-3, 1.0


def engine(*, small=("84",), large=("84",), **settings):
    members = {"small": FakeGenerator(list(small)), "large": FakeGenerator(list(large))}
    return BestRoute(POOL, members, Router(), **{"max_drop": 0.01, "follow": True, "audit": 1.0, **settings})


def moved(routed):
    routed.close()
    return routed.policy.steering.moved


class Counting(PolicyBase):
    """Counts what it takes notice of."""

    def __init__(self, max_drop=None):
        self.max_drop, self.audits, self.certain, self.failed = max_drop, [], 0, 0

    def choose(self, prediction, cost_usd, pool):
        return np.zeros(len(cost_usd), dtype=int)

    def observe(self, audit):
        self.audits.append(audit.call_id)

    def observe_certain(self, calls, probability):
        self.certain += calls

    def observe_failed(self):
        self.failed += 1


@pytest.mark.parametrize("audit", [0.0, 1.0])
def test_looking_at_decisions_moves_no_price(audit):
    routed = engine(audit=audit)
    for _ in range(50):
        routed.route(HARD)
    assert moved(routed) == 0.0


def test_while_audits_are_off_calls_of_the_reference_move_no_price():
    routed = engine(audit=0.0)
    for _ in range(50):
        routed.run(HARD)
    assert moved(routed) == 0.0
    routed.audit = 1.0
    routed.run(HARD)
    assert moved(routed) < 0.0


@pytest.mark.parametrize(
    ("easy", "settings"),
    [
        (EASY, {"audit_budget": 1e-12}),
        (EASY, {"large": [RuntimeError("rate limited")]}),
        ("easy: Write a poem.", {}),
    ],
)
def test_what_was_loosened_on_trust_is_taken_back_where_audits_show_nothing(easy, settings):
    routed = engine(**settings)
    routed._auditor.notices._policy.observe_certain(1000, 1.0)
    before = moved(routed)
    assert routed.run(easy).model == "small"
    assert before < moved(routed) == pytest.approx(0.0)


def test_an_answer_that_fell_back_on_the_reference_counts_as_one_that_lost_nothing():
    class Cascade(Router):
        plans = (Plan((Step("small", 1, 0.9), Step("large"))), Plan.of(Candidate("large")))

        def predict(self, queries):
            draws = np.tile([[1.0, 1.0], [1.0, 0.0]], (len(queries), 1, 1))
            ones = np.ones((len(queries), 2))
            return Prediction(self.plans, ones, ones, ones, draws)

    members = {"small": FakeGenerator(["85"]), "large": FakeGenerator(["84"])}
    policy = Counting()
    routed = BestRoute(POOL, members, Cascade(), MajorityVote(), policy, audit=1.0)
    assert routed.run(HARD).model == "large"
    routed.close()
    assert (policy.certain, policy.audits) == (1, [])


def test_in_a_database_calls_of_all_processes_count_once(database_url, monkeypatch):
    monkeypatch.setattr(policy_notices, "CATCH_UP_S", 0.0)
    monkeypatch.setattr(policy_notices, "_SETTLED_S", -1.0)
    with Ledger(database_url) as first, Ledger(database_url) as second:
        one, other = engine(ledger=first), engine(ledger=second)
        for routed in (one, other, one):
            for _ in range(20):
                routed.run(HARD)
            routed.run(EASY)
            routed.close()
        counts = []
        for ledger in (first, second):
            policy = Counting(0.01)
            notices = PolicyNotices(policy, ledger)
            notices.share = 1.0
            notices.catch_up()
            notices.catch_up()
            counts.append((policy.certain, len(policy.audits)))
        assert counts == [(60, 3), (60, 3)]


def test_what_was_decided_for_another_target_says_nothing():
    ledger = Ledger()
    ledger.note([outcome(1, status="compared", drop=1.0, target=0.03), outcome(2, status="certain", target=0.03)])
    ledger.note([outcome(3, status="compared", drop=1.0, target=0.01), outcome(4, status="certain", target=0.01)])
    policy = Counting(0.01)
    notices = PolicyNotices(policy, ledger)
    notices.catch_up()
    assert (len(policy.audits), policy.certain) == (1, 1)


def test_an_engine_that_is_built_anew_goes_on_with_what_its_ledger_in_memory_knows():
    ledger = Ledger()
    before = engine(ledger=ledger, small=["85"])
    before.run(EASY)
    assert moved(before) > 0.0
    after = engine(ledger=ledger, small=["85"])
    after.run(EASY)
    assert moved(after) > 1.5 * moved(before)


def test_own_calls_count_at_once_and_are_left_out_of_those_of_the_database(database_url, monkeypatch):
    monkeypatch.setattr(policy_notices, "_SETTLED_S", -1.0)
    with Ledger(database_url) as ledger:
        policy = Counting(0.01)
        notices = PolicyNotices(policy, ledger)
        mine, others = (outcome(i, status="certain", target=0.01, time=time.time()) for i in (1, 2))
        notices.certain(mine.time)
        assert policy.certain == 1
        ledger.note([mine, others])
        notices.catch_up()
        notices.catch_up()
        assert policy.certain == 2


@pytest.mark.parametrize("ahead_s", [86_400.0, -86_400.0])
def test_a_clock_that_was_ahead_hides_no_audits(database_url, monkeypatch, ahead_s):
    with Ledger(database_url) as ledger:
        policy = Counting(0.01)
        notices = PolicyNotices(policy, ledger)
        for i, at in enumerate((time.time() + ahead_s, time.time())):
            ledger.note([outcome(i, status="compared", drop=0.0, target=0.01, time=at)])
            ledger.flush()
            notices.catch_up()
        assert len(policy.audits) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_takes_notice_of_nothing_twice():
    ledger = Ledger()
    ledger.note([outcome(1, status="compared", drop=1.0, target=0.01)])
    policy = Counting(0.01)
    notices = PolicyNotices(policy, ledger)
    notices.catch_up()
    notices._process = 0  # as in a fork
    notices.catch_up()
    assert len(policy.audits) == 1


def test_a_policy_that_raises_when_it_is_told_costs_no_answer(caplog):
    class Raises(Counting):
        def observe_certain(self, calls, probability):
            raise ZeroDivisionError

    members = {"small": FakeGenerator(["84"]), "large": FakeGenerator(["84"])}
    policy = Raises()
    policy.choose = lambda prediction, cost_usd, pool: np.ones(len(cost_usd), dtype=int)
    with BestRoute(POOL, members, Router(), policy=policy, audit=1.0) as routed:
        assert routed.run(Query(HARD)).model == "large"
    assert "the policy could not take notice of an audit: ZeroDivisionError" in caplog.text


def test_calls_that_a_ledger_that_was_away_could_not_count_are_counted_later(monkeypatch):
    class Counts(PolicyBase):
        calls = 0

        def choose(self, prediction, cost_usd, pool):
            raise NotImplementedError

        def observe(self, audit):
            pass

        def observe_certain(self, calls, probability):
            self.calls += calls

    ledger, policy = Ledger(), Counts()
    notices = PolicyNotices(policy, ledger)
    notices.share = 0.1
    monkeypatch.setattr(notices, "_began", time.time() + 1)
    some = [
        CallOutcome(
            call_id=f"c{i}",
            time=time.time() - 30,
            model="m",
            plan="m x 1",
            status="certain",
            probability=1.0,
            target=None,
        )
        for i in range(100)
    ]
    ledger.add([], outcomes=some)
    with monkeypatch.context() as away:
        away.setattr(ledger, "count_outcomes", mock.Mock(side_effect=UnreadableStoreError("away")))
        notices.catch_up()
    assert policy.calls == 0
    notices.catch_up()
    assert policy.calls == 100
