"""``bestroute spend``: what a ledger was billed, as a person, a sheet and a program read it."""

import csv
import io
import json
import time

import pytest
from click.testing import CliRunner

from bestroute import BestRoute, Ledger, Pool, Price, Settings
from bestroute.cli import main
from bestroute.evaluation.html_report.ledger_summary import summarise
from bestroute.testing import FakeGenerator, FakeReward

POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large")


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "bills.db"
    members = {"small": FakeGenerator(["a b"]), "large": FakeGenerator(["a b c"])}
    plan = {"cheap": ("small", 2), "dear": ("large", 1)}
    with Ledger(f"sqlite:///{path}") as opened:
        engine = BestRoute(POOL, members, lambda query: plan[query.text], FakeReward(len), ledger=opened)
        for text, team in (("cheap", "search"), ("cheap", "search"), ("dear", "chat")):
            engine.run(text, tags={"team": team})
        engine.close()
        total = opened.totals()["all"]
    return path, total


def run(*arguments):
    done = CliRunner().invoke(main, ["spend", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_table_adds_up_to_the_ledger_and_says_what_was_saved(ledger):
    path, total = ledger
    lines = run(path).splitlines()
    assert lines[0].split()[:2] == ["model", "samples"]
    assert sorted(line.split()[0] for line in lines[1:3]) == ["large", "small"]
    assert [line.split()[0] for line in lines[3:]] == ["all", "saved"]
    assert f"{total['cost_usd']:.6f}" in lines[-2]
    assert f"{1 - total['cost_usd'] / total['reference_cost_usd']:.1%}" in lines[-2]
    assert "%" not in lines[1]
    by_team = run(path, "--by", "tag:team")
    assert "%" in by_team.splitlines()[1]


def test_csv_and_json_hold_the_same_numbers(ledger):
    path, total = ledger
    rows = json.loads(run(path, "--by", "day,model", "--json"))
    table = list(csv.DictReader(io.StringIO(run(path, "--by", "day,model", "--csv"))))
    assert [row["model"] for row in rows] == [row["model"] for row in table]
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(total["cost_usd"])
    assert sum(float(row["cost_usd"]) for row in table) == pytest.approx(total["cost_usd"])
    assert sum(row["samples"] for row in rows) == 5
    assert {row["day"] for row in rows} == {time.strftime("%Y-%m-%d", time.gmtime())}


def test_a_part_of_the_time_and_of_the_tags(ledger):
    path, _ = ledger
    for ago in ("90s", "30m", "1h", "7d", "4w"):
        assert json.loads(run(path, "--since", ago, "--json"))
    assert json.loads(run(path, "--since", "2999-01-01", "--json")) == []
    assert json.loads(run(path, "--until", "1h", "--json")) == []
    (row,) = json.loads(run(path, "--tag", "team=chat", "--json"))
    assert (row["model"], row["samples"]) == ("large", 1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--by", "colour"], "colour"),
        (["--since", "yesterday"], "--since must be a duration (90s, "),
        (["--until", "1y"], "--until must be a duration (90s, "),
        (["--tag", "team"], "--tag must be NAME=VALUE, got 'team'"),
        (["--since", ""], "got ''"),
        (["--csv", "--json"], "give --csv or --json, not both"),
    ],
)
def test_what_it_cannot_print_is_one_sentence(ledger, arguments, why):
    path, _ = ledger
    done = CliRunner().invoke(main, ["spend", str(path), *arguments])
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert why in done.stderr


def test_a_ledger_that_is_not_there_is_not_made(tmp_path):
    done = CliRunner().invoke(main, ["spend", str(tmp_path / "none.db")])
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


def row(call_id, **changes):
    made = {"run_id": "r", "time": 86_400.0, "model": "small", "step": 0, "status": "ok", "input_tokens": 10}
    made |= {"output_tokens": 5, "cached_input_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0}
    made |= {"cost_usd": 25.0, "estimated": False, "error": None, "reference_cost_usd": 100.0, "call_id": call_id}
    return {
        **made,
        "attempt_id": f"{call_id}-{changes.get('kind', 'draw')}",
        "tags": {"team": "a", "user": "b"},
        **changes,
    }


@pytest.fixture
def audited(tmp_path):
    audit = {"model": "large", "kind": "audit", "reference_cost_usd": 0.0}
    with Ledger(tmp_path / "audited.db") as opened:
        opened.add([row("1"), row("1", cost_usd=10.25, **audit)])
        opened.add([row("2", cost_usd=100.0, model="large"), row("2", cost_usd=9.0, **audit)])
        for kind, cost in (("collect", 40.0), ("judge", 2.5)):
            opened.add([row(f"of a {kind}", cost_usd=cost, **{**audit, "kind": kind, "reference_cost_usd": 0.0})])
    return tmp_path / "audited.db"


@pytest.mark.parametrize("by", ["model", "kind", "day", "tag", "tag:team"])
def test_savings_are_shown_net_of_audits_and_counted_once_whatever_they_are_told_apart_by(audited, by):
    lines = run(audited, "--by", by).splitlines()
    assert lines[-1] == (
        "saved 75.00 USD (37.5 %) of the reference's 200.00; audits cost 19.25: net 55.75 USD (27.9 %)"
        "; training data (collect, label) cost 42.50, no part of this"
    )
    *_, last = (line for line in lines[:-1] if "%" in line)
    assert last.split()[-6:] == ["125.000000", "200.000000", "37.5%", "19.250000", "55.750000", "42.500000"]


def test_what_was_saved_and_what_is_left_of_it_are_figures_too(audited):
    (found,) = json.loads(run(audited, "--by", "day", "--json"))
    assert (found["saved_usd"], found["net_usd"], found["training_cost_usd"]) == (75.0, 55.75, 42.5)
    assert {each["net_usd"] for each in json.loads(run(audited, "--by", "model", "--json"))} == {None}


def test_a_ledger_without_a_call_prints_no_saving(tmp_path):
    Ledger(tmp_path / "empty.db").close()
    assert len(run(tmp_path / "empty.db").splitlines()) == 1


@pytest.fixture
def fell_back(tmp_path):
    """Four calls: two that a member failed in, one that it answers, one of the reference's own."""
    down = RuntimeError("Error code: 500 - the member is down, request 1234")
    members = {"small": FakeGenerator([down, down, "fine"]), "large": FakeGenerator(["large"])}
    settings = Settings(attempts=1)
    with BestRoute(
        POOL, members, lambda query: (query.text, 1), ledger=tmp_path / "bills.db", settings=settings
    ) as engine:
        results = [engine.run(model) for model in ("small", "small", "small", "large")]
    assert [result.model for result in results] == ["large", "large", "small", "large"]
    return tmp_path / "bills.db"


def test_a_call_that_fell_back_is_seen_by_reason_in_few_words_that_are_the_same_for_all(fell_back):
    found = {each["reason"]: each for each in json.loads(run(fell_back, "--by", "reason", "--json"))}
    plain, fallen = "chosen by the router function", "chosen by the router function; fell back from small"
    assert set(found) == {plain, fallen}
    assert (found[plain]["samples"], found[plain]["failed"]) == (4, 2)
    assert (found[fallen]["samples"], found[fallen]["failed"]) == (2, 0)
    assert {each["saved_usd"] for each in found.values()} == {None}, "the two are rows of the same calls"


def test_a_call_that_the_reference_answers_after_an_empty_reply_costs_what_it_costs_alone(tmp_path):
    members = {"small": FakeGenerator([""]), "large": FakeGenerator(["large"])}
    settings = Settings(attempts=1)
    with BestRoute(
        POOL, members, lambda query: ("small", 1), ledger=tmp_path / "bills.db", settings=settings
    ) as engine:
        result = engine.run("hi")
    (wasted, answer) = result.samples
    assert result.reference_cost_usd == answer.cost_usd
    assert result.cost_usd == wasted.cost_usd + answer.cost_usd
    with Ledger(tmp_path / "bills.db") as ledger:
        total = ledger.totals()["all"]
        assert total["reference_cost_usd"] == pytest.approx(answer.cost_usd)
        assert [row["reference_cost_usd"] > 0 for row in ledger.rows()] == [True, True]
    by_reason = json.loads(run(tmp_path / "bills.db", "--by", "reason", "--json"))
    assert len(by_reason) == 2
    assert {each["saved_usd"] for each in by_reason} == {None}


def test_a_member_that_rests_and_a_step_that_fails_are_fallbacks_too(tmp_path):
    down = RuntimeError("Error code: 500 - down")
    members = {"small": FakeGenerator([down]), "large": FakeGenerator(["large"])}
    settings = Settings(attempts=1, breaker_failures=2)
    with BestRoute(
        POOL, members, lambda query: ("small", 1), ledger=tmp_path / "bills.db", settings=settings
    ) as engine:
        for _ in range(4):
            engine.run("hi")
    with Ledger(tmp_path / "bills.db") as ledger:
        answers = [each for each in ledger.rows() if each["model"] == "large"]
    assert [each["reason"] for each in answers] == ["chosen by the router function; fell back from small"] * 4


def test_the_page_counts_the_calls_that_fell_back_in_every_kind_of_ledger(fell_back):
    with Ledger(fell_back) as kept:
        memory = Ledger()
        memory.add(kept.rows())
        for ledger in (kept, memory):
            summary = summarise(ledger)
            assert (summary.fell_back, summary.calls) == (2, 4)
            assert summary.calls_by_plan == {"large x 1": 3, "small x 1": 1}
            assert summary.total["samples"] == 6
            reasons = {bill.reason for bill, _ in summary.most_expensive if bill.fell_back}
            assert reasons == {"chosen by the router function; fell back from small"}
