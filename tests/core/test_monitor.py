"""What a ledger shows of live traffic: drop and saving with intervals, alarms, what it would take to know more."""

import json
import math
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bestroute import BestRoute, ConfigError, Ledger
from bestroute.billing.outcomes import CallOutcome
from bestroute.monitoring import monitor_report
from bestroute.monitoring.draw_facts import NO_LOGPROBS, draw_facts
from bestroute.monitoring.monitor_report import audits_for, monitor
from bestroute.testing import FakeGenerator


def outcome(i, **changes):
    made = {
        "call_id": f"c{i}",
        "time": 86_400.0 * (i % 2) + i,
        "model": "small",
        "plan": "small x 1",
        "status": "compared",
        "probability": 0.5,
        "tags": {"task": "sums" if i % 2 else "words"},
        "drop": 0.0,
        "cost_usd": 0.25,
        "reference_cost_usd": 1.0,
        "differs": False,
    }
    return CallOutcome(**{**made, **changes})


@pytest.mark.parametrize("kind", [str, Path])
def test_a_ledger_may_be_given_by_its_path_and_none_is_made(tmp_path, kind):
    path = tmp_path / "bills.db"
    with Ledger(path) as ledger:
        ledger.note([outcome(i) for i in range(20)])
    assert monitor(kind(path), target=0.01)[0].calls == 20
    with pytest.raises(FileNotFoundError):
        monitor(kind(tmp_path / "bils.db"))
    assert not (tmp_path / "bils.db").exists()
    with pytest.raises(ConfigError, match="a ledger is kept in a file, .* got 'mysql://x'"):
        monitor("mysql://x")


def test_the_report_says_what_audits_show(database_url):
    with Ledger(database_url) as ledger:
        audited = [outcome(i, drop=float(i % 10 == 0), differs=i % 10 == 0, predicted_drop=0.05) for i in range(200)]
        others = [
            outcome(200 + i, status="unaudited", drop=None, differs=None, predicted_drop=0.07) for i in range(200)
        ]
        certain = [outcome(400 + i, status="certain", drop=None, differs=None, model="large") for i in range(100)]
        rest = [outcome(500, status="uncompared", drop=None), outcome(501, status="failed", drop=None)]
        ledger.note([*audited, *others, *certain, *rest])
        (report,) = monitor(ledger, target=0.01)
    assert (report.calls, report.certain, report.uncompared, report.failed) == (502, 100, 1, 1)
    assert report.predicted_drop == pytest.approx(0.06)
    assert report.differs == pytest.approx(0.1)
    whole = report.lines[0]
    assert (whole.by, whole.audited, whole.calls) == ("all", 200, 500)
    assert whole.drop == pytest.approx(0.08, abs=0.01)  # a tenth of the 400 that had something to lose
    assert whole.low < whole.drop < whole.high
    assert {(line.by, line.name) for line in report.lines[1:]} == {
        ("model", "small"),
        ("task", "sums"),
        ("task", "words"),
        ("day", "1970-01-01"),
        ("day", "1970-01-02"),
    }
    sums, words = [line for line in report.lines if line.by == "task"]
    assert (sums.drop, words.drop) == (pytest.approx(0.0), pytest.approx(0.16, abs=0.01))
    assert report.alarms
    assert "more audited calls distinguish 1 % from 2 %" in report.more
    assert json.loads(json.dumps(report.to_dict()))["lines"][0]["by"] == "all"


def test_drops_are_shares_of_the_references_quality():
    ledger = Ledger()
    ledger.note([outcome(i, drop=0.1, reference_quality=0.5) for i in range(100)])
    (report,) = monitor(ledger)
    assert report.lines[0].drop == pytest.approx(0.2)


def test_the_target_is_the_policys_where_none_is_given():
    ledger = Ledger()
    ledger.note([outcome(i, target=0.03) for i in range(20)])
    assert [report.target for report in monitor(ledger)] == [0.03]
    assert [report.target for report in monitor(ledger, target=0.0)] == [0.0]


