"""A file of prompts routed: each line the decision of its prompt alone, whatever stops the run, nothing twice."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

from bestroute import BestRoute, ConfigError, Ledger, MajorityVote, QualityPolicy, Query, RecordError
from bestroute._utils import extras
from bestroute.cli import main
from bestroute.cli.route_engine import MakeEngine
from bestroute.demo.dataset import ROUTER, demo_pool, held_out
from bestroute.engine.route_log import route_log
from bestroute.engine.route_rows import DECIDED, RouteRows, decide_rows
from bestroute.router import MultiHeadRouter
from bestroute.testing import FakeGenerator
from bestroute.types.bases import PolicyBase

POLICY = "quality:0.0000025"
"""At which the demo's router takes several plans."""


@pytest.fixture(scope="module")
def engine():
    return MakeEngine(ROUTER, policy=POLICY)()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    queries = [record.query for record in held_out()[:40]]
    path.write_text("".join(json.dumps({"id": f"q{i}", "query": query}) + "\n" for i, query in enumerate(queries)))
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["route", str(ROUTER), *map(str, arguments)], catch_exceptions=False)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same_lines(path, other):
    names = ("id", "plan", "n", "decided_by")
    assert [[line[name] for name in names] for line in lines(path)] == [
        [x[name] for name in names] for x in lines(other)
    ]
    assert [line["expected_cost_usd"] for line in lines(path)] == pytest.approx(
        [line["expected_cost_usd"] for line in lines(other)], rel=1e-4
    )


def numbers(decision):
    """What is predicted; a matrix of many rows is not multiplied to the last bit as a row alone."""
    plans = [value for plan in decision.to_dict()["plans"] for name, value in plan.items() if name != "plan"]
    return pytest.approx(plans, rel=1e-4, abs=1e-6)


def why(reason):
    return reason.partition(": match")[0]


def assert_alike(many, alone):
    assert [d.plan for d in many] == [d.plan for d in alone]
    assert [why(d.reason) for d in many] == [why(d.reason) for d in alone]
    assert [d.left_out for d in many] == [d.left_out for d in alone]
    for one, other in zip(many, alone, strict=True):
        assert [v for p in one.to_dict()["plans"] for n, v in p.items() if n != "plan"] == numbers(other)


def test_decisions_on_many_queries_are_those_on_each_alone(engine):
    queries = [Query(record.query) for record in held_out()[:200]]
    many = engine.route_all(queries)
    assert_alike(many, [engine.route(query) for query in queries])
    assert len({str(d.plan) for d in many}) > 1
    assert engine.route_all([]) == []


async def test_many_are_decided_on_without_blocking_the_loop(engine):
    queries = [record.query for record in held_out()[:20]]
    assert_alike(await engine.aroute_all(queries), engine.route_all(queries))


class NoTools(FakeGenerator):
    def lacks(self, query):
        return "it has no tools" if query.tools else None


@pytest.mark.parametrize("unable", [0, 1, 2])
def test_members_that_lack_what_some_queries_need_are_left_out_of_those_alone(unable):
    pool = demo_pool()
    members = {m: (NoTools if i == unable else FakeGenerator)(["x"]) for i, m in enumerate(pool.models)}
    engine = BestRoute(pool, members, MultiHeadRouter.from_pretrained(ROUTER), MajorityVote(), POLICY)
    tool = {"type": "function", "function": {"name": "add"}}
    queries = [Query(r.query, tools=[tool] if i % 3 == 0 else None) for i, r in enumerate(held_out()[:60])]
    many = engine.route_all(queries)
    assert_alike(many, [engine.route(query) for query in queries])
    assert {tuple(d.left_out) for d in many} == {(), (pool.models[unable],)}


@pytest.mark.parametrize("chosen", ["error", "far", "short"])
def test_a_policy_that_fails_on_many_is_asked_about_each(chosen):
    class Odd(PolicyBase):
        def choose(self, prediction, cost_usd, pool):
            if len(prediction) > 1:
                if chosen == "error":
                    raise ValueError("too many")
                return np.full(len(prediction) if chosen == "far" else 1, 10**6 if chosen == "far" else 0)
            return QualityPolicy(2.5e-6).choose(prediction, cost_usd, pool)

    pool = demo_pool()
    members = {m: FakeGenerator(["x"]) for m in pool.models}
    engine = BestRoute(pool, members, MultiHeadRouter.from_pretrained(ROUTER), MajorityVote(), Odd())
    queries = [Query(r.query) for r in held_out()[:10]]
    assert_alike(engine.route_all(queries), [engine.route(query) for query in queries])


