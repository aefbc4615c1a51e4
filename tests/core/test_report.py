"""``bestroute report``: the same figures as ``spend`` and ``monitor``, on one page that no text can break out of."""

import gzip
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from bestroute import BestRoute, Ledger, Pool, Price, Usage
from bestroute.billing.outcomes import CallOutcome
from bestroute.billing.savings import Savings
from bestroute.cli import main
from bestroute.evaluation.html_report.blocks import Chart, DataSeries, KeyFigure, Page, Section, Table, Text, shown, usd
from bestroute.evaluation.html_report.ledger_summary import summarise
from bestroute.evaluation.html_report.page import html
from bestroute.evaluation.html_report.promise_states import live_states
from bestroute.evaluation.html_report.svg import svg
from bestroute.monitoring.monitor_report import monitor
from bestroute.policies.promises import Promise, prices_of
from bestroute.testing import FakeGenerator, FakeReward

HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(1)'>\"' onload=alert(1) x=\""
POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large")
DAY = 86_400.0


def fill(ledger):
    members = {m: FakeGenerator(["a b"], usage=Usage(1000, 100)) for m in POOL.models}
    plan = {"cheap": ("small", 2), "dear": ("large", 1)}
    engine = BestRoute(POOL, members, lambda query: plan[query.text], FakeReward(len), ledger=ledger)
    for text, team in (("cheap", "search"), ("cheap", "search"), ("dear", "chat"), ("dear", HOSTILE)):
        engine.run(text, tags={"team": team})
    engine.close()


@pytest.fixture
def path(tmp_path):
    with Ledger(f"sqlite:///{tmp_path / 'bills.db'}") as ledger:
        fill(ledger)
    return tmp_path / "bills.db"


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def page_of(path, *options):
    out = path.parent / "report.html"
    done = run("report", path, "--out", out, *options)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"report: {out}\n"
    return out.read_text()


def visible(page):
    return re.sub(r"<script.*?</script>|<style>.*?</style>|<[^>]*>", " ", page, flags=re.S)


def test_the_page_holds_the_figures_that_spend_prints(path):
    (total,) = json.loads(run("spend", path, "--by", "kind", "--json").stdout)
    text = visible(page_of(path))
    assert usd(total["cost_usd"]) in text
    assert usd(total["reference_cost_usd"]) in text
    for row in json.loads(run("spend", path, "--by", "plan", "--json").stdout):
        assert usd(row["cost_usd"]) in text
    assert "4 calls, 6 samples" in text
    assert usd(total["reference_cost_usd"] - total["cost_usd"] - total["audit_cost_usd"]) in text
    assert "Saved, net of audits" in text


def test_what_collect_was_billed_is_a_figure_of_its_own_and_lowers_no_saving(path):
    with Ledger(path) as ledger:
        before, drawn = summarise(ledger), ledger.rows()[0]
        more = {"kind": "collect", "status": "failed", "cost_usd": 31.25, "reference_cost_usd": 0.0, "call_id": "r"}
        ledger.add([{**drawn, **more, "attempt_id": "r-1"}])
        assert Savings.of(summarise(ledger).total).net_usd == Savings.of(before.total).net_usd
    text = " ".join(visible(page_of(path)).split())
    assert "Training data $31.25 by collect and label; no part of the saving" in text
    assert "4 calls, 6 samples" in text, "what was drawn for records answered no call"
    assert "Failed draws 0 of 6" in text


def test_a_part_of_the_time_is_reported_alone(path):
    assert "0 calls, 0 samples" in visible(page_of(path, "--since", "2999-01-01"))
    assert "4 calls" in visible(page_of(path, "--since", "1h"))