def test_a_loss_that_is_certain_is_an_alarm_and_no_loss_is_none():
    ledger = Ledger()
    ledger.note([outcome(i, drop=float(i % 2)) for i in range(2000)])
    (report,) = monitor(ledger, target=0.01)
    assert report.lines[0].low > 0.4
    assert "the drop is above the target of 1 %: at least" in report.alarms[0]
    assert any("audits show it (false in 7 % of streams of 1,000)" in alarm for alarm in report.alarms)
    ledger = Ledger()
    ledger.note([outcome(i) for i in range(2000)])
    (report,) = monitor(ledger, target=0.01)
    assert (report.alarms, report.lines[0].drop) == ((), 0.0)


def test_without_a_target_it_says_that_no_drop_raises_an_alarm():
    ledger = Ledger()
    ledger.note([outcome(i, drop=1.0) for i in range(50)])
    (report,) = monitor(ledger)
    assert "no target is known, so no drop raises an alarm: give --target" in report.words()
    (report,) = monitor(ledger, target=0.01)
    assert "no target is known" not in report.words()


def test_traffic_that_is_unlike_training_is_an_alarm():
    for familiarity, is_raised in ((0.01, True), (0.5, False)):
        ledger = Ledger()
        ledger.note([outcome(i, status="unaudited", drop=None, familiarity=familiarity) for i in range(500)])
        (report,) = monitor(ledger)
        assert any("unlike those of training" in alarm for alarm in report.alarms) == is_raised


def test_in_the_shadow_it_says_what_would_have_been_saved_and_lost_and_how_often_answers_differ():
    chance, ledger = random.Random(0), Ledger()
    for i in range(300):
        is_worse = chance.random() < 0.2
        status = "compared" if i % 2 else "unaudited"
        cost = 0.25 if i % 2 else 0.0
        ledger.note([outcome(i, mode="shadow", status=status, drop=float(is_worse), differs=is_worse, cost_usd=cost)])
    (report,) = monitor(ledger)
    assert (report.mode, report.lines[0].saving) == ("shadow", pytest.approx(0.75))
    assert report.saving_ci95 == (pytest.approx(0.75), pytest.approx(0.75))
    assert 0.1 < report.differs < 0.3
    assert report.lines[0].low < 0.2 < report.lines[0].high


@pytest.mark.parametrize(("half_width", "spread"), [(0.05, 0.3), (0.01, 0.2), (0.005, 0.1)])
def test_so_many_audits_make_the_interval_so_narrow(half_width, spread):
    from bestroute.stats.confidence_sequence import standard_errors_wide

    n = audits_for(half_width, spread)
    wide = [float(standard_errors_wide(float(k), horizon=k)) * spread / math.sqrt(k) for k in (n - 1, n)]
    assert wide[1] <= half_width < wide[0]


def engine(pool, ledger, **settings):
    members = {m: FakeGenerator(["84"]) for m in pool.models}
    return BestRoute(pool, members, lambda query: "small", ledger=ledger, **settings)


def bestroute(*arguments):
    return subprocess.run([sys.executable, "-m", "bestroute", *arguments], capture_output=True, text=True, check=False)


def test_the_engine_and_the_command_show_the_same(pool, tmp_path):
    path = tmp_path / "bills.db"
    with Ledger(f"sqlite:///{path}") as ledger, engine(pool, ledger, audit=1.0) as routed:
        call = [routed.run("What is 12 * 7? Answer with only the number.").call_id for _ in range(12)][-1]
        routed.feedback(call, 0.5)
        routed.close()
        (report,) = routed.monitor(target=0.01)
        assert report.lines[0].audited == 12
        assert report.audit_cost_usd == pytest.approx(ledger.audit_cost_usd)
        assert (report.feedback, report.feedback_mean) == (1, 0.5)
    shown = bestroute("monitor", str(path), "--target", "0.01")
    assert (shown.returncode, shown.stdout) == (0, report.words() + "\n")
    for words in ("target          1 %", "audited drop    0 % [", "12 audited of 12", "no alarm", "they cost", "USD"):
        assert words in shown.stdout
    found = json.loads(bestroute("monitor", str(path), "--target", "0.01", "--json").stdout)
    assert found == {"modes": [json.loads(json.dumps(report.to_dict()))]}