def test_in_the_shadow_and_without_a_router_decisions_are_those_of_each_alone():
    pool = demo_pool()
    members = {m: FakeGenerator(["x"]) for m in pool.models}
    queries = [r.query for r in held_out()[:5]]
    shadow = BestRoute(pool, members, MultiHeadRouter.from_pretrained(ROUTER), MajorityVote(), POLICY, mode="shadow")
    for engine in (shadow, BestRoute(pool, members, router=lambda query: pool.models[0])):
        many, alone = engine.route_all(queries), [engine.route(query) for query in queries]
        assert [(d.plan, why(d.reason)) for d in many] == [(d.plan, why(d.reason)) for d in alone]
    assert all(d.shadow is not None for d in shadow.route_all(queries))


def test_each_line_is_the_decision_on_its_prompt(engine, log, tmp_path):
    out = tmp_path / "out.jsonl"
    done = run("--file", log, "--out", out, "--policy", POLICY)
    assert done.exit_code == 0, done.output
    prompts, found = lines(log), lines(out)
    assert [line["id"] for line in found] == [prompt["id"] for prompt in prompts]
    for prompt, line in zip(prompts, found, strict=True):
        decision = engine.route(prompt["query"])
        assert (line["plan"], line["model"], line["n"], why(line["reason"])) == (
            str(decision.plan),
            decision.model,
            decision.n,
            why(decision.reason),
        )
        assert line["expected_cost_usd"] == pytest.approx(decision.estimated_cost_usd, rel=1e-4)
        assert line["match_probability"] == pytest.approx(decision.match_probability, rel=1e-4)
        assert set(line) == {"id", *DECIDED, "decided_by"}
    expected = sum(line["expected_cost_usd"] for line in found)
    reference = sum(line["reference_expected_cost_usd"] for line in found)
    assert f"{expected:.6g} USD is expected; the reference alone: {reference:.6g} USD" in done.stdout
    plan, count = Counter(line["plan"] for line in found).most_common(1)[0]
    assert f"  {count / 40:6.1%}  {plan}\n" in done.stdout


def test_chats_are_decided_on_by_all_that_they_hold(engine, tmp_path):
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}]
    chat = {
        "id": 1,
        "query": "And 2?",
        "messages": [*turns, {"role": "user", "content": "And 2?"}],
        "system": "Be brief.",
    }
    (row,) = decide_rows([chat], engine)
    alone = engine.route(
        Query("And 2?", messages=[{"role": "system", "content": "Be brief."}, *chat["messages"]], system="Be brief.")
    )
    assert (row["plan"], why(row["reason"])) == (str(alone.plan), why(alone.reason))
    assert row["expected_cost_usd"] == pytest.approx(alone.estimated_cost_usd, rel=1e-4)


@pytest.mark.parametrize("at", [0, 700, 701, 5000, -1, -2])
def test_a_run_killed_anywhere_goes_on_and_gives_the_same_decisions(log, tmp_path, at):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    run("--file", log, "--out", whole, "--policy", POLICY)
    out.write_bytes(whole.read_bytes()[:at] if at else b"")
    kept = out.read_bytes().count(b"\n")
    done = run("--file", log, "--out", out, "--policy", POLICY)
    assert f"{40 - kept} routed, {kept} kept, 0 failed" in done.stdout
    assert out.read_bytes().splitlines()[:kept] == whole.read_bytes().splitlines()[:kept]
    assert_same_lines(out, whole)


def test_the_log_is_read_a_batch_at_a_time(engine, log, tmp_path):
    with log.open("a") as stream:
        stream.write("no JSON\n")
    out, batches = tmp_path / "out.jsonl", []

    def route(rows):
        for batch in rows:
            batches.append(len(batch))
            yield decide_rows(batch, engine)

    done = route_log(log, out, route, decided_by="x", batch=16, stops=lambda: bool(batches))
    assert (batches, done.routed, len(lines(out))) == ([16], 16, 16)
    with pytest.raises(RecordError, match="log.jsonl line 41"):
        route_log(log, out, route, decided_by="x", batch=16)
    assert (batches, len(lines(out))) == ([16, 16], 32)  # the bad line is in the third batch


def test_rows_that_failed_are_routed_again_and_the_others_stand(log, tmp_path):
    out, asked = tmp_path / "out.jsonl", []

    def failing(which):
        def route(batches):
            for rows in batches:
                asked.extend(row["id"] for row in rows)
                yield [
                    {
                        **row,
                        "plan": "p",
                        "answer": None if row["id"] in which else f"of {row['id']}",
                        "cost_usd": 1.0,
                        "error": "down" if row["id"] in which else None,
                    }
                    for row in rows
                ]

        return route

    first = route_log(log, out, failing({"q3", "q17", "q39"}), decided_by="x", batch=8)
    assert (first.routed, first.failed) == (40, 3)
    before = lines(out)
    asked.clear()
    stopped = route_log(log, out, failing({"q17"}), decided_by="x", batch=1, stops=lambda: len(asked) == 2)
    assert (asked, stopped.failed, stopped.kept, stopped.routed) == (["q3", "q17"], 2, 37, 2)
    asked.clear()
    done = route_log(log, out, failing(set()), decided_by="x", batch=8)
    assert (asked, done.failed, done.kept, done.usd["cost_usd"]) == (["q17", "q39"], 0, 38, 40.0)
    after = lines(out)
    assert [line["answer"] for line in after] == [f"of q{i}" for i in range(40)]
    assert [line for line in after if line["id"] not in ("q3", "q17", "q39")] == [
        line for line in before if line["error"] is None
    ]


