"""``init``, ``split``, ``compare`` and ``schema`` as a user runs them."""

import errno
import json
import os
import re

import jsonschema
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import ConfigError, Pool, Price, RecordError
from bestroute.billing.outcomes import as_feedback
from bestroute.cli import init_command, main
from bestroute.demo.dataset import ROUTER
from bestroute.evaluation.comparison import compare, decided
from bestroute.judges.gold import read_gold
from bestroute.labels import SampleArrays
from bestroute.policies.policies import QualityPolicy, ReferencePolicy
from bestroute.records.chats import check_chat
from bestroute.records.collect import read_prompts
from bestroute.records.journal import Journal
from bestroute.records.jsonl import write_jsonl
from bestroute.records.records import ModelSamples, Record, parse_head, parse_record, read_records, write_records
from bestroute.records.schemas import NAMES, check_line, schema
from bestroute.records.split import split_records
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import synthetic_pool, synthetic_records


def run(*arguments, **options):
    return CliRunner().invoke(main, [str(a) for a in arguments], **options)


# init


def test_init_writes_a_pool_that_is_read_with_prices_by_exact_name(tmp_path):
    pytest.importorskip("genai_prices")
    out = tmp_path / "pool.yaml"
    done = run("init", "--model", "small=openai:gpt-4o-mini", "--model", "large=openai:gpt-4o", "--out", out)
    assert done.exit_code == 0, done.output
    pool = Pool.from_file(out)
    assert (pool.models, pool.reference) == (("small", "large"), "large")
    assert pool.prices["small"].input < pool.prices["large"].input
    assert pool.endpoint("small").api_key_env == "OPENAI_API_KEY"
    assert "set OPENAI_API_KEY" in done.stderr
    assert f"bestroute collect {tmp_path / 'prompts.jsonl'} --pool {out}" in done.stderr


def test_init_takes_endpoints_of_ones_own_and_prices_by_hand(tmp_path):
    out = tmp_path / "pool.yaml"
    done = run(
        "init", "--model", "a=local:qwen2.5:0.5b", "--base-url", "a=http://127.0.0.1:8080/v1", "--price", "a=0.1/0.2",
        "--model", "b=groq:new-model", "--price", "b=1/2", "--reference", "b", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    pool = Pool.from_file(out)
    assert pool.prices == {"a": Price(0.1, 0.2), "b": Price(1, 2)}
    assert pool.endpoint("a").base_url == "http://127.0.0.1:8080/v1"
    assert pool.endpoint("a").api_model == "qwen2.5:0.5b", "names of Ollama's and OpenRouter's have colons of their own"
    assert pool.endpoint("a").api_key_env is None
    assert pool.endpoint("b").api_key_env == "GROQ_API_KEY"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--model", "a"], "--model must be NAME=VALUE, got 'a'"),
        (["--model", "a=nowhere:m"], "unknown provider 'nowhere'; known are"),
        (
            ["--model", "a=openai:gpt-4o-min"],
            "the price of 'a' (openai:gpt-4o-min) is not known; add --price a=IN/OUT",
        ),
        (["--model", "a=local:m"], "'a': an endpoint of your own needs its address; add --base-url a=URL"),
        (
            ["--model", "a=local:m", "--base-url", "a=http://127.0.0.1:1/v1"],
            "add --price a=IN/OUT in USD per million tokens, 0/0 if it costs nothing",
        ),
        (["--model", "a=openai:x", "--price", "a=cheap"], "--price must be a=IN/OUT"),
        (["--model", "a=openai:x", "--price", "a=1/-2"], "output_price"),
        (["--model", "a=openai:x", "--price", "b=1/2"], "--price names 'b', but the models are 'a'"),
        (["--model", "a=openai:x", "--price", "a=1/2", "--reference", "c"], "'c'"),
        (
            ["--model", "a=openai:x", "--price", "a=1/2", "--judge", "a=openai:y"],
            "--judge 'a' is also the name of a --model",
        ),
        (["--model", "a=openai:x", "--price", "a=1/2", "--judge", "openai:y"], "--judge must be NAME=VALUE"),
        ([], "without a terminal nobody can be asked"),
        (["--model", "a=openai:x", "--price", "a=1/2", "--model", "a=openai:y"], "--model names 'a' twice"),
    ],
)
def test_what_init_cannot_write_is_one_sentence_and_no_file(tmp_path, arguments, why):
    done = run("init", *arguments, "--out", tmp_path / "pool.yaml")
    assert done.exit_code == 2
    assert why in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_init_asks_again_for_a_name_that_is_taken_and_ends_where_no_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(init_command, "_is_asked", lambda: True)
    done = run("init", "--out", tmp_path / "pool.yaml", input="\n")
    assert done.exit_code == 2
    assert "no model was named" in done.stderr
    assert not list(tmp_path.iterdir())
    prices = ["--price", "a=1/2", "--price", "b=3/4"]
    done = run("init", *prices, "--out", tmp_path / "pool.yaml", input="openai:x\na\nopenai:y\na\nb\n\n")
    assert done.exit_code == 0, done.output
    assert list(Pool.from_file(tmp_path / "pool.yaml").models) == ["a", "b"]