def test_every_kind_of_ledger_gives_the_same_summary(ledger):
    rows = [
        {
            **{"call_id": f"c{i // 2}", "time": DAY * (i // 4), "model": ["small", "large"][i % 2], "step": 0},
            **{"status": "ok" if i % 5 else "failed", "input_tokens": 10, "output_tokens": 5, "cached_input_tokens": 0},
            **{"cache_write_tokens": 0, "reasoning_tokens": 0, "cost_usd": 0.01 * (i + 1), "estimated": False},
            **{"error": None, "reference_cost_usd": 0.5 * (i % 2), "plan": f"p{i % 2}", "reason": f"r{i % 3}"},
            **{"kind": "audit" if i == 9 else "draw", "tags": {"team": f"t{i % 3}"}},
        }
        for i in range(30)
    ]
    outcomes = [
        CallOutcome(
            *(f"c{i}", DAY * (i // 2), "small", "p", ["unaudited", "compared", "certain"][i % 3], 0.5),
            tags={"task": f"k{i % 2}"},
            mode="shadow" if i > 9 else "on",
            predicted_drop=0.1 * (i % 4),
            familiarity=0.01 if i % 2 else None,
            target=0.05,
            drop=0.2 if i % 3 == 1 else None,
            cost_usd=0.1 * i,
            reference_cost_usd=0.2 * i,
        )
        for i in range(15)
    ]
    memory = Ledger()
    for each in (memory, ledger):
        each.add(rows, outcomes=outcomes)
    one, other = summarise(memory), summarise(ledger)
    assert one.total == pytest.approx(other.total)
    assert one.calls == other.calls == 15
    assert one.saving_ci95 == pytest.approx(other.saving_ci95)
    assert one.calls_by_plan == other.calls_by_plan
    assert [bill for bill, _ in one.most_expensive] == [bill for bill, _ in other.most_expensive]
    assert [drawn for _, drawn in one.most_expensive] == [drawn for _, drawn in other.most_expensive]
    assert one.predicted == other.predicted
    assert [report.words() for report in one.reports] == [report.words() for report in other.reports]
    assert [report.mode for report in one.reports] == ["on", "shadow"]


def test_the_saving_and_its_interval_are_those_of_a_ratio_over_calls():
    ledger = Ledger()
    fill(ledger)
    summary = summarise(ledger)
    calls = {}
    for row in ledger.rows():
        cost, reference = calls.get(row["call_id"], (0.0, 0.0))
        calls[row["call_id"]] = cost + row["cost_usd"], reference + row["reference_cost_usd"]
    cost, reference = np.array(list(calls.values())).T
    ratio = 1 - cost.sum() / reference.sum()
    residuals = (reference - cost) - ratio * reference
    half = 1.96 * np.sqrt((residuals**2).sum() * 4 / 3) / reference.sum()
    assert summary.saving_ci95 == pytest.approx((ratio - half, ratio + half))


def test_a_ledgers_alarms_are_the_same_looked_at_at_once_or_one_by_one(tmp_path):
    from bestroute.monitoring.alarms import Alarms

    familiarity = np.where(np.random.default_rng(0).random(700) < 0.5, 0.0, 1.0)
    at_once, one_by_one = (Alarms(0.01, (), least_probability=1.0) for _ in range(2))
    raised = [(i, alarm) for i, value in enumerate(familiarity) for alarm in one_by_one.observe_query(float(value))]
    assert raised
    assert (
        at_once.observe_queries(list(familiarity[:303]))
        + [(i + 303, alarm) for i, alarm in at_once.observe_queries(list(familiarity[303:]))]
        == raised
    )


PROMISE = Promise("max_drop", 0.01, 0.95, 0.02, "recorded", prices_of(POOL), {"queries": 100}, {})


@pytest.mark.parametrize(("drop", "state"), [(0.0, "kept so far"), (1.0, "broken")])
def test_audits_say_whether_a_promise_is_kept(drop, state):
    ledger = Ledger()
    ledger.note(
        [
            CallOutcome(f"c{i}", DAY, "small", "p", "compared", 1.0, drop=drop if i % 4 == 0 else 0.0)
            for i in range(4000)
        ]
    )
    (found,) = live_states(summarise(ledger), [PROMISE], POOL)
    assert found.state == state
    dearer = Pool(["small", "large"], {"small": Price(2, 2), "large": Price(10, 20)}, reference="large")
    (found,) = live_states(summarise(ledger), [PROMISE], dearer)
    assert found.state == f"{state}; prices have changed, so it promises nothing"
    assert "small input" in found.why


def test_the_saving_that_was_foretold_stands_beside_the_one_that_was_measured(path):
    with Ledger(path) as ledger:
        summary = summarise(ledger)
    spent = summary.total
    saved = shown(1 - spent["cost_usd"] / spent["reference_cost_usd"], percent=True)
    made = replace(PROMISE, estimates={"saving": 0.25, "drop": 0.0, "usd_per_1k": 1.0})
    frozen, promised = live_states(summary, [made], POOL, (), {"0.01": (0.3, 0.2, 0.4)})
    assert (frozen.state, frozen.foretold) == ("an aim", "30 %, 20 % to 40 %")
    assert promised.foretold == "25 %, biased upwards by the choice"
    assert frozen.measured == promised.measured
    assert frozen.measured.startswith(f"{saved}, ")
    (nothing, _) = live_states(summarise(Ledger()), [PROMISE], POOL, (), {"0.01": (0.3, 0.2, 0.4)})
    assert nothing.measured == "no call"


def test_without_audits_a_promise_is_not_checked_and_a_budget_is():
    ledger = Ledger()
    fill(ledger)
    budget = Promise("budget", 0.001, 0.95, 0.02, "recorded", prices_of(POOL), {}, {})
    assert [s.state for s in live_states(summarise(ledger), [PROMISE, budget], POOL)] == ["not checked", "broken"]
    assert monitor(ledger) == []


def test_no_text_of_a_page_becomes_markup_or_ends_its_data(path):
    chart = Chart(HOSTILE, HOSTILE, HOSTILE, (DataSeries(HOSTILE, (HOSTILE,), (1.0,), "bars", labels=(HOSTILE,)),))
    table = Table(HOSTILE, (HOSTILE, HOSTILE), ((HOSTILE, HOSTILE),))
    figures = (KeyFigure(HOSTILE, HOSTILE, HOSTILE),)
    page = html(Page(HOSTILE, HOSTILE, figures, (Section(HOSTILE, (Text((HOSTILE,)), table, chart)),)))
    for each in (page, page_of(path)):
        assert "<img" not in each
        assert "alert(1)</script>" not in each
        assert re.search(r"<[^>]* onload=", re.sub(r"\"[^\"]*\"", "", each)) is None
    assert "<img" not in svg(chart)


def test_the_page_fetches_nothing_and_runs_no_other_script(path):
    page = page_of(path)
    assert "default-src 'none'" in page
    assert "'unsafe-inline'" not in re.search(r"script-src ([^;]*);", page)[1]
    assert re.search(r"<(?:script|link|img|iframe)[^>]* (?:src|href)=", page) is None


def test_without_the_plotting_library_the_page_is_whole_and_the_extra_is_named(path, monkeypatch):
    monkeypatch.setattr("bestroute.evaluation.html_report.page.plotting_script", lambda: None)
    out = path.parent / "still.html"
    done = run("report", path, "--out", out)
    assert "bestroute[report]" in done.stderr
    page = out.read_text()
    assert len(page) < 200_000
    assert page.count("<svg") >= 3


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["bills.db"], "--out"),
        (["a.jsonl", "--out", "o.html"], "--router DIR"),
        (["a.jsonl", "--router", ".", "--since", "7d", "--out", "o.html"], "are for ledgers, not for records"),
        (["bills.db", "--policy", "threshold:0.8", "--out", "o.html"], "are for records"),
        (["bills.db", "b.db", "--out", "o.html"], "one ledger"),
        (["none.db", "--out", "o.html"], "none.db"),
        (["bills.db", "--since", "yesterday", "--out", "o.html"], "yesterday"),
        (["bills.db", "--until", "1y", "--out", "o.html"], "--until must be a duration"),
        (["bills.db", "--out", "none/o.html"], "none/o.html: cannot read or write: No such file or directory"),
    ],
)
def test_what_it_cannot_show_is_one_sentence(path, monkeypatch, arguments, why):
    monkeypatch.chdir(path.parent)
    done = run("report", *arguments)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert why in done.stderr
    assert not (path.parent / "o.html").exists()


def test_a_report_of_records_holds_what_evaluate_prints(tmp_path):
    pytest.importorskip("sklearn")
    from bestroute.demo.dataset import RECORDS, ROUTER, is_held_out

    lines = [line for line in gzip.open(RECORDS, "rt") if is_held_out(json.loads(line)["group"])]
    records, out = tmp_path / "others.jsonl", tmp_path / "report.html"
    records.write_text("".join(lines))
    options = ("--resamples", 100, "--policy", "threshold:0.5")
    done = run("report", records, "--router", ROUTER, *options, "--out", out)
    assert done.exit_code == 0, done.output
    run("evaluate", ROUTER, records, *options, "--json", tmp_path / "r.json")
    report, text = json.loads((tmp_path / "r.json").read_text()), visible(out.read_text())
    assert f"{report['queries']} of" in " ".join(text.split())
    assert usd(1000 * report["policy"]["cost_usd"]) in text
    for plan in report["calibration"]:
        assert plan["plan"] in text
    assert "oracle" in text
    assert "hull of fixed plans" in text