@pytest.mark.parametrize("target", [math.nan, -0.1, 1.5, "1 %", True])
def test_a_target_is_a_share(target):
    with pytest.raises(ConfigError, match=r"target must be a number in \[0, 1\], a relative drop, got"):
        monitor(Ledger(), target=target)


@pytest.mark.parametrize(
    "arguments", [("monitor", "LEDGER", "--target"), ("report", "LEDGER", "--out", "r.html", "--target")]
)
def test_a_command_takes_nan_for_no_number(tmp_path, arguments):
    path = tmp_path / "b.db"
    Ledger(path).close()
    ran = bestroute(*(str(path) if a == "LEDGER" else a for a in arguments), "nan")
    assert ran.returncode == 2
    assert "'nan' is no number" in ran.stderr


def test_a_ledger_without_audits_says_what_to_switch_on(pool, tmp_path):
    path = tmp_path / "bills.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        routed = engine(pool, ledger)
        routed.run("hi")
        assert routed.monitor() == []
    shown = bestroute("monitor", str(path))
    assert (shown.returncode, "audit=0.03" in shown.stdout) == (0, True)
    assert "audit=0.03" in json.loads(bestroute("monitor", str(path), "--json").stdout)["hint"]
    assert bestroute("monitor", str(tmp_path / "none.db")).returncode == 2
    assert "bestroute monitor bills.db" in bestroute("monitor", "--help").stdout


def test_a_ledger_of_somebody_elses_cannot_be_read(pool):
    class Books:
        def add(self, rows):
            pass

    with pytest.raises(ConfigError, match="monitor needs a bestroute.Ledger, but the ledger is a Books"):
        engine(pool, Books()).monitor()


def test_what_collecting_and_labelling_cost_makes_no_audit_dearer():
    ledger = Ledger()
    ledger.note([outcome(i) for i in range(20)])
    ledger.add([draw_row(1, kind="audit")])
    (report,) = monitor(ledger)
    ledger.add([draw_row(2, kind="collect", cost_usd=7.0), draw_row(3, kind="judge", cost_usd=7.0)])
    (later,) = monitor(ledger)
    assert "they cost" in report.more
    assert later.more == report.more
    assert (later.audit_cost_usd, later.training_cost_usd) == (0.25, 14.0)
    assert later.words().count("; training data (collect, label) cost 14.000000, no part of this") == 1
    assert "training" not in report.words()


def draw_row(i, **changes):
    made = {
        "call_id": f"c{i}",
        "attempt_id": f"a{i}",
        "time": float(i),
        "model": "small",
        "step": 0,
        "status": "ok",
        "input_tokens": 10,
        "output_tokens": 50 + i % 7,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 0.25,
        "estimated": False,
        "error": None,
        "reference_cost_usd": 1.0,
        "plan": "small x 1 until 0.7, then large x 1",
        "reason": "cheap",
        "latency_s": 0.5 + (i % 11) / 10,
    }
    return {**made, **changes}


@pytest.mark.parametrize(
    ("changed", "changes"),
    [
        (None, {}),
        ("the error rate of 'small'", {"status": "failed", "error": "E: no"}),
        ("the length of answers of 'small'", {"output_tokens": 400}),
        ("the latency of 'small'", {"latency_s": 9.0}),
        ("how often the log-probabilities are told of 'small'", {"reason": f"cheap; {NO_LOGPROBS}"}),
    ],
)
def test_what_changes_of_a_member_is_an_alarm_of_the_ledger(database_url, changed, changes):
    with Ledger(database_url) as ledger:
        ledger.note([outcome(i) for i in range(20)])
        ledger.add([draw_row(i) for i in range(1_000)])
        ledger.add([draw_row(i, **changes) for i in range(1_000, 1_400)])
        alarms = monitor(ledger)[0].alarms
    assert [alarm.partition(": ")[2].partition(" has changed")[0] for alarm in alarms] == [changed] * bool(changed)
    assert all("(false in 0.4 % of streams of 20,000)" in alarm for alarm in alarms)