def test_init_names_a_judge_and_makes_prompts_of_a_log(tmp_path):
    (tmp_path / "log.csv").write_text("question,answer,model\nWhy?,So.,m\n")
    done = run(
        "init", "--model", "a=openai:x", "--price", "a=1/2", "--judge", "j=groq:y", "--price", "j=3/4",
        "--log", tmp_path / "log.csv", "--out", tmp_path / "pool.yaml",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert Pool.from_file(tmp_path / "pool.yaml").models == ("a",)
    everyone = Pool.from_file(tmp_path / "pool.yaml", judges=True)
    assert (everyone.models, everyone.prices["j"]) == (("a", "j"), Price(3, 4))
    assert [prompt.query for prompt in read_prompts(tmp_path / "prompts.jsonl")] == ["Why?"]
    assert "--judge j --out" in done.stderr


def test_init_writes_over_nothing_unless_it_is_told_to(tmp_path):
    (tmp_path / "pool.yaml").write_text("mine")
    arguments = ["init", "--model", "a=openai:x", "--price", "a=1/2", "--out", tmp_path / "pool.yaml"]
    assert "exists already" in run(*arguments).stderr
    assert (tmp_path / "pool.yaml").read_text() == "mine"
    assert run(*arguments, "--force").exit_code == 0


def test_init_writes_over_no_log_that_it_reads_though_it_is_told_to(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"query": "Why?"}\n')
    refused = run("init", "--model", "a=openai:x", "--price", "a=1/2", "--log", log, "--out", log, "--force")
    assert (refused.exit_code, log.read_text()) == (2, '{"query": "Why?"}\n')
    assert "is an input of this command, which would overwrite it" in refused.stderr


def test_init_writes_over_no_prompts_unless_it_is_told_to(tmp_path):
    (tmp_path / "log.csv").write_text("question,answer,model\nWhy?,So.,m\n")
    (tmp_path / "prompts.jsonl").write_text("mine")
    arguments = ["init", "--model", "a=openai:x", "--price", "a=1/2", "--out", tmp_path / "pool.yaml"]
    refused = run(*arguments, "--log", tmp_path / "log.csv")
    assert refused.exit_code == 2
    assert "prompts.jsonl exists already; add --force" in refused.stderr
    assert not (tmp_path / "pool.yaml").exists()
    assert run(*arguments).exit_code == 0, "without a log no prompts are written"
    assert (tmp_path / "prompts.jsonl").read_text() == "mine"
    assert run(*arguments, "--log", tmp_path / "log.csv", "--force").exit_code == 0
    assert [prompt.query for prompt in read_prompts(tmp_path / "prompts.jsonl")] == ["Why?"]


def test_init_that_was_killed_after_the_prompts_is_run_again_as_it_was(tmp_path):
    (tmp_path / "log.csv").write_text("question,answer,model\nWhy?,So.,m\nHow?,So.,m\n")
    arguments = ["init", "--model", "a=openai:x", "--price", "a=1/2", "--out", tmp_path / "pool.yaml"]
    arguments += ["--log", tmp_path / "log.csv"]
    assert run(*arguments).exit_code == 0
    (tmp_path / "pool.yaml").unlink()  # prompts are written first
    assert run(*arguments).exit_code == 0
    assert run(*arguments).exit_code == 0, "both files are as it would write them"
    assert "pool.yaml exists already" in run(*arguments, "--price", "a=2/2").stderr
    (tmp_path / "pool.yaml").unlink()
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(prompts.read_text().splitlines(keepends=True)[0])
    assert "prompts.jsonl exists already" in run(*arguments).stderr, "other prompts are kept"


@pytest.mark.parametrize("reading", [(), ("--map", "query=question")])
@pytest.mark.parametrize(("form", "text"), [("csv", "question,model\nWhy?,m\n"), ("jsonl", '{"question": "Why?"}\n')])
def test_a_table_is_said_to_be_what_it_is(tmp_path, form, text, reading):
    (tmp_path / "log").write_text(text)
    done = run("import", tmp_path / "log", "--out", tmp_path / "prompts.jsonl", *reading)
    assert done.exit_code == 0, done.output
    assert f"read as {form}" in done.stdout


# split


def record(i, group, time=None):
    extra = {} if time is None else {"time": time}
    return Record(f"r{i}", "q", {"m": ModelSamples((1.0,))}, group, "", extra)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=20, max_size=80), st.integers(0, 3))
