"""Draws by batch files: the same records at half the price, and whatever a kill leaves is taken up."""

import json
import sys

import pytest

from bestroute import ConfigError, GenerationError, Pool, Price
from bestroute.generators.batches import BatchDraws, are_under_way, at_batch_prices, form_of
from bestroute.generators.batches.batch_forms import BatchState, OpenAIBatches
from bestroute.generators.openai import generators_from
from bestroute.records.collect import Prompt, collect
from bestroute.records.records import read_records
from bestroute.types.endpoint import Endpoint
from bestroute.types.sample import Cancel

pytest.importorskip("openai")

PROMPTS = [Prompt(f"q{i}", f"What is {i} times 7?", f"q{i}", fields={"id": f"q{i}"}) for i in range(3)]
PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}


class Killed(BaseException):
    """What a kill looks like from inside."""


def _kill():
    raise Killed


@pytest.fixture
def run(server, tmp_path):
    """Collect by batches into one file; ``names``: what the server is asked by, ``on_sample``: where a kill comes."""
    out = tmp_path / "records.jsonl"

    def collected(n=2, *, names=None, form="openai", on_sample=None, prompts=PROMPTS, rounds=2, stop=None, **options):
        endpoints = {
            m: Endpoint(base_url=server.base_url, api_model=(names or {}).get(m, f"{m}-x")) for m in ("small", "large")
        }
        pool = Pool(["small", "large"], PRICES, reference="large", endpoints=endpoints)
        members = generators_from(pool)
        forms = {m: form_of(members[m], form, **options) for m in pool.models}
        drawer = BatchDraws(forms, out, poll_s=0.0, rounds=rounds)
        charged = at_batch_prices(pool, {m: f.price_factor for m, f in forms.items()})
        try:
            return collect(prompts, charged, members, out, n=n, drawer=drawer, on_sample=on_sample, stop=stop)
        finally:
            for member in members.values():
                member.close()

    collected.out = out
    return collected


def cost(out):
    return sum(sum(s.cost_usd) for record in read_records(out) for s in record.samples.values())


def full_price(server):
    prices = {f"{m}-x": p for m, p in PRICES.items()}
    return sum(
        (b.input_tokens * prices[b.model].input + b.output_tokens * prices[b.model].output) / 1e6 for b in server.bills
    )


def answers(server):
    return [request for request in server.requests if "completions" in request["path"] or "messages" in request["path"]]


def killed_after(count):
    def on_sample(done, total):
        if done == count:
            raise Killed

    return on_sample


@pytest.mark.parametrize("form", ["openai", "anthropic"])
def test_every_sample_is_drawn_by_one_batch_a_model_at_half_the_price(run, server, form):
    if form == "anthropic":
        pytest.importorskip("anthropic")
    done = run(form=form)
    assert (done.drawn, done.missing, done.failures) == (12, 0, ())
    assert len(server.batches.jobs) == 2
    assert {r["headers"]["x-loopback-batch"] for r in answers(server)} == set(server.batches.jobs)
    records = read_records(run.out)
    assert [(r.id, [len(s.text) for s in r.samples.values()]) for r in records] == [(f"q{i}", [2, 2]) for i in range(3)]
    for record in records:
        assert all(text.endswith(f"to: {record.query}") for s in record.samples.values() for text in s.text)
    assert cost(run.out) == pytest.approx(full_price(server) / 2)
    assert not are_under_way(run.out)


@pytest.mark.parametrize("form", ["openai", "anthropic"])
@pytest.mark.parametrize("count", [1, 6, 8, 12])
def test_a_run_killed_after_any_sample_goes_on_and_asks_nothing_twice(run, server, form, count):
    if form == "anthropic":
        pytest.importorskip("anthropic")
    with pytest.raises(Killed):
        run(form=form, on_sample=killed_after(count))
    done = run(form=form)
    assert (done.kept, done.drawn, done.missing) == (count, 12 - count, 0)
    assert len(answers(server)) == 12
    texts = [text for r in read_records(run.out) for s in r.samples.values() for text in s.text]
    assert len(set(texts)) == len(texts) == 12
    assert cost(run.out) == pytest.approx(full_price(server) / 2)
    assert not are_under_way(run.out)


def test_what_is_under_way_when_a_run_stops_is_read_by_the_next_one(run, server):
    server.batches.looks = 10**6

    class WhenBothWereLookedAt(Cancel):
        @property
        def is_set(self):
            return sum(job.looks for job in server.batches.jobs.values()) >= 2

    done = run(stop=WhenBothWereLookedAt())
    assert (done.drawn, done.missing) == (0, 12)
    assert are_under_way(run.out)
    server.batches.looks = 1
    assert run().missing == 0
    assert len(server.batches.jobs) == 2
    assert len(answers(server)) == 12


