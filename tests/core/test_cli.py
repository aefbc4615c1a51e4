import json
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner

from bestroute import Cancel, Plan, QualityPolicy, Query, Step
from bestroute.cli import live_generators, main
from bestroute.cli.route_engine import deciding_engine
from bestroute.cli.summary import five_lines
from bestroute.demo.dataset import ROUTER, demo_pool, operating_points
from bestroute.records.jsonl import write_jsonl
from bestroute.records.records import read_records
from bestroute.router import MultiHeadRouter

POOL_FILE = """
reference: large-max
models:
  small-mini: {{input_price: 1, output_price: 2, base_url: "{url}", temperature: 0.5}}
  large-max: {{input_price: 10, output_price: 20, base_url: "{url}"}}
"""


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.parametrize("name", [None, *main.commands])
def test_help_teaches(name):
    result = run(*([] if name is None else [name]), "--help")
    assert result.exit_code == 0
    assert len(result.output) > 200
    if name is not None:
        *_, example = result.output.strip().splitlines()
        command, *arguments = shlex.split(example)
        assert (command, arguments[0]) == ("bestroute", name)
        options = {text for option in main.commands[name].params for text in option.opts}
        assert {text for text in arguments if text.startswith("--")} <= options
        main.commands[name].make_parser(click.Context(main.commands[name])).parse_args(args=arguments[1:])