def test_no_group_is_on_both_sides_and_no_record_is_lost(groups, seed):
    records = [record(i, f"g{g}") for i, g in enumerate(groups)]
    if len(set(groups)) < 2:
        return
    parts = split_records(records, {"train": 0.7, "test": 0.3}, seed=seed)
    assert sorted(r.id for part in parts.values() for r in part) == sorted(r.id for r in records)
    assert not {r.group for r in parts["train"]} & {r.group for r in parts["test"]}
    assert all(parts.values())
    largest = max(map(groups.count, groups))
    assert abs(len(parts["test"]) - 0.3 * len(records)) <= largest


def test_by_time_what_is_tested_on_came_later():
    records = [record(i, f"g{i % 10}", f"2026-03-{1 + i % 10:02}T00:00:00Z") for i in range(40)]
    parts = split_records(records, {"train": 0.5, "tune": 0.2, "test": 0.3}, by_time=True)
    assert [len(part) for part in parts.values()] == [20, 8, 12]
    assert max(r.extra["time"] for r in parts["train"]) < min(r.extra["time"] for r in parts["test"])
    with pytest.raises(ConfigError, match="record 'r0' has no 'time'"):
        split_records([record(0, "g"), record(1, "h", "2026-01-01")], {"a": 0.5, "b": 0.5}, by_time=True)


def test_the_command_writes_a_file_a_part(tmp_path):
    write_records(tmp_path / "r.jsonl", [record(i, f"g{i % 8}") for i in range(40)])
    done = run("split", tmp_path / "r.jsonl", "--out", tmp_path / "data", "--parts", "train=0.5,tune=0.25,test=0.25")
    assert done.exit_code == 0, done.output
    assert "train.jsonl: 20 records in 4 groups" in done.stdout
    assert len(read_records(tmp_path / "data" / "test.jsonl")) == 10
    for parts in ("train", "train=x", "train=0.5,test=0.6", "=1"):
        done = run("split", tmp_path / "r.jsonl", "--out", tmp_path / "other", "--parts", parts)
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "other").exists()


# disks that are full


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["split", "r.jsonl", "--out", "data"], r"data/\w+.jsonl"),
        (["import", "r.jsonl", "--out", "prompts.jsonl"], "prompts.jsonl"),
        (["label", "r.jsonl", "--check", "pattern", "--out", "l.jsonl"], "l.jsonl.judgements"),
        (["route", str(ROUTER), "--file", "r.jsonl", "--out", "routed.jsonl"], "routed.jsonl"),
    ],
)
def test_a_disk_that_is_full_is_named_by_the_file_that_it_does_not_take(tmp_path, monkeypatch, arguments, name):
    monkeypatch.chdir(tmp_path)
    samples = {"m": ModelSamples((None,), ("84",))}
    write_records(tmp_path / "r.jsonl", [Record(f"q{i}", f"What is {i}?", samples, f"g{i % 8}") for i in range(40)])

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = run(*arguments)
    assert done.exit_code == 2
    assert re.search(rf"^bestroute: \S*{name}: cannot read or write: No space left on device$", done.stderr, re.M)
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_paid_for_and_not_on_disk_is_named_by_its_journal(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "out.jsonl", "replies", doing="routing")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device: .*out.jsonl.replies'"):
        journal.append({"run": "a", "decided_by": "d"})
    journal.close()


