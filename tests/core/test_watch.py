"""Alarms while calls run: what raises them, who is told, and what is not watched."""

import logging

import pytest

from bestroute import BestRoute, Pool, Price, Settings
from bestroute.billing.outcomes import CallOutcome
from bestroute.engine.watch import Watch
from bestroute.monitoring import Audit
from bestroute.monitoring.alarms import CHANGES
from bestroute.testing import FakeGenerator

POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large")


class Breaking(FakeGenerator):
    """Answers until it is broken."""

    is_broken = False

    def generate(self, query, n, *, params=None, cancel=None):
        if self.is_broken:
            raise ConnectionError("no")
        return super().generate(query, n, params=params, cancel=cancel)


def outcome(i, **changes):
    made = {"call_id": f"c{i}", "time": float(i), "model": "small", "plan": "small x 1", "status": "unaudited"}
    return CallOutcome(**{**made, "probability": 0.1, **changes})


@pytest.mark.parametrize("audit", [0.5, 0.0])
def test_a_member_that_breaks_is_told_of_while_audits_are_on(audit, caplog):
    told, small = [], Breaking(["84"])
    settings = Settings(attempts=1, breaker_failures=10_000)
    engine = BestRoute(
        POOL,
        {"small": small, "large": FakeGenerator(["84"])},
        router=lambda query: "small",
        audit=audit,
        settings=settings,
        on_alarm=told.append,
    )
    with caplog.at_level(logging.WARNING, logger="bestroute.engine"):
        for i in range(400):
            small.is_broken = i >= 300
            assert engine.run("What is 12 * 7? Answer with only the number.").text == "84"
        engine.close()
    told = [alarm for alarm in told if alarm.kind != "latency"]  # the machine's own may change
    assert {(alarm.kind, alarm.model) for alarm in told} == ({("error", "small")} if audit else set())
    words = "alarm: the error rate of 'small' has changed (false in 0.2 % of streams of 20,000)"
    assert (words in caplog.messages) == bool(audit)


def test_a_drop_above_the_target_and_odd_traffic_are_alarms():
    told = []
    watch = Watch(("small", "large"), 0.01, told.append)
    for i in range(60):
        watch.observe(Audit(f"c{i}", 0.0, 1.0, 0.1))
        watch.note_outcome(outcome(i, familiarity=0.001))
    assert {alarm.kind for alarm in told} == {"drop"}
    assert watch.is_waiting
    watch.look()
    assert {alarm.kind for alarm in told} == {"drop", "familiarity"}
    assert not watch.is_waiting


def test_without_a_target_no_drop_is_an_alarm():
    told = []
    watch = Watch(("small", "large"), None, told.append)
    for i in range(60):
        watch.observe(Audit(f"c{i}", 0.0, 1.0, 0.1))
    assert told == []


def test_one_who_is_told_and_fails_costs_no_other_alarm(caplog):
    def fails(alarm):
        raise ValueError("mine")

    watch = Watch(("small", "large"), 0.01, fails)
    with caplog.at_level(logging.WARNING, logger="bestroute.engine"):
        for i in range(120):
            watch.observe(Audit(f"c{i}", 0.0, 1.0, 0.1))
    assert sum("on_alarm raised" in message for message in caplog.messages) >= 2


def test_alarms_are_counted_by_kind_and_model_with_zeros():
    metered = []
    watch = Watch(("small", "large"), 0.01, None, metered.append)
    assert set(watch.counts.values()) == {0}
    assert set(watch.counts) == {("drop", ""), ("familiarity", ""), *((k, m) for k in CHANGES for m in watch.models)}
    for i in range(60):
        watch.observe(Audit(f"c{i}", 0.0, 1.0, 0.1))
        watch.note_outcome(outcome(i, familiarity=0.001))
    watch.look()
    raised = {name: count for name, count in watch.counts.items() if count}
    assert set(raised) == {("drop", ""), ("familiarity", "")}
    assert sum(raised.values()) == len(metered)


def test_a_meter_that_fails_costs_no_alarm(caplog):
    def fails(alarm):
        raise ValueError("mine")

    told = []
    watch = Watch(("small", "large"), 0.01, told.append, fails)
    with caplog.at_level(logging.WARNING, logger="bestroute.engine"):
        for i in range(60):
            watch.observe(Audit(f"c{i}", 0.0, 1.0, 0.1))
    assert told
    assert any("the meter of alarms raised" in message for message in caplog.messages)


def test_where_fewer_calls_are_audited_those_of_the_reference_alone_speak_less_against_the_alarm():
    raised = []
    watch = Watch(["small"], 0.05, raised.append)
    watch.share = 1.0
    watch.look()
    watch.share = 0.01
    for i in range(100):
        for j in range(99):
            watch.note_outcome(outcome(100 * i + j, status="certain"))
        watch.look()
        watch.observe(Audit(f"c{i}", 0.0, 1.0, 0.01))
    assert {alarm.kind for alarm in raised} == {"drop"}


def test_where_audits_show_nothing_calls_of_the_reference_alone_do_not_speak_against_the_alarm():
    raised = []
    watch = Watch(["small"], 0.05, raised.append)
    for i in range(40):
        for j in range(2000):
            watch.note_outcome(outcome(2000 * i + j, status="certain"))
        watch.look()
        watch.observe_failed()
        watch.observe(Audit(f"c{i}", 0.0, 1.0, 1.0))
    assert {alarm.kind for alarm in raised} == {"drop"}


def test_an_audit_that_fails_is_told_to_alarms():
    failed, small, large = [], FakeGenerator(["84"]), FakeGenerator([RuntimeError("no")])
    with BestRoute(POOL, {"small": small, "large": large}, lambda query: "small", audit=1.0) as routed:
        routed._auditor.watch.observe_failed = lambda: failed.append(1)
        routed.run("What is 12 * 7? Answer with only the number.")
    assert failed == [1]
