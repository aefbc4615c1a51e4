"""A judge asked by batch files: the same verdicts at half the price, and whatever a kill leaves is taken up."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from bestroute.cli import main
from bestroute.generators.batches import BatchDraws
from bestroute.judges.verdicts import Verdicts
from bestroute.records.records import ModelSamples, Record, read_records, write_records

pytest.importorskip("openai")

PRICE = {"input": 1.0, "output": 2.0}


class Killed(BaseException):
    """What a kill looks like from inside."""


def judging(model, messages):
    """Like long answers best; of two as long, the one shown first."""
    question = messages[-1]["content"]
    if "<answer A>" in question:
        first, second = (re.search(rf"<answer {x}>\n(.*)\n</answer", question).group(1) for x in "AB")
        return json.dumps({"better": "A" if len(first) >= len(second) else "B"})
    shown = re.findall(r"<answer \d+>\n(.*)\n</answer", question)
    return json.dumps({"scores": [min(len(text), 10) for text in shown]})


@pytest.fixture
def command(server, tmp_path, unjudged):
    """The command that labels six queries; ``name`` is what the judge is asked by."""
    server.answers = judging
    write_records(tmp_path / "r.jsonl", unjudged)

    def made(*options, name="judge-x", out="l.jsonl"):
        member = f'input_price: {PRICE["input"]}, output_price: {PRICE["output"]}, base_url: "{server.base_url}"'
        (tmp_path / "pool.yaml").write_text(
            f"reference: large\nmodels:\n  small: {{{member}}}\n  large: {{{member}}}\n"
            f"  judge: {{{member}, api_model: {name}, role: judge}}\n"
        )
        arguments = ["label", str(tmp_path / "r.jsonl"), "--judge", "judge", "--pool", str(tmp_path / "pool.yaml")]
        return [*arguments, "--out", str(tmp_path / out), "--poll", "0", *options]

    made.out = tmp_path / "l.jsonl"
    made.folder = tmp_path / "l.jsonl.judgements.batches"
    return made


def run(arguments):
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def questions(server):
    return [request for request in server.requests if "completions" in request["path"] or "messages" in request["path"]]


def spent(server):
    return sum(bill.input_tokens * PRICE["input"] + bill.output_tokens * PRICE["output"] for bill in server.bills) / 1e6


def qualities(path):
    return {(r.id, m): s.quality for r in read_records(path) for m, s in r.samples.items()}


@pytest.mark.parametrize("form", ["openai", "anthropic"])
@pytest.mark.parametrize("pairwise", [(), ("--pairwise",)])
def test_a_batch_says_what_single_calls_say_at_half_the_price(command, server, tmp_path, form, pairwise):
    if form == "anthropic":
        pytest.importorskip("anthropic")
    alone = run(command(*pairwise, out="alone.jsonl"))
    count = len(questions(server))
    server.reset()
    done = run(command(*pairwise, "--batch", form))
    assert (alone.exit_code, done.exit_code) == (0, 0), done.output
    assert len(server.batches.jobs) == 1
    assert len(questions(server)) == count == (22 if pairwise else 6)  # of q2 one answer is the reference's
    assert {request["headers"]["x-loopback-batch"] for request in questions(server)} == set(server.batches.jobs)
    assert {request["body"]["temperature"] for request in questions(server)} == {0.0}
    assert qualities(command.out) == qualities(tmp_path / "alone.jsonl")
    assert f"the judge cost {spent(server) / 2:.6f} USD" in done.stdout
    assert [path.name for path in tmp_path.iterdir() if "judgements" in path.name] == []
    first = "the answer shown first was preferred"
    assert [line for line in done.stdout.splitlines() if first in line] == [
        line for line in alone.stdout.splitlines() if first in line
    ]


@pytest.mark.parametrize("count", [1, 2, 9, 21])
def test_a_run_killed_after_any_reply_goes_on_and_asks_nothing_twice(command, server, monkeypatch, count):
    keep, kept = Verdicts.keep, []

    def killed(self, question, reply):
        if len(kept) == count:
            raise Killed
        kept.append(question)
        keep(self, question, reply)

    monkeypatch.setattr(Verdicts, "keep", killed)
    with pytest.raises(Killed):
        run(command("--pairwise", "--batch"))
    monkeypatch.undo()
    done = run(command("--pairwise", "--batch"))
    assert done.exit_code == 0, done.output
    assert len(questions(server)) == 22
    assert len(server.batches.jobs) == 1
    assert f"the judge cost {spent(server) / 2:.6f} USD" in done.stdout
    assert not command.folder.exists()


def test_kill_9_while_a_batch_is_under_way_hands_in_nothing_twice(command, server):
    server.batches.looks = 10**9
    process = subprocess.Popen(
        [sys.executable, "-m", "bestroute", *command("--batch")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(job.looks for job in list(server.batches.jobs.values())):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    refused = run(command())
    assert refused.exit_code == 2
    assert "batches of an earlier run are unfinished; add --batch" in refused.stderr
    server.batches.looks = 1
    done = run(command("--batch"))
    assert done.exit_code == 0, done.output
    assert len(server.batches.jobs) == 1
    assert len(questions(server)) == 6


def test_a_reply_is_kept_though_another_of_its_pair_failed(command, server, monkeypatch):
    monkeypatch.setitem(BatchDraws.__init__.__kwdefaults__, "rounds", 0)
    server.batches.expire_after = 21  # so the last line is not answered
    first = run(command("--pairwise", "--batch"))
    assert first.exit_code == 1
    assert "1 queries were not judged" in first.stderr
    assert f"the judge cost {spent(server) / 2:.6f} USD" in first.stdout
    server.batches.expire_after = None
    done = run(command("--pairwise", "--batch"))
    assert done.exit_code == 0, done.output
    assert len(questions(server)) == 22
    assert f"the judge cost {spent(server) / 2:.6f} USD" in done.stdout


def test_single_calls_take_up_the_replies_that_a_batch_left(command, server, monkeypatch):
    monkeypatch.setitem(BatchDraws.__init__.__kwdefaults__, "rounds", 0)
    server.batches.expire_after = 21
    assert run(command("--pairwise", "--batch")).exit_code == 1
    batched = spent(server)
    done = run(command("--pairwise"))
    assert done.exit_code == 0, done.output
    assert len(questions(server)) == 22
    assert f"the judge cost {batched / 2 + spent(server) - batched:.6f} USD" in done.stdout


def test_a_limit_leaves_the_other_answers_of_a_batch_under_way_to_a_later_run(command, server, monkeypatch):
    def killed(*_):
        raise Killed

    monkeypatch.setattr(BatchDraws, "_ended", killed)
    with pytest.raises(Killed):
        run(command("--batch"))
    monkeypatch.undo()
    some = run(command("--batch", "--limit", "2"))
    assert sum(quality is not None for of in qualities(command.out).values() for quality in of) == 2 * 3, some.output
    assert command.folder.exists()
    refused = run(command())
    assert refused.exit_code == 2
    assert f"or delete {command.folder}" in refused.stderr
    done = run(command("--batch"))
    assert done.exit_code == 0, done.output
    assert (len(questions(server)), len(server.batches.jobs)) == (6, 1)
    assert f"the judge cost {spent(server) / 2:.6f} USD" in done.stdout
    assert not command.folder.exists()


@pytest.mark.parametrize("batch", [(), ("--batch",)])
def test_answers_that_look_the_same_to_the_judge_are_one_question(command, server, tmp_path, batch):
    arguments = command("--pairwise", *batch)
    first, second = ("a" * 8000 + middle + "a" * 8000 for middle in "xy")
    record = Record(
        "q", "?", {"small": ModelSamples((None,), (first,)), "large": ModelSamples((None,), (second,))}, "g"
    )
    write_records(tmp_path / "r.jsonl", [record])
    server.answers = lambda model, messages: json.dumps({"better": "A"})
    done = run(arguments)
    assert done.exit_code == 0, done.output
    assert set(qualities(command.out).values()) == {(0.5,)}
    assert f"the judge cost {spent(server) / (2 if batch else 1):.6f} USD" in done.stdout


def test_a_judge_that_takes_no_temperature_is_asked_without(command, server):
    done = run(command("--batch", name="refuse-temperature-judge"))
    assert done.exit_code == 0, done.output
    assert len(server.batches.jobs) == 2
    assert "0 without a quality" in done.stdout


def test_a_command_judges_a_file_at_the_whole_price(command, server, tmp_path):
    script = tmp_path / "answer.py"
    script.write_text(
        "import json, sys\n"
        "with open(sys.argv[2], 'w') as out:\n"
        "    for line in map(json.loads, open(sys.argv[1])):\n"
        "        count = line['body']['messages'][-1]['content'].count('</answer')\n"
        "        text = json.dumps({'scores': [7] * count})\n"
        "        reply = {'choices': [{'message': {'content': text}, 'finish_reason': 'stop'}],\n"
        "                 'usage': {'prompt_tokens': 10, 'completion_tokens': 2}}\n"
        "        response = {'status_code': 200, 'body': reply}\n"
        "        print(json.dumps({'custom_id': line['custom_id'], 'response': response}), file=out)\n"
    )
    answer = f"{sys.executable} {script} {{input}} {{output}}"
    done = run(command("--batch", "command", "--batch-command", answer))
    assert done.exit_code == 0, done.output
    assert {quality for of in qualities(command.out).values() for quality in of} == {0.7}
    assert f"the judge cost {6 * 14 / 1e6:.6f} USD" in done.stdout


def test_batch_price_says_another_part_of_the_price(command, server):
    done = run(command("--batch", "openai", "--batch-price", "0.25"))
    assert f"the judge cost {spent(server) / 4:.6f} USD" in done.stdout


@pytest.mark.parametrize("judge", [("--judge", "json:loads"), ()])
def test_batches_are_for_a_judge_of_the_pool(command, judge):
    arguments = command("--batch", "--check", "exact")
    at = arguments.index("--judge")
    refused = run([*arguments[:at], *judge, *arguments[at + 2 :]])
    assert refused.exit_code == 2
    assert refused.stderr == "bestroute: --batch needs a --judge that is a member of the pool\n"


def test_collect_draws_and_judges_by_batches(command, server, tmp_path):
    command()
    (tmp_path / "p.jsonl").write_text('{"id": "a", "query": "Why?"}\n{"id": "b", "query": "How?"}\n')
    arguments = ["collect", str(tmp_path / "p.jsonl"), "--pool", str(tmp_path / "pool.yaml"), "--n", "1", "--judge"]
    done = run([*arguments, "judge", "--out", str(tmp_path / "c.jsonl"), "--batch", "--poll", "0"])
    assert done.exit_code == 0, done.output
    assert len(server.batches.jobs) == 3
    assert all("x-loopback-batch" in request["headers"] for request in questions(server))
    assert None not in [quality for of in qualities(tmp_path / "c.jsonl").values() for quality in of]