# compare


@pytest.fixture(scope="module")
def two_routers():
    pool = synthetic_pool(max_n=2)
    train = SampleArrays.of(synthetic_records(96, samples=4, prefix="train"), pool, reward="quality")
    made = train_router(train, TrainSettings(reward="quality", offered=5, margin=0.25, seed=3)).router
    test = SampleArrays.of(synthetic_records(64, samples=4, seed=1, prefix="test"), pool, reward="quality")
    return pool, train, made, test


def test_a_router_beside_itself_differs_in_nothing(two_routers):
    _, _, router, test = two_routers
    policy = QualityPolicy(0.0)
    done = compare(router, router, (test, test), policies=(policy, policy), resamples=200)
    assert (done.quality_gain, done.saved, done.same) == (0.0, 0.0, 1.0)
    assert (done.quality_interval, done.saved_interval) == ((0.0, 0.0), (0.0, 0.0))
    assert done.verdict == "the second is as good, as far as this tells, and at the same cost, as far as this tells"


def test_what_one_gives_beyond_the_other_is_the_mean_of_paired_differences(two_routers):
    _, _, router, test = two_routers
    cheap, reference = QualityPolicy(0.0), ReferencePolicy()
    done = compare(router, router, (test, test), policies=(reference, cheap), resamples=500)
    one, other = decided(router, test, reference), decided(router, test, cheap)
    assert done.quality_gain == pytest.approx(float(np.mean(other.quality - one.quality)))
    assert done.saved == pytest.approx(1 - other.cost.mean() / one.cost.mean())
    assert done.saved_interval[0] > 0
    assert done.quality_interval[1] < 0
    assert done.verdict == "the second is worse, and cheaper"
    assert done.to_dict()["same"] == done.same


def test_records_that_a_router_has_seen_or_that_differ_are_refused(two_routers):
    _, train, router, test = two_routers
    with pytest.raises(RecordError, match="the router was trained on"):
        compare(router, router, (train, train))
    with pytest.raises(RecordError, match="were not given the same records"):
        compare(router, router, (test, test.take(np.arange(10))))


def test_the_command_compares_two_folders(two_routers, tmp_path):
    _, _, router, _ = two_routers
    for name in ("a", "b"):
        router.save_pretrained(tmp_path / name)
    write_records(tmp_path / "t.jsonl", synthetic_records(64, samples=4, seed=1, prefix="test"))
    arguments = [
        "compare",
        tmp_path / "a",
        tmp_path / "b",
        tmp_path / "t.jsonl",
        "--policy",
        "quality:0",
        "--resamples",
        200,
    ]
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "64 queries of 16 groups" in done.stdout
    assert "the same plan for 100%" in done.stdout
    assert json.loads(run(*arguments, "--json").stdout)["queries"] == 64


# schemas

