"""``bestroute spend``: what a ledger was billed, as a person, a sheet and a program read it."""

import csv
import io
import json
import time

import pytest
from click.testing import CliRunner

from bestroute import BestRoute, Ledger, Pool, Price
from bestroute.cli import main
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
    assert [line.split()[0] for line in lines[1:]] == ["small", "large", "all"] or [
        line.split()[0] for line in lines[1:]
    ] == ["large", "small", "all"]
    assert f"{total['cost_usd']:.6f}" in lines[-1]
    assert f"{1 - total['cost_usd'] / total['reference_cost_usd']:.1%}" in lines[-1]
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
    assert json.loads(run(path, "--since", "1h", "--json"))
    assert json.loads(run(path, "--since", "2999-01-01", "--json")) == []
    assert json.loads(run(path, "--until", "1h", "--json")) == []
    (row,) = json.loads(run(path, "--tag", "team=chat", "--json"))
    assert (row["model"], row["samples"]) == ("large", 1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--by", "colour"], "colour"),
        (["--since", "yesterday"], "yesterday"),
        (["--tag", "team"], "--tag is written NAME=VALUE, got 'team'"),
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