@pytest.mark.parametrize("count", [0, 5, 11])
def test_samples_that_a_shorter_run_does_not_want_stay_for_a_longer_one(run, server, monkeypatch, count):
    monkeypatch.setattr(BatchDraws, "_ended", lambda *_: _kill())
    with pytest.raises(Killed):
        run()
    monkeypatch.undo()
    run(prompts=PROMPTS[:2], n=1)
    if count:
        with pytest.raises(Killed):
            run(on_sample=killed_after(count))
    assert run().missing == 0
    assert len(answers(server)) == 12
    texts = [text for r in read_records(run.out) for s in r.samples.values() for text in s.text]
    assert len(set(texts)) == len(texts) == 12
    assert not are_under_way(run.out)


def test_a_batch_whose_id_was_lost_on_the_way_is_found_again(run, server):
    server.batches.lost = 1
    assert run().missing == 0
    assert len(server.batches.jobs) == 2
    assert len(answers(server)) == 12


def kill_once_handed_in(monkeypatch):
    note = BatchDraws._note
    monkeypatch.setattr(BatchDraws, "_note", lambda self, batch: note(self, batch) if batch.id is None else _kill())


def test_a_batch_whose_id_was_not_noted_before_a_kill_is_found_again(run, server, monkeypatch):
    kill_once_handed_in(monkeypatch)
    with pytest.raises(Killed):
        run()
    monkeypatch.undo()
    assert are_under_way(run.out)
    assert run().missing == 0
    assert len(server.batches.jobs) == 2
    assert len(answers(server)) == 12


def test_a_batch_of_anthropics_that_was_not_noted_is_known_by_its_results_when_it_has_ended(run, server, monkeypatch):
    pytest.importorskip("anthropic")
    kill_once_handed_in(monkeypatch)
    with pytest.raises(Killed):
        run(form="anthropic")
    monkeypatch.undo()
    with pytest.raises(GenerationError, match="is in progress, and may be the one whose id was not noted"):
        run(form="anthropic")
    for job in list(server.batches.jobs):
        for _ in range(2):
            server.batches.get(f"/v1/messages/batches/{job}", server.server_address[1])
    assert run(form="anthropic").missing == 0
    assert len(server.batches.jobs) == 2
    assert len(answers(server)) == 12


def test_expired_lines_are_handed_in_again_and_cost_nothing(run, server):
    server.batches.expire_after = 4
    done = run()
    assert (done.drawn, done.missing, done.failures) == (12, 0, ())
    assert len(server.batches.jobs) == 4
    assert len(answers(server)) == 12
    assert cost(run.out) == pytest.approx(full_price(server) / 2)


def test_lines_that_expire_each_time_are_reported_and_left_for_the_next_run(run, server):
    server.batches.expire_after = 0
    done = run(rounds=1)
    assert (done.drawn, done.missing) == (0, 12)
    assert all("could not be executed before the window ended" in failure for failure in done.failures)
    assert len(server.batches.jobs) == 4
    server.batches.expire_after = None
    assert run().missing == 0


def test_failed_lines_are_tried_again_where_that_may_help(run, server):
    done = run(names={"small": "flaky-2-x", "large": "fail-400-x"})
    assert done.missing == 6
    assert [failure.partition(":")[0] for failure in done.failures] == ["'large'"]
    assert "forced 400" in done.failures[0]
    assert sum(bill.status == "failed" for bill in server.bills) == 2 + 6
    assert [len(r.samples["small"].text) for r in read_records(run.out)] == [2, 2, 2]


def test_more_samples_are_drawn_by_a_later_run_alone(run, server):
    run(n=1)
    done = run(n=3)
    assert (done.kept, done.drawn) == (6, 12)
    assert len(answers(server)) == 18


def test_a_batch_that_is_refused_as_a_whole_is_one_sentence(run, server, monkeypatch):
    from bestroute.testing import batch_wire

    made = batch_wire._Submitted
    monkeypatch.setattr(batch_wire, "_Submitted", lambda *a, **k: made(*a, **{**k, "problem": "the file is not right"}))
    done = run()
    assert done.missing == 12
    assert [f.partition(": ")[2] for f in done.failures] == [
        "BatchLineError: the batch was refused: the file is not right (6 times)"
    ] * 2
    monkeypatch.undo()
    assert run().missing == 0


