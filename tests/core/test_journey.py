"""From a log to a report in four commands: every format of export, no file edited by hand, killed and run again."""

import importlib.util
import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from bestroute.cli import main
from bestroute.records.collect import read_prompts
from bestroute.records.records import read_records
from bestroute.router import MultiHeadRouter
from bestroute.router.forest import Forest
from bestroute.testing import JudgedAnswers, write_log
from bestroute.testing.synthetic_logs import FORMATS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def journey():
    spec = importlib.util.spec_from_file_location("journey", BENCHMARKS / "journey.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["journey"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def served(journey):
    with journey.played() as server:
        yield server


@pytest.mark.parametrize("log_format", FORMATS)
def test_every_format_of_export_gives_the_same_prompts(journey, log_format, tmp_path):
    logs = write_log(tmp_path, log_format, journey.QUESTIONS)
    done = CliRunner().invoke(main, ["import", *map(str, logs), "--out", str(tmp_path / "prompts.jsonl")])
    assert done.exit_code == 0, done.output
    prompts = read_prompts(tmp_path / "prompts.jsonl")
    assert [prompt.query for prompt in prompts] == list(journey.QUESTIONS)
    assert {prompt.fields["system"] for prompt in prompts} == {"Be brief."}
    assert {prompt.fields["answered"]["model"] for prompt in prompts} == {"gpt-4o-mini"}


def test_four_commands_go_from_a_log_to_a_report(journey, served, tmp_path, monkeypatch):
    monkeypatch.setitem(Forest.fit.__func__.__kwdefaults__, "trees", 3)  # what takes the time
    logs = write_log(tmp_path, "langfuse", journey.QUESTIONS[:24])
    urls = dict.fromkeys(journey.MEMBERS, served.base_url)
    steps = journey.commands(tmp_path, logs, urls, samples=1, folds=2, more=["--plans", "0", "--learning-curve"])
    assert len(steps) == 4
    printed = {}
    for step in steps:
        done = CliRunner().invoke(main, step)
        assert done.exit_code == 0, done.output
        printed[step[0]] = done.stdout
    assert "48 by judge, 0 without a quality" in printed["collect"]
    assert "learning curve, on held-out folds, frozen for a drop of 1%" in printed["train"]
    assert "a promise of 2% would take, in tune:" in printed["train"]
    records = read_records(tmp_path / "records.jsonl")
    assert len(records) == 24
    for record in records:
        assert set(record.samples) == {"small", "large"}
        for samples in record.samples.values():
            liked = served.answers.is_liked(record.query, samples.text[0])
            assert samples.quality == (0.9 if liked else 0.2,)
    router = MultiHeadRouter.from_pretrained(tmp_path / "router")
    assert router.trained_on.labels[0]["judge"] == "judge"
    assert (tmp_path / "router" / "reward" / "reward.json").exists()
    assert json.loads((tmp_path / "report.json").read_text())["queries"] == 24


def test_collect_killed_in_drawing_and_in_judging_pays_for_nothing_twice(journey, served, tmp_path):
    questions = journey.QUESTIONS[:30]
    logs = write_log(tmp_path, "jsonl", questions)
    urls = dict.fromkeys(journey.MEMBERS, served.base_url)
    init, collect, _, _ = journey.commands(tmp_path, logs, urls, samples=2)
    assert CliRunner().invoke(main, init).exit_code == 0
    kills = journey.moments(tmp_path, len(questions), 2)[1]
    for kill_when in (*kills, None):
        journey.run(collect, kill_when)
    records = read_records(tmp_path / "records.jsonl")
    assert all(samples.size == 2 and not samples.unjudged for r in records for samples in r.samples.values())
    calls = Counter(body.get("model") for body in served.sent())
    under_way = 4
    assert 120 <= calls["small"] + calls["large"] <= 120 + under_way
    assert 30 <= calls["judge"] <= 30 + under_way


@pytest.mark.skipif(not os.environ.get("BESTROUTE_FULL"), reason="takes a minute or two; BESTROUTE_FULL=1")
def test_every_command_killed_on_the_way_ends_in_the_report(journey, served, tmp_path):
    logs = write_log(tmp_path, "otel", journey.QUESTIONS)
    urls = dict.fromkeys(journey.MEMBERS, served.base_url)
    steps = journey.commands(tmp_path, logs, urls, more=["--learning-curve"])
    report = "".join(journey.journey(tmp_path, steps, journey.moments(tmp_path, len(journey.QUESTIONS), 2)))
    assert "learning curve" in report
    assert (tmp_path / "report.json").exists()


def test_the_played_judge_errs_as_often_as_it_is_set_to():
    answers = JudgedAnswers({"small": 0.5, "large": 1.0}, too_kind=0.2, too_strict=0.1)
    kind = strict = poor = good = 0
    for number in range(1000):
        question = f"What of {number}?"
        text = answers("small", [{"role": "user", "content": question}])
        liked = answers.is_liked(question, text)
        if answers.is_good(text):
            good, strict = good + 1, strict + (not liked)
        else:
            poor, kind = poor + 1, kind + liked
    assert 400 < good < 600
    assert 0.14 < kind / poor < 0.26
    assert 0.06 < strict / good < 0.14