def test_what_something_else_decided_on_is_not_gone_on_with(log, tmp_path):
    out = tmp_path / "out.jsonl"
    run("--file", log, "--out", out, "--policy", POLICY)
    other = run("--file", log, "--out", out, "--policy", "quality:1")
    assert other.exit_code == 2
    assert re.search(r"out.jsonl line 1 was decided on by '\w{16}', now by '\w{16}': another router", other.stderr)
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]))
    moved = run("--file", log, "--out", out, "--policy", POLICY)
    assert moved.exit_code == 2
    assert "line 1 is of 'q0', where" in moved.stderr
    log.write_text(log.read_text().splitlines(keepends=True)[0].replace("q1", "q0"))
    short = run("--file", log, "--out", out, "--policy", POLICY)
    assert "line 2 is of 'q1', where" in short.stderr
    assert "has no row" in short.stderr


def test_one_process_writes_a_file(log, tmp_path):
    def route(batches):
        with pytest.raises(ConfigError, match="another process is routing into it"):
            route_log(log, tmp_path / "out.jsonl", route, decided_by="x")
        yield from ()

    route_log(log, tmp_path / "out.jsonl", route, decided_by="x")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "give either a TEXT, or --file LOG and --out ROUTED"),
        (["hi", "--file", "LOG", "--out", "OUT"], "give either a TEXT, or --file"),
        (["--file", "LOG"], "--file LOG needs --out ROUTED"),
        (["--file", "LOG", "--out", "OUT", "--all"], "--all, --json and --threshold are for one TEXT"),
        (["--file", "LOG", "--out", "OUT", "--job", "x"], "--job and --concurrency are for --draw"),
        (["--file", "LOG", "--out", "OUT.gz"], "it cannot be gzipped; give a name in .jsonl"),
        (["hi", "--draw"], "--draw is for --file LOG"),
        (["hi", "--engine", "ray"], "--engine is for --file LOG"),
        (["--file", "LOG", "--out", "OUT", "--cluster", "auto"], "--cluster is for --engine ray"),
        (["--file", "LOG", "--out", "OUT", "--draw", "--engine", "ray"], "needs a ledger that every machine can reach"),
        (["hi", "--policy", "quality:1"], "--policy is for --file LOG"),
    ],
)
def test_what_route_cannot_do_is_one_sentence(log, tmp_path, arguments, why):
    places = {"LOG": log, "OUT": tmp_path / "o.jsonl", "OUT.gz": tmp_path / "o.jsonl.gz"}
    refused = run(*(places.get(a, a) for a in arguments))
    assert refused.exit_code == 2
    assert why in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("bestroute: ")


@pytest.fixture
def pool_file(server, tmp_path):
    pytest.importorskip("openai")
    path, pool = tmp_path / "pool.yaml", demo_pool()
    members = "".join(
        f"  {m}: {{input_price: 1, output_price: 2, api_model: 'slow-20-{m}', base_url: '{server.base_url}'}}\n"
        for m in pool.models
    )
    path.write_text(f"reference: {pool.reference}\nmax_n: {pool.max_n}\nmodels:\n{members}")
    return path


def drawing(log, out, pool_file, *more):
    return ["--file", log, "--out", out, "--draw", "--reward", "majority", "--pool", pool_file, *more]


def test_draw_answers_each_prompt_and_bills_it(log, tmp_path, server, pool_file):
    pytest.importorskip("sqlalchemy")
    out = tmp_path / "out.jsonl"
    done = run(*drawing(log, out, pool_file, "--concurrency", "16", "--ledger", tmp_path / "b.db", "--job", "june"))
    assert done.exit_code == 0, done.output
    found = lines(out)
    assert all(
        line["answer"].endswith(f"to: {prompt['query']}") for prompt, line in zip(lines(log), found, strict=True)
    )
    billed = sum(bill.input_tokens * 1 + bill.output_tokens * 2 for bill in server.bills) / 1e6
    assert sum(line["cost_usd"] for line in found) == pytest.approx(billed)
    assert f"{billed:.6g} USD was billed" in done.stdout
    spent = CliRunner().invoke(main, ["spend", str(tmp_path / "b.db"), "--json"])
    assert sum(row["cost_usd"] for row in json.loads(spent.stdout)) == pytest.approx(billed)