def test_a_command_answers_a_file_and_costs_the_whole_price(run, server, tmp_path):
    script = tmp_path / "answer.py"
    script.write_text(
        "import json, sys\n"
        "lines = [json.loads(line) for line in open(sys.argv[1])]\n"
        "assert {line['body']['model'] for line in lines} == {sys.argv[3]}\n"
        "with open(sys.argv[2], 'w') as out:\n"
        "    for i, line in enumerate(lines):\n"
        "        reply = {'choices': [{'message': {'content': f'answer {i}'}, 'finish_reason': 'stop'}],\n"
        "                 'usage': {'prompt_tokens': 10, 'completion_tokens': 2}}\n"
        "        response = {'status_code': 200, 'body': reply}\n"
        "        print(json.dumps({'custom_id': line['custom_id'], 'response': response}), file=out)\n"
    )
    done = run(form="command", command=f"{sys.executable} {script} {{input}} {{output}} {{model}}")
    assert (done.drawn, done.missing) == (12, 0)
    assert cost(run.out) == pytest.approx(6 * (10 * 1 + 2 * 2 + 10 * 10 + 2 * 20) / 1e6)
    bad = f"{sys.executable} -c 'import sys; sys.exit(print(\"no such model\") or 3)' {{input}} {{output}}"
    with pytest.raises(GenerationError, match="ended with status 3: no such model"):
        run(n=3, form="command", command=bad)
    for command in ("awk {print} {input} {output}", "sh -c 'cat {input} > {output}"):
        with pytest.raises(ConfigError, match="for braces of its own, and quotes in pairs, got"):
            run(form="command", command=command)
    with pytest.raises(ConfigError, match="names {input} and {output}"):
        run(form="command", command="vllm run-batch")


def test_lines_of_results_that_make_no_sense_keep_no_other_from_being_read(run, server, tmp_path):
    script = tmp_path / "answer.py"
    script.write_text(
        "import json, sys\n"
        "lines = [json.loads(line)['custom_id'] for line in open(sys.argv[1])]\n"
        "reply = {'choices': [{'message': {'content': 'an answer'}, 'finish_reason': 'stop'}],\n"
        "         'usage': {'prompt_tokens': 10, 'completion_tokens': 2}}\n"
        "odd = ['Killed', {'status_code': '400', 'body': 'no'}, None]\n"
        "with open(sys.argv[2], 'w') as out:\n"
        "    print('no JSON', '[1]', sep='\\n', file=out)\n"
        "    for i, custom_id in enumerate(lines):\n"
        "        response = odd[i] if i < 3 else {'status_code': 200, 'body': reply}\n"
        "        print(json.dumps({'custom_id': custom_id, 'response': response}), file=out)\n"
        "    print(json.dumps({'custom_id': lines[0]})[:-3], end='', file=out)\n"
    )
    done = run(form="command", command=f"{sys.executable} {script} {{input}} {{output}}")
    assert (done.drawn, done.missing) == (6, 6)
    assert not are_under_way(run.out)


def test_who_cancels_a_batch_gets_what_it_had_done_and_no_second_batch_at_once(run, server, monkeypatch):
    results = OpenAIBatches.results
    monkeypatch.setattr(OpenAIBatches, "state", lambda self, batch_id: BatchState(True, is_cancelled=True))
    server.batches.looks = 0

    def done_until_then(self, batch_id):
        self.member.client.batches.retrieve(batch_id)
        yield from list(results(self, batch_id))[:2]

    monkeypatch.setattr(OpenAIBatches, "results", done_until_then)
    done = run()
    assert (done.drawn, done.missing, len(server.batches.jobs)) == (4, 8, 2)
    assert "the batch was cancelled before this line" in done.failures[0]
    monkeypatch.undo()
    assert run().missing == 0


def test_tools_and_turns_reach_anthropic_in_its_own_form(run, server):
    pytest.importorskip("anthropic")
    tool = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    fields = {
        "system": "be brief",
        "messages": [
            {"role": "user", "content": 'CALL add({"a": 2}) CALL add({"a": 3})'},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
        ],
        "tools": [{"type": "function", "function": tool}],
    }
    done = run(n=1, form="anthropic", prompts=[Prompt("t", "add", "t", fields=fields)])
    assert (done.drawn, done.failures) == (2, ())
    assert json.loads(read_records(run.out)[0].samples["small"].text[0]) == [{"name": "add", "arguments": {"a": 3}}]
    assert answers(server)[0]["body"]["system"] == "be brief"


def test_the_command_line_draws_by_batches_and_refuses_to_mix(server, tmp_path):
    from click.testing import CliRunner

    from bestroute.cli import main

    (tmp_path / "prompts.jsonl").write_text('{"id": "q", "query": "What is 6 times 7?"}\n')
    member = f'input_price: 1, output_price: 2, base_url: "{server.base_url}"'
    (tmp_path / "pool.yaml").write_text(f"reference: large\nmodels:\n  small: {{{member}}}\n  large: {{{member}}}\n")
    out = tmp_path / "records.jsonl"
    command = ["collect", str(tmp_path / "prompts.jsonl"), "--pool", str(tmp_path / "pool.yaml"), "--n", "2"]
    command += ["--out", str(out)]
    pending = tmp_path / "records.jsonl.batches"
    pending.mkdir()
    (pending / "k.json").write_text("{}")
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "batches of an earlier run are unfinished; add --batch" in refused.output
    (pending / "k.json").unlink()
    done = CliRunner().invoke(main, [*command, "--batch", "--poll", "0"])
    assert done.exit_code == 0, done.output
    assert "4 drawn, 0 still to draw" in done.output
    assert len(server.batches.jobs) == 2
    bad = CliRunner().invoke(main, [*command, "--batch-price", "0.5"])
    assert bad.exit_code == 2