@pytest.mark.parametrize(
    ("later", "until"),
    [({"kind": "collect"}, math.inf), ({"kind": "judge"}, math.inf), ({"kind": "audit"}, math.inf), ({}, 1_400.0)],
)
def test_rows_that_no_alarm_is_about_push_none_out_that_it_is_about(database_url, monkeypatch, later, until):
    monkeypatch.setattr(monitor_report, "NEWEST", 1_400)
    for ledger in (Ledger(database_url), Ledger(keep_rows=3_000)):
        with ledger:
            ledger.note([outcome(i) for i in range(20)])
            ledger.add([draw_row(i) for i in range(1_000)])
            ledger.add([draw_row(i, latency_s=9.0) for i in range(1_000, 1_400)])
            ledger.add([draw_row(i, **later) for i in range(1_400, 3_000)])
            (alarm,) = monitor(ledger, until=until)[0].alarms
        assert "the latency of 'small' has changed" in alarm


def test_memory_keeps_answers_rows_whatever_is_drawn_beside_them():
    ledger = Ledger(keep_rows=10)
    ledger.add([draw_row(i) for i in range(12)])
    ledger.add([draw_row(i, kind="collect") for i in range(20, 35)])
    ledger.add([draw_row(40)])
    again = pickle.loads(pickle.dumps(ledger))
    for each in (ledger, again):
        assert [row["time"] for row in each.rows()] == [*range(3, 12), *range(25, 35), 40]
        assert [row["time"] for row in each.rows(newest=2, kind="draw", until=11)] == [9, 10]
        assert each.totals()["all"]["samples"] == 28


def test_latency_that_varies_within_a_doubling_is_no_alarm():
    ledger = Ledger()
    ledger.note([outcome(i) for i in range(20)])
    ledger.add([draw_row(i, latency_s=1.0 if i < 700 else 1.3) for i in range(1_400)])
    assert monitor(ledger)[0].alarms == ()


def test_fewer_answers_accepted_are_an_alarm():
    ledger = Ledger()
    ledger.note([outcome(i) for i in range(20)])
    for i in range(1_500):
        accepted = i % 10 > (1 if i < 1_000 else 7)
        ledger.add([draw_row(i)] + [draw_row(i, model="large", step=1)] * (not accepted))
    assert ["the acceptance of 'small' has changed" in alarm for alarm in monitor(ledger)[0].alarms] == [True]


def test_of_several_draws_of_a_member_in_one_call_the_first_counts_and_cancelled_ones_never():
    rows = [draw_row(1, status="cancelled"), draw_row(1, output_tokens=3), draw_row(1, output_tokens=900)]
    rows.append(draw_row(1, kind="audit", model="large"))
    rows = [{"kind": "draw", **row} for row in rows]
    ((model, facts),) = draw_facts(rows)
    assert (model, facts["length"], facts["acceptance"]) == ("small", 3.0, 1.0)


def test_the_saving_is_shown_net_of_audits(pool):
    ledger = Ledger()
    ledger.note([outcome(i) for i in range(20)])
    bill = {"run_id": "r", "time": 1.0, "model": "small", "step": 0, "status": "ok", "input_tokens": 1}
    bill |= {"output_tokens": 1, "cached_input_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0}
    bill |= {"estimated": False, "error": None, "call_id": "c1"}
    ledger.add([{**bill, "cost_usd": 1.0, "reference_cost_usd": 4.0, "attempt_id": "a"}])
    ledger.add([{**bill, "cost_usd": 0.5, "reference_cost_usd": 0.0, "attempt_id": "b", "kind": "audit"}])
    (report,) = monitor(ledger)
    assert (report.answer_cost_usd, report.audit_cost_usd, report.reference_cost_usd) == (1.0, 0.5, 4.0)
    net = "saved 3.0000 USD (75.0 %) of the reference's 4.0000; audits cost 0.5000: net 2.5000 USD (62.5 %)"
    assert f"  money, all modes: {net}\n" in report.words()