def test_kill_9_loses_no_answer_and_pays_twice_only_for_those_under_way(log, tmp_path, server, pool_file):
    pytest.importorskip("sqlalchemy")
    out = tmp_path / "out.jsonl"
    arguments = drawing(log, out, pool_file, "--concurrency", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "bestroute", "route", str(ROUTER), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(server.requests) < 12:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert [line["id"] for line in lines(out)] == [f"q{i}" for i in range(40)]
    assert all(line["error"] is None for line in lines(out))
    asked = Counter(body["messages"][-1]["content"] for body in server.sent())
    assert len(asked) == 40
    assert sum(asked.values()) <= 40 + 2  # those under way


def test_rows_by_the_thousand_may_be_decided_on_alone(engine):
    rows = [{"id": i, "query": record.query} for i, record in enumerate(held_out()[:8])]
    route = RouteRows(lambda: engine, "june", draws=False)
    assert route(rows) == decide_rows(rows, engine)
    columns = route({name: np.array([row[name] for row in rows]) for name in ("id", "query")})
    assert columns["plan"] == [row["plan"] for row in route(rows)]


def test_ray_that_is_not_there_is_one_sentence(log, tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "_is_there", lambda module: module != "ray")
    refused = run("--file", log, "--out", tmp_path / "o.jsonl", "--engine", "ray")
    assert refused.exit_code == 2
    assert "bestroute: bestroute route --engine ray needs ray: pip install" in refused.stderr


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra ray)")
def test_ray_decides_as_this_process_does(log, tmp_path):
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    options = ["--file", str(log), "--policy", POLICY, "--out"]
    assert run(*options, here).exit_code == 0
    command = [sys.executable, "-m", "bestroute", "route", str(ROUTER), *options, str(there), "--engine", "ray"]
    environment = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert_same_lines(there, here)


@pytest.mark.parametrize(
    "text", ["no line end", "notes\nof mine", '{"id": "q0"', '{"id": "q0", "query": "mine"}\nx', "\n\n"]
)
def test_a_file_that_is_not_ours_stays_as_it_was(log, tmp_path, text):
    out = tmp_path / "out.jsonl"
    out.write_text(text)
    refused = run("--file", log, "--out", out)
    assert refused.exit_code != 0
    assert refused.stderr.splitlines()[-1].startswith("bestroute: ")
    assert out.read_text() == text


def test_a_ledger_or_the_prompts_given_as_out_stay_as_they_were(log, tmp_path):
    pytest.importorskip("sqlalchemy")
    bills = tmp_path / "bills.db"
    Ledger(f"sqlite:///{bills}").close()
    log.write_text(log.read_text().rstrip("\n"))
    (link := tmp_path / "link.jsonl").symlink_to(log)
    before = bills.read_bytes(), log.read_bytes()
    for out in (bills, log, link):
        assert run("--file", log, "--out", out).exit_code == 2
    one = ["--file", log, "--draw", "--reward", "majority"]
    assert "a file of its own" in run(*one, "--out", bills, "--ledger", bills).stderr
    assert "a file of its own" in run(*one, "--out", tmp_path / "o.jsonl", "--ledger", link).stderr
    new = tmp_path / "new.db"
    assert "a file of its own" in run(*one, "--out", new, "--ledger", f"sqlite:///{new}").stderr
    assert (bills.read_bytes(), log.read_bytes()) == before
    assert not new.exists()


def test_an_out_that_is_no_file_is_one_sentence(log, tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    refused = run("--file", log, "--out", pipe)
    assert refused.exit_code == 2
    assert "is no file that can be read again" in refused.stderr


@pytest.mark.parametrize("field", [{"error": "timeout"}, {"cost_usd": "0.01"}, {"answer": "84"}])
def test_what_the_log_holds_is_not_what_was_decided(log, tmp_path, field):
    log.write_text("".join(json.dumps({**line, **field}) + "\n" for line in lines(log)))
    out = tmp_path / "out.jsonl"
    done = run("--file", log, "--out", out)
    assert "40 routed, 0 kept, 0 failed" in done.stdout
    assert all(set(line) == {"id", *DECIDED, "decided_by"} for line in lines(out))


def test_answers_that_another_policy_decided_on_are_drawn_anew(log, tmp_path, server, pool_file):
    pytest.importorskip("sqlalchemy")
    out, plans = tmp_path / "out.jsonl", []
    for policy in ("quality:0", "quality:1000", "quality:0"):
        done = run(*drawing(log, out, pool_file, "--concurrency", "16", "--policy", policy))
        assert done.exit_code == 0, done.output
        plans.append(([line["plan"] for line in lines(out)], len(server.requests)))
        out.unlink()
    assert plans[0][0] == plans[2][0] != plans[1][0]
    assert plans[0][1] < plans[1][1] == plans[2][1]