GOOD = {
    "prompts": [
        {"id": "1", "query": "q"},
        {"id": "1", "prompt": "q", "query": None, "group": None, "mine": [1]},
        {"id": "1", "messages": [{"role": "user", "content": "hi"}], "tools": [], "system": "s"},
    ],
    "records": [
        {"id": "1", "query": "q", "samples": {"m": {"quality": [1, 0.5, None, True]}}},
        {
            "id": "1",
            "query": "q",
            "samples": {
                "m": {
                    "quality": [1.0],
                    "text": ["a"],
                    "reward": [-3.5],
                    "input_tokens": 3,
                    "output_tokens": [2],
                    "cost_usd": [0.1],
                    "signals": {"sum_logprob": [-0.1], "logprob_share": [None]},
                    "greedy": {"text": "a", "quality": None},
                }
            },
        },
    ],
    "gold": [{"id": "1", "text": "", "quality": 1}, {"id": "1", "text": "a", "quality": True, "model": None}],
    "pool": [
        {"reference": "m", "models": {"m": {"input_price": 1, "output_price": 2, "logprobs": True}}},
        {
            "reference": "m",
            "models": {
                "m": {"input_price": 1, "output_price": 2},
                "j": {"input_price": 1, "output_price": 2, "role": "judge"},
            },
        },
    ],
    "judgements": [
        {"how": {"judge": "j", "pairwise": True, "reference": None}},
        {"id": "1", "qualities": {"a": 1, "b": None}, "cost_usd": 0.1, "first_wins": [1, 0], "replies": ["A"]},
        {"id": "1", "qualities": {"a": 1}, "cost_usd": 0.1, "first_wins": [1, 0], "questions": ["1-ab"]},
        {"question": "1-ab", "reply": "A", "cost_usd": 0.1},
    ],
    "journal": [
        {"sampling": {"m": {"temperature": 0.5}}},
        {"id": "1", "model": "m", "at": -1, "text": "a", "quality": None, "input_tokens": 3, "signals": None},
    ],
    "replies": [
        {"run": "5f0c2a", "decided_by": "d"},
        {"draw": "ab.0-1", "model": "m", "reply": {"choices": []}},
        {"draw": "ab.0-1", "model": "m", "error": {"message": "no", "status": None, "code": "expired", "body": None}},
        {"done": "ab"},
    ],
    "feedback": [{"call_id": "c1", "score": True}, {"call_id": "c1", "score": 0.5, "note": None}],
}
BAD = {
    "prompts": [
        {"id": "1"},
        {"id": " ", "query": "q"},
        {"query": "q"},
        {"id": "1", "query": "q", "group": 3},
        {"id": "1", "messages": [{"role": "bot", "content": "hi"}]},
        {"id": "1", "query": "q", "tools": "all"},
        {"id": "1", "query": "q", "response_format": "json"},
    ],
    "records": [
        {"id": "1", "query": "q"},
        {"id": "1", "query": "q", "samples": {}},
        {"id": "1", "query": "q", "samples": {"m": {"quality": []}}},
        {"id": "1", "query": "q", "samples": {"m": {"quality": [2]}}},
        {"id": "1", "query": "q", "samples": {"m": {"quality": [1], "text": [3]}}},
        {"id": "1", "query": "q", "samples": {"m": {"quality": [1], "cost_usd": [-1]}}},
        {"id": "1", "query": "q", "samples": {"m": {"quality": [1], "signals": {"sum_logprob": [0.5]}}}},
        {"id": "1", "query": "q", "samples": {"m": {"quality": [1], "greedy": "a"}}},
    ],
    "gold": [{"id": "1", "text": "a"}, {"id": 1, "text": "a", "quality": 1}, {"id": "1", "text": "a", "quality": 1.5}],
    "pool": [
        {"models": {}},
        {"reference": "m", "models": {"m": {"input_price": 1}}},
        {"reference": "m", "models": {"m": {"input_price": -1, "output_price": 2}}},
        {"reference": "m", "models": {"m": {"input_price": 1, "output_price": 2}}, "more": 1},
        {"reference": "m", "models": {"m": {"input_price": 1, "output_price": 2, "role": "jury"}}},
    ],
    "judgements": [
        {"how": "strictly"},
        {"id": "1", "qualities": {"a": 2}, "cost_usd": 0, "first_wins": [0, 0]},
        {"id": "1", "qualities": {"a": 1}, "cost_usd": -1, "first_wins": [0, 0]},
        {"id": "1", "qualities": {"a": 1}, "cost_usd": 0, "first_wins": [0]},
        {"qualities": {}, "cost_usd": 0, "first_wins": [0, 0]},
        {"question": "1-ab", "reply": "A"},
        {"question": "1-ab", "reply": None, "cost_usd": 0.1},
    ],
    "journal": [
        {"sampling": ["m"]},
        {"id": "1", "model": "m", "at": -2, "text": "a", "quality": None},
        {"id": "1", "model": "m", "at": 0, "text": "a", "quality": "good"},
        {"id": "1", "model": "m", "text": "a", "quality": 1},
    ],
    "replies": [
        {"run": 5, "decided_by": "d"},
        {"run": "5f0c2a"},
        {"done": None},
        {"draw": "ab.0-1", "model": "m"},
        {"draw": "ab.0-1", "model": 3, "reply": {}},
        {"draw": "ab.0-1", "model": "m", "reply": "84"},
        {"draw": "ab.0-1", "model": "m", "error": {"message": "no"}},
    ],
    "feedback": [
        {"call_id": "c1", "score": 1.5},
        {"call_id": "", "score": 1},
        {"call_id": "c1", "score": 1, "note": 3},
    ],
}