def test_collect_writes_records_and_every_flag_arrives(tmp_path, server):
    (tmp_path / "pool.yaml").write_text(POOL_FILE.format(url=server.base_url))
    write_jsonl(tmp_path / "p.jsonl", [{"id": f"q{i}", "query": f"What is {i} + 1?"} for i in range(3)])
    (tmp_path / "check_it.py").write_text("def check(record, text):\n    return float('q=0.95' in text)\n")
    command = [sys.executable, "-m", "bestroute", "collect", "p.jsonl", "--pool", "pool.yaml", "--n", "2"]
    command += ["--out", "r.jsonl", "--checker", "check_it:check", "--temperature", "0.9"]
    command += ["--concurrency", "2", "--limit", "2"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    drawn, cost = result.stdout.splitlines()
    assert drawn == "r.jsonl: 0 samples kept, 8 drawn, 0 still to draw"
    spent = sum(c for r in read_records(tmp_path / "r.jsonl") for s in r.samples.values() for c in s.cost_usd)
    assert cost.startswith(f"draws cost {spent:.6f} USD (small-mini ")
    assert spent > 0
    assert "estimate: the cost of draws of " in result.stderr
    assert "sample" in result.stderr
    records = read_records(tmp_path / "r.jsonl")
    assert len(records) == 2
    assert {body["temperature"] for body in server.sent()} == {0.9}
    assert sorted(records[0].samples["small-mini"].quality) == [0.0, 1.0]


def test_collect_says_what_failed_and_exits_with_1(tmp_path, server):
    text = POOL_FILE.format(url=server.base_url).replace("small-mini", "fail-404-x")
    (tmp_path / "pool.yaml").write_text(text)
    write_jsonl(tmp_path / "p.jsonl", [{"id": "q", "query": "What?"}])
    result = run(
        "collect", tmp_path / "p.jsonl", "--pool", tmp_path / "pool.yaml", "--n", 1, "--out", tmp_path / "r.jsonl"
    )
    assert result.exit_code == 1
    assert "1 still to draw" in result.stdout
    assert "failed: 'fail-404-x': NotFoundError" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["route", "nowhere", "hello"], "is nowhere a router's folder?"),
        (["route", ROUTER, ""], "the text is empty"),
        (["schema"], "Choose from: prompts, records, gold,"),
        (["evaluate", ROUTER, "none.jsonl", "--policy", ""], "policy must be threshold:0.8"),
        (["compare", ROUTER, ROUTER, "none.jsonl", "--policy", ""], "policy must be threshold:0.8"),
        (
            ["collect", "none.jsonl", "--pool", "p.yaml", "--n", "1", "--out", "o.jsonl", "--checker", ""],
            "a checker is written module:function, got ''",
        ),
        (
            ["route", ROUTER, "--file", "none.jsonl", "--out", "o.jsonl", "--draw", "--ledger", ""],
            "a ledger is kept in a file",
        ),
        (["route", ROUTER, "hello", "--threshold", "1.7"], "threshold must be in [0, 1], a match probability, got 1.7"),
        (["demo", "--gguf", "x=y"], "--gguf and --base-url serve live models; add --live, or --ask TEXT"),
        (["demo", "--ask", "hi", "--gguf", "nonsense"], "--gguf must be MODEL=PATH, got 'nonsense'"),
        (["demo", "--ask", "hi", "--gguf", "gpt=x"], "unknown model 'gpt'"),
        (["demo", "--ask", "hi", "--gguf", "smollm2-135m=/no/such.gguf"], "/no/such.gguf: no such GGUF file"),
        (["collect", "none.jsonl", "--pool", "p.yaml", "--n", "1", "--out", "o.jsonl"], "none.jsonl: cannot read"),
        (["collect", "p.jsonl", "--pool", "p.yaml", "--n", "1", "--out", "o.jsonl", "--limit", "0"], "0 is not in the"),
        (["collect", "p.jsonl", "--pool", "p.yaml", "--n", "1", "--out", "o", "--temperature", "nan"], "number >= 0"),
        (["collect", "p.jsonl", "--pool", "p.yaml", "--out", "o.jsonl"], "Missing option '--n'; see"),
        (["demo", "--limit", "-5"], "Invalid value for '--limit': -5 is not in the range x>=1; see"),
        (["tune", "router", "tune.jsonl", "--max-drop", "much"], "'much' is not a valid float; see"),
        (["retrain"], "No such command 'retrain'"),
        (["remove-model", ROUTER, "smollm2-135m", "--out", "/dev/null/router"], "cannot"),
    ],
)
def test_bad_input_is_one_sentence_on_stderr_and_exit_status_2(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    if "--ask" in arguments:  # the decision comes first
        assert "why:       always the reference" in result.stdout
    else:
        assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_route_explains_every_plan_and_calls_nobody():
    result = run("route", ROUTER, "What is 12 * 7?", "--all")
    assert result.exit_code == 0
    assert "qwen2.5-coder-0.5b x 5" in result.stdout
    assert result.stdout.startswith("qwen2.5-coder-1.5b x 1: always the reference")


@pytest.mark.parametrize("options", [[], ["--threshold", "0.8"], ["--threshold", "0.1"], ["--threshold", "1"]])
def test_a_decision_is_five_lines(options):
    result = run("route", ROUTER, "What is 12 * 7?", *options)
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["what", "why", "runner-up", "flips", "how sure"]
    decision = json.loads(run("route", ROUTER, "What is 12 * 7?", *options, "--json").stdout)
    taken = str(Plan(tuple(Step(**step) for step in decision["plan"])))
    assert lines[0].startswith(f"what:      {taken}, ")
    assert f"{decision['expected_quality']:.3f}" in lines[4]
    assert not lines[2].startswith(f"runner-up: {taken}, ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Which city is the capital of France? Answer with only the name.", r"; familiarity 0\.[1-9]\d$"),
        ("hi", r"; familiarity 0\.00 \(unlike training: its text has no say\)$"),
    ],
)
def test_route_says_how_like_those_of_training_the_query_is(text, words):
    assert re.search(words, run("route", ROUTER, text).stdout.splitlines()[4])


def plan_taken(*options):
    decision = json.loads(run("route", ROUTER, "What is 12 * 7?", *options, "--json").stdout)
    return str(Plan(tuple(Step(**step) for step in decision["plan"])))


def test_what_is_said_to_flip_a_decision_flips_it():
    line = run("route", ROUTER, "What is 12 * 7?", "--threshold", "0.8").stdout.splitlines()[3]
    plan, threshold = re.search(r"to (.+) at a threshold of (\S+) or less", line).groups()
    assert plan_taken("--threshold", float(threshold) - 0.001) == plan
    assert plan_taken("--threshold", float(threshold) + 0.001) == plan_taken("--threshold", "0.8")


def test_the_price_said_to_flip_a_decision_flips_it():
    router = MultiHeadRouter.from_pretrained(ROUTER)

    def decide(price):
        engine = deciding_engine(replace(router, default_policy=QualityPolicy(price)))
        return five_lines(engine.route("What is 12 * 7?")).splitlines()

    flips = re.findall(r"to (.+?) at a price (above|below) (\S+) USD", decide(operating_points()[0.3])[3])
    assert flips
    for plan, side, price in flips:
        factor = 1.01 if side == "above" else 0.99
        assert decide(float(price) * factor)[0].startswith(f"what:      {plan}, ")
        assert not decide(float(price) / factor)[0].startswith(f"what:      {plan}, ")


@pytest.mark.parametrize("price", [1e-9, 1e-5, 1.0])
def test_what_is_said_of_a_query_unlike_training_leaves_out_plans_that_its_text_rules_out(price):
    router = MultiHeadRouter.from_pretrained(ROUTER)
    decision = deciding_engine(replace(router, default_policy=QualityPolicy(price))).route("hi")
    verdicts = decision.policy.verdicts(
        decision.prediction, decision.costs_usd[None, :], decision.column, decision.pool
    )
    out = [
        f"{p}, "
        for p, verdict in zip(decision.prediction.plans, verdicts, strict=True)
        if verdict.startswith("not considered")
    ]
    assert out
    _, _, runner_up, flips, _ = five_lines(decision).splitlines()
    assert not any(plan in runner_up for plan in out)
    assert not any(f"to {plan.removesuffix(', ')} at" in flips for plan in out)
    assert ", inf USD" not in runner_up


@pytest.mark.parametrize("how", [["--ask", "What is 2 + 2?"], ["--live", "--limit", 6]])
@pytest.mark.parametrize("framework", [[], ["--llamaindex"]])
def test_a_dead_endpoint_is_one_sentence(how, framework, tmp_path):
    pytest.importorskip("llama_index.core" if framework else "langchain_core")
    with socket.socket() as taken:  # bound, never listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        result = run("demo", *how, "--base-url", url, "--out", tmp_path, *framework)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"bestroute: the live models at {url} cannot be reached")


def test_collect_from_a_dead_endpoint_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        (tmp_path / "pool.yaml").write_text(POOL_FILE.format(url=url))
        write_jsonl(tmp_path / "p.jsonl", [{"id": f"q{i}", "query": "What?"} for i in range(40)])
        result = run(
            "collect", tmp_path / "p.jsonl", "--pool", tmp_path / "pool.yaml", "--n", 6, "--out", tmp_path / "r.jsonl"
        )
    assert result.exit_code == 2
    said = [line for line in result.stderr.splitlines() if line.startswith("bestroute: ")]
    assert len(said) == 1
    assert "cannot be reached, so nothing was drawn" in said[0]


@pytest.mark.parametrize(
    ("command", "line"), [("collect", {"id", "query", "group", "system", "answer"}), ("train", {"id", "query"})]
)
def test_help_shows_a_line_of_each_file(command, line):
    shown = run(command, "--help").stdout
    for name in (*line, "input_price", "reference"):
        assert name in shown


def test_asking_without_live_models_explains_the_decision_alone():
    result = run("demo", "--ask", "What is the capital of France?")
    assert result.exit_code == 0
    assert "no live models given" in result.stdout
    assert "Paris" not in result.stdout


def test_asking_live_models_answers_through_the_chat_model(server):
    pytest.importorskip("langchain_core")
    result = run("demo", "--ask", "What is the capital of France?", "--base-url", server.base_url)
    assert result.exit_code == 0
    assert "answers (best of" in result.stdout
    assert "answer q=" in result.stdout
    assert server.requests


def test_the_demo_runs_live_on_any_endpoint(server, tmp_path):
    pytest.importorskip("langchain_core")
    pytest.importorskip("matplotlib")
    server.answers = lambda model, messages: "4"
    result = run("demo", "--live", "--base-url", server.base_url, "--limit", 6, "--out", tmp_path)
    assert result.exit_code == 0
    assert "6 held-out queries" in result.stdout
    assert {body["model"] for body in server.sent()} <= {"smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"}


def test_live_members_are_closed_when_the_command_ends(server):
    with live_generators(demo_pool(), (), server.base_url) as members:
        for member in members.values():
            member.generate(Query("hi"), 1, params={}, cancel=Cancel())
            assert member._client is not None
    assert [member._client for member in members.values()] == [None] * 3