def read(name, value, folder):
    if name == "prompts":
        check_chat(value, "here")
        return parse_head(value, "here")
    if name == "records":
        return parse_record(value, "here")
    if name in ("judgements", "journal", "replies"):
        journal = Journal(folder / "r.jsonl", name, doing="testing")
        journal.append(value)
        try:
            return list(journal.lines())
        finally:
            journal.close()
    if name == "feedback":
        return as_feedback(value["call_id"], value["score"], value.get("note"), keeps_notes=True)
    path = folder / name
    if name == "gold":
        path.write_text(json.dumps(value) + "\n")
        return read_gold(path)
    path.write_text(yaml.safe_dump(value))
    return Pool.from_file(path)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in GOOD for value in GOOD[name]])
def test_what_a_schema_takes_its_reader_takes(tmp_path, name, value):
    jsonschema.Draft202012Validator.check_schema(schema(name))
    jsonschema.validate(value, schema(name))
    read(name, value, tmp_path)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_what_a_schema_refuses_its_reader_refuses(tmp_path, name, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema(name))
    with pytest.raises((RecordError, ConfigError)):
        read(name, value, tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("gold", {"id": "1", "text": "a"}, "'quality' is missing; it must be a number in [0, 1] or a boolean"),
        ("gold", {"id": 1, "text": "a", "quality": 1}, "'id' must be a text, the id of a record, got 1"),
        (
            "journal",
            {"id": "1", "model": "m", "at": 0, "text": "a", "quality": "good"},
            "number in [0, 1] or null, got",
        ),
        (
            "judgements",
            {"id": "1", "qualities": {"a": 2}, "cost_usd": 0, "first_wins": [0, 0]},
            "'qualities.a' must be a number in [0, 1] or null, got 2",
        ),
    ],
)
def test_a_refused_line_names_the_field_what_is_wanted_and_what_there_is(name, value, sentence):
    with pytest.raises(RecordError) as refused:
        check_line(value, name, "here line 3")
    assert str(refused.value).startswith("here line 3: ")
    assert sentence in str(refused.value)


def test_the_command_prints_each_schema():
    assert set(GOOD) == set(BAD) == set(NAMES)
    for name in NAMES:
        assert json.loads(run("schema", name).stdout) == schema(name)


def test_init_reads_a_log_as_import_does(tmp_path):
    rows = [
        {"Frage": f"What is {i} times {i + 3}? mail me@example.org", "fach": "x" if i % 2 else "y"} for i in range(20)
    ]
    write_jsonl(tmp_path / "log.jsonl", rows)
    reading = ["--map", "query=Frage", "--map", "task=fach", "--sample", 6, "--stratify", "task", "--seed", 3, "--mask"]
    base = ["init", "--model", "a=openai:x", "--price", "a=1/2", "--out", tmp_path / "pool.yaml"]
    done = run(*base, "--log", tmp_path / "log.jsonl", *reading)
    assert done.exit_code == 0, done.output
    assert run("import", tmp_path / "log.jsonl", "--out", tmp_path / "own.jsonl", *reading).exit_code == 0
    prompts = (tmp_path / "prompts.jsonl").read_text()
    assert prompts == (tmp_path / "own.jsonl").read_text()
    assert len(prompts.splitlines()) == 6
    assert "me@example.org" not in prompts


def test_how_a_log_is_read_needs_a_log(tmp_path):
    done = run("init", "--model", "a=openai:x", "--price", "a=1/2", "--out", tmp_path / "p.yaml", "--sample", 3)
    assert done.exit_code == 2
    assert "add --log FILE" in done.stderr
    assert not (tmp_path / "p.yaml").exists()
