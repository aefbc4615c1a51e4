import ast
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import bestroute
from bestroute import Cancel, ConfigError, GenerationError, OpenAIGenerator, Pool, Price, Query, RecordError, Usage
from bestroute.judges.gold import read_gold
from bestroute.judges.labelling import label
from bestroute.records.collect import Prompt, collect, load_checker, read_prompts
from bestroute.records.jsonl import write_jsonl
from bestroute.records.records import read_records, write_records
from bestroute.testing import FakeGenerator, LoopbackServer

PROMPTS = [Prompt(f"q{i}", f"question {i}", f"g{i // 2}", "t", {"id": f"q{i}", "level": i}) for i in range(5)]


def numbered(name, **options):
    return FakeGenerator([f"{name} {i}" for i in range(1000)], **options)


def members(**options):
    return {name: numbered(name, **options) for name in ("small", "mid", "large")}


def texts(path):
    return Counter(t for r in read_records(path) for s in r.samples.values() for t in s.text)


def judged(path):
    rows = [
        (t, q) for r in read_records(path) for s in r.samples.values() for t, q in zip(s.text, s.quality, strict=True)
    ]
    return Counter(t for t, quality in rows if quality is not None)


def test_every_model_gets_n_samples_of_every_prompt(tmp_path, pool):
    out = tmp_path / "r.jsonl"
    done = collect(PROMPTS, pool, members(), out, n=3, checker=lambda record, text: 0.5)
    assert (done.drawn, done.kept, done.missing, done.failures) == (45, 0, 0, ())
    records = read_records(out, pool=pool)
    assert [r.id for r in records] == [p.id for p in PROMPTS]
    assert records[2].group == "g1"
    assert records[2].extra["level"] == 2
    assert all(s.quality == (0.5,) * 3 for r in records for s in r.samples.values())
    # two words of prompt and two of answer, at 1 and 2 USD a million
    assert records[0].samples["small"].cost_usd == pytest.approx([6e-6] * 3)
    assert list(tmp_path.iterdir()) == [out]


def test_files_are_given_by_their_names_as_on_the_command_line(tmp_path, pool):
    out, labelled, gold = (str(tmp_path / name) for name in ("r.jsonl", "labelled.jsonl.gz", "gold.jsonl"))
    collect(PROMPTS, pool, members(), out, n=1)
    assert collect(PROMPTS, pool, members(), out, n=1).drawn == 0
    done = label(read_records(out), None, labelled, checks=(lambda fields, text: 0.5,))
    assert len(read_records(labelled)) == len(done.records) == len(PROMPTS)
    write_records(out, read_records(labelled))
    write_jsonl(gold, [{"id": "a", "text": "x", "quality": 1}])
    assert [verdict.quality for verdict in read_gold(gold)] == [1.0]


def test_a_second_run_draws_only_what_is_missing(tmp_path, pool):
    out = tmp_path / "r.jsonl.gz"
    collect(PROMPTS[:3], pool, members(), out, n=2)
    generators = members()
    done = collect(PROMPTS, pool, generators, out, n=3)
    assert (done.kept, done.drawn) == (3 * 3 * 2, 5 * 3 * 3 - 3 * 3 * 2)
    assert len(generators["small"].calls) == 5 * 3 - 3 * 2
    assert collect(PROMPTS, pool, generators, out, n=3).drawn == 0


def test_failed_draws_are_left_for_the_next_run_and_told(tmp_path, pool):
    out = tmp_path / "r.jsonl"
    generators = {**members(), "mid": FakeGenerator([RuntimeError("down"), "fine"])}
    done = collect(PROMPTS, pool, generators, out, n=2, concurrency=1)
    assert done.missing == 5
    assert done.failures == ("'mid': RuntimeError: down (5 times)",)
    assert collect(PROMPTS, pool, {**members()}, out, n=2).missing == 0


def test_a_stop_keeps_what_was_under_way(tmp_path, pool):
    out, stop = tmp_path / "r.jsonl", Cancel()

    def show(there, wanted):
        if there >= 10:
            stop.set()

    done = collect(PROMPTS, pool, members(delay_s=0.01), out, n=3, concurrency=4, on_sample=show, stop=stop)
    assert 10 <= done.drawn < 45
    assert sum(texts(out).values()) == done.drawn
    assert collect(PROMPTS, pool, members(), out, n=3).missing == 0


def test_an_exception_in_the_middle_loses_nothing_that_was_drawn(tmp_path, pool):
    out = tmp_path / "r.jsonl"
    calls = []

    def checker(record, text):
        calls.append(text)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        collect(PROMPTS, pool, members(), out, n=3, checker=checker, concurrency=1)
    assert sum(judged(out).values()) == 19
    assert sum(texts(out).values()) == 20, "what the checker was interrupted at is paid for"
    assert not (tmp_path / "r.jsonl.journal").exists()


def test_a_journal_that_was_folded_already_doubles_nothing(tmp_path, pool):
    out = tmp_path / "r.jsonl"
    collect(PROMPTS, pool, members(), out, n=2)
    record = json.loads(out.read_text().splitlines()[0])
    row = {"id": "q0", "model": "small", "text": record["samples"]["small"]["text"][1], "quality": 0.0}
    row |= {"input_tokens": 2, "output_tokens": 2, "cost_usd": 6e-6, "at": 1}
    header = {"sampling": record["sampling"]}
    journal = tmp_path / "r.jsonl.journal"
    journal.write_text(json.dumps(header) + "\n" + json.dumps(row) + "\n" + '{"id": "q0", "mod')  # and a torn line
    before = texts(out)
    collect(PROMPTS, pool, members(), out, n=2)
    assert texts(out) == before


def test_other_parameters_or_another_question_are_refused(tmp_path, pool):
    out = tmp_path / "r.jsonl"
    collect(PROMPTS, pool, members(), out, n=1, params={"temperature": 0.8})
    before = out.read_text()
    with pytest.raises(ConfigError, match="give the same parameters, or another --out"):
        collect(PROMPTS, pool, members(), out, n=2, params={"temperature": 0.2})
    other = [Prompt("q0", "another question", "g0")]
    with pytest.raises(ConfigError, match="'q0' has another query"):
        collect(other, pool, members(), out, n=2, params={"temperature": 0.8})
    assert out.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


def test_records_are_collected_where_the_system_has_no_locks_of_files(tmp_path, pool, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    out = tmp_path / "r.jsonl"
    collect(PROMPTS, pool, members(), out, n=1)
    assert len(out.read_text().splitlines()) == len(PROMPTS)


def test_no_module_asks_for_locks_of_files_before_it_needs_them():
    for path in Path(bestroute.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert "fcntl" not in names, path


def test_one_process_at_a_time(tmp_path, pool):
    out = tmp_path / "r.jsonl"

    def nested(there, wanted):
        with pytest.raises(ConfigError, match="another process is collecting into it"):
            collect(PROMPTS, pool, members(), out, n=1)

    collect(PROMPTS[:1], pool, members(), out, n=1, on_sample=nested)


@pytest.mark.parametrize("bad", [{"n": 0}, {"concurrency": 0}])
def test_counts_must_be_positive(tmp_path, pool, bad):
    with pytest.raises(ConfigError, match="must be >= 1"):
        collect(PROMPTS, pool, members(), tmp_path / "r.jsonl", **{"n": 1, **bad})


def test_a_checker_must_return_a_quality(tmp_path, pool):
    with pytest.raises(ConfigError, match=r"must return a quality in \[0, 1\], got 2.0"):
        collect(PROMPTS, pool, members(), tmp_path / "r.jsonl", n=1, checker=lambda r, t: 2.0)


@pytest.mark.parametrize(
    ("checker", "told"),
    [(lambda r, t: None, "TypeError"), (lambda r, t: "good", "ValueError"), (lambda r, t: r["answer"], "KeyError")],
)
def test_a_checker_that_fails_is_one_sentence_and_what_was_kept_stays(tmp_path, pool, checker, told):
    out = tmp_path / "r.jsonl"
    collect(PROMPTS, pool, members(), out, n=1, checker=lambda r, t: 1.0)
    before = judged(out)
    with pytest.raises(ConfigError, match=rf"the checker failed on prompt '.+' \({told}: .*; fix it") as caught:
        collect(PROMPTS, pool, members(), out, n=2, checker=checker)
    assert "\n" not in str(caught.value)
    assert judged(out) == before


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_a_failing_checker_was_given_waits_for_a_mended_one(tmp_path, pool, concurrency):
    out, asked = tmp_path / "r.jsonl", []

    def checker(record, text):
        asked.append(text)
        if len(asked) == 8:
            raise KeyError("level")
        return 0.25

    first = members()
    for _ in range(2):  # the second time it fails on what waits, and nothing is drawn
        with pytest.raises(ConfigError, match="fix it and resume"):
            collect(PROMPTS, pool, first, out, n=3, checker=checker, concurrency=concurrency)
        asked = asked[:7]
    paid = sum(len(g.calls) for g in first.values())
    assert 8 <= paid < 45
    assert sum(judged(out).values()) == 7
    assert sum(texts(out).values()) == paid
    second = members()
    done = collect(PROMPTS, pool, second, out, n=3, checker=lambda record, text: 1.0, concurrency=concurrency)
    assert (done.kept, done.drawn) == (paid, 45 - paid)
    assert sum(len(g.calls) for g in second.values()) == 45 - paid
    qualities = Counter(q for r in read_records(out) for s in r.samples.values() for q in s.quality)
    assert qualities == {0.25: 7, 1.0: 38}
    assert list(tmp_path.iterdir()) == [out]


def test_equal_samples_that_wait_for_a_checker_are_all_judged(tmp_path, pool):
    def fails(record, text):
        raise KeyError("level")

    def same():
        return {name: FakeGenerator(["the same"]) for name in ("small", "mid", "large")}

    out = tmp_path / "r.jsonl"
    with pytest.raises(ConfigError, match="fix it and resume"):
        collect(PROMPTS[:1], pool, same(), out, n=3, checker=fails, concurrency=9)
    done = collect(PROMPTS[:1], pool, same(), out, n=3, checker=lambda record, text: 1.0)
    assert done.missing == 0
    (record,) = read_records(out)
    assert {model: samples.quality for model, samples in record.samples.items()} == dict.fromkeys(
        pool.models, (1.0,) * 3
    )
    assert list(tmp_path.iterdir()) == [out]


def test_checkers_are_imported_by_name():
    assert load_checker("bestroute.demo.tasks:check")({"kind": "number", "answer": "4"}, "4") == 1.0
    for bad in ("bestroute.demo.tasks", "bestroute.none:check", "bestroute.demo.tasks:none"):
        with pytest.raises(ConfigError, match="checker"):
            load_checker(bad)


def test_prompts_are_checked_line_by_line(tmp_path):
    path = tmp_path / "p.jsonl"
    write_jsonl(path, [{"id": "a", "query": "x"}, {"id": "a", "query": "y"}])
    with pytest.raises(RecordError, match="line 2: 'id' 'a' was used before"):
        read_prompts(path)
    write_jsonl(path, [{"id": "a", "query": " "}])
    with pytest.raises(RecordError, match="line 1: 'query'"):
        read_prompts(path)
    path.write_text("")
    with pytest.raises(RecordError, match="holds no prompts"):
        read_prompts(path)


POOL_FILE = """
reference: slow-5-large
models:
  slow-5-small: {{input_price: 1, output_price: 2, base_url: "{url}"}}
  slow-5-large: {{input_price: 10, output_price: 20, base_url: "{url}"}}
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_again_and_again_the_command_ends_with_exactly_n(tmp_path, how):
    write_jsonl(tmp_path / "p.jsonl", [{"id": f"q{i}", "query": f"question {i}"} for i in range(40)])
    with LoopbackServer() as server:
        (tmp_path / "pool.yaml").write_text(POOL_FILE.format(url=server.base_url))
        command = [sys.executable, "-m", "bestroute", "collect", "p.jsonl", "--pool", "pool.yaml", "--n", "3"]
        command += ["--out", "r.jsonl", "--concurrency", "4"]
        rng = random.Random(0)
        for _ in range(4):
            process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            for _ in range(100):
                if (tmp_path / "r.jsonl.journal").exists() or process.poll() is not None:
                    break
                time.sleep(0.05)
            time.sleep(rng.uniform(0.1, 0.4))
            process.send_signal(how)
            process.wait(timeout=60)
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
        sent = len(server.bills)
    records = read_records(tmp_path / "r.jsonl")
    assert [s.size for r in records for s in r.samples.values()] == [3] * 80
    drawn = texts(tmp_path / "r.jsonl")
    assert max(drawn.values()) == 1, "the server never answers twice alike"
    if how == signal.SIGINT:
        assert sent == 240, "nothing drawn twice, nothing lost"
    assert not os.path.exists(tmp_path / "r.jsonl.journal")


def test_without_a_checker_quality_is_unknown_and_a_later_one_judges_without_drawing(tmp_path, pool):
    out = tmp_path / "r.jsonl"
    done = collect(PROMPTS, pool, members(), out, n=2)
    assert (done.drawn, done.unjudged) == (30, 30)
    assert {q for r in read_records(out) for s in r.samples.values() for q in s.quality} == {None}
    generators, asked = members(), []

    def checker(record, text):
        asked.append((record["id"], text))
        return text.endswith("1")

    done = collect(PROMPTS, pool, generators, out, n=2, checker=checker)
    assert (done.drawn, done.unjudged, len(asked)) == (0, 0, 30)
    assert not any(generator.calls for generator in generators.values())
    for record in read_records(out):
        for samples in record.samples.values():
            assert samples.quality == tuple(float(text.endswith("1")) for text in samples.text)
    assert list(tmp_path.iterdir()) == [out]


def test_judging_what_waits_can_be_interrupted_and_goes_on(tmp_path, pool):
    out = tmp_path / "r.jsonl"
    collect(PROMPTS, pool, members(), out, n=1)
    stop, asked = Cancel(), []

    def checker(record, text):
        asked.append(text)
        if len(asked) == 4:
            stop.set()
        return 1.0

    assert collect(PROMPTS, pool, members(), out, n=1, checker=checker, stop=stop).unjudged == 11
    assert collect(PROMPTS, pool, members(), out, n=1, checker=checker).unjudged == 0
    assert len(asked) == 15, "none was judged twice"


def of_collect(caplog):
    return [record for record in caplog.records if record.name.startswith("bestroute.records")]


def test_a_missing_client_ends_the_run_at_once(tmp_path, pool, caplog):
    missing = ImportError('OpenAIGenerator needs the openai client: pip install "bestroute[openai]"')
    generators = {name: FakeGenerator([missing]) for name in pool.models}
    with pytest.raises(ImportError, match="needs the openai client"):
        collect(PROMPTS, pool, generators, tmp_path / "r.jsonl", n=9, concurrency=2)
    assert sum(len(g.calls) for g in generators.values()) == 2, "those under way"
    assert not of_collect(caplog)


def test_an_endpoint_that_nobody_listens_at_is_one_sentence(tmp_path, pool, caplog):
    dead = {name: FakeGenerator([ConnectionRefusedError("refused")]) for name in pool.models}
    with pytest.raises(GenerationError, match="'small', 'mid', 'large' cannot be reached, so nothing was drawn"):
        collect(PROMPTS, pool, dead, tmp_path / "r.jsonl", n=9, concurrency=1)
    assert [len(g.calls) for g in dead.values()] == [1, 1, 1]
    assert not of_collect(caplog)


def test_a_member_out_of_reach_is_left_alone_and_the_others_are_drawn(tmp_path, pool):
    generators = {**members(), "mid": FakeGenerator([ConnectionRefusedError("refused")])}
    done = collect(PROMPTS, pool, generators, tmp_path / "r.jsonl", n=2, concurrency=1)
    assert (done.drawn, done.missing, len(generators["mid"].calls)) == (20, 10, 1)
    assert done.failures == ("'mid': ConnectionRefusedError: refused (1 times)",)


def test_the_same_failure_is_logged_once(tmp_path, pool, caplog):
    generators = {**members(), "mid": FakeGenerator([RuntimeError("down")])}
    collect(PROMPTS, pool, generators, tmp_path / "r.jsonl", n=2)
    assert [record.levelname for record in of_collect(caplog)] == ["WARNING"]


def test_prompt_stands_for_query_and_null_for_absent(tmp_path, pool):
    path, out = tmp_path / "p.jsonl", tmp_path / "r.jsonl"
    write_jsonl(path, [{"id": "1", "prompt": "2 + 2?", "group": None, "task": None, "answer": "4"}])
    (prompt,) = read_prompts(path)
    assert (prompt.query, prompt.group, prompt.task) == ("2 + 2?", "1", "")
    assert prompt.fields["query"] == "2 + 2?"
    collect([prompt], pool, members(), out, n=1)
    (record,) = read_records(out)
    assert (record.query, record.extra["answer"], "prompt" in record.extra) == ("2 + 2?", "4", False)


@pytest.fixture
def short_lines(monkeypatch):
    monkeypatch.setattr("bestroute.records.jsonl.LONGEST_LINE", 60_000)


@pytest.mark.parametrize("text", ["word " * 600, "a,b[c{" * 500, "\ud83d" * 500])
def test_a_record_that_is_full_is_read_again_and_nothing_more_is_paid_for_it(tmp_path, pool, monkeypatch, text):
    monkeypatch.setattr("bestroute.records.jsonl.LONGEST_LINE", 60_000)
    monkeypatch.setattr("bestroute.records.jsonl._MOST_VALUES", 6000)
    out, generators = tmp_path / "r.jsonl", {name: FakeGenerator([text]) for name in ("small", "mid", "large")}
    first = collect(PROMPTS[:2], pool, generators, out, n=20, concurrency=2)
    paid = {name: len(member.calls) for name, member in generators.items()}
    assert sum(paid.values()) == first.drawn == sum(texts(out).values()) > 2
    assert first.missing == 120 - first.drawn
    assert any("is full, so nothing was drawn" in failure for failure in first.failures)
    again = collect(PROMPTS[:2], pool, generators, out, n=20, concurrency=2)
    assert (again.drawn, again.kept) == (0, first.drawn)
    assert {name: len(member.calls) for name, member in generators.items()} == paid


def test_a_sample_too_long_for_any_line_is_paid_once_and_kept_as_far_as_it_fits(tmp_path, pool, short_lines, caplog):
    out = tmp_path / "r.jsonl"
    generators = {name: FakeGenerator(["x" * 100_000]) for name in ("small", "mid", "large")}
    for _ in range(2):
        collect(PROMPTS[:1], pool, generators, out, n=1, concurrency=1)
    assert [len(member.calls) for member in generators.values()] == [1, 1, 1]
    assert sum(texts(out).values()) == 3
    assert all(set(text) == {"x"} and len(text) > 5000 for text in texts(out))
    assert "too long for its record and is cut" in caplog.text


def test_a_line_that_could_not_be_read_again_is_not_written(tmp_path, short_lines):
    path = tmp_path / "r.jsonl"
    write_jsonl(path, [{"id": "kept"}])
    with pytest.raises(RecordError, match="line 2: would be longer than .* nothing was written"):
        write_jsonl(path, [{"id": "a"}, {"id": "x" * 70_000}])
    assert path.read_text() == '{"id": "kept"}\n'


CHAT = {
    "id": "c1",
    "messages": [
        {"role": "user", "content": "I am in Oslo."},
        {"role": "assistant", "content": "Good."},
        {"role": "user", "content": [{"type": "text", "text": "How warm is it here?"}]},
    ],
    "system": "Be brief.",
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "group": None,
}


def test_a_chat_is_asked_whole_and_its_calls_are_recorded(tmp_path):
    form = {"type": "json_object"}
    write_jsonl(tmp_path / "p.jsonl", [CHAT, {"id": "c2", "query": "Say it in JSON.", "response_format": form}])
    judged = []

    def check(fields, text):
        judged.append((fields["id"], text))
        return 1.0

    with LoopbackServer() as server:
        server.script("m", [{"tool": "weather", "args": {"town": "Oslo"}}, '{"warm": true}'])
        pool = Pool(["m"], {"m": Price(1, 2)}, reference="m")
        generators = {"m": OpenAIGenerator("m", base_url=server.base_url, api_key="none")}
        prompts = read_prompts(tmp_path / "p.jsonl")
        collect(prompts, pool, generators, tmp_path / "r.jsonl", n=1, checker=check, concurrency=1)
        chat, plain = server.sent()
        generators["m"].close()
    assert chat["messages"] == [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]
    assert (chat["tools"], chat["tool_choice"]) == (CHAT["tools"], "auto")
    assert (plain["response_format"], "tools" in plain) == (form, False)
    called = '[{"name": "weather", "arguments": {"town": "Oslo"}}]'
    assert judged == [("c1", called), ("c2", '{"warm": true}')]
    record = read_records(tmp_path / "r.jsonl")[0]
    assert record.samples["m"].text == (called,)
    assert (record.query, record.extra["messages"]) == ("How warm is it here?", CHAT["messages"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
            "ends with an answer",
        ),
        ({"messages": [{"role": "bot", "content": "hi"}]}, "turn 1 of 'messages' must be an object like"),
        ({"messages": "hi"}, "'messages' must be a list of turns"),
        ({"messages": [{"role": "user", "content": ""}]}, "no last user turn with a text"),
        ({"tools": "weather"}, "'tools' must be a list of objects"),
        ({"system": 3}, "'system' must be a text"),
        ({"response_format": "json"}, "'response_format' must be an object"),
    ],
)
def test_a_chat_that_cannot_be_asked_is_refused_by_its_field(tmp_path, changes, why):
    write_jsonl(tmp_path / "p.jsonl", [{**CHAT, **changes}])
    with pytest.raises(RecordError, match=f"p.jsonl line 1: .*{why}"):
        read_prompts(tmp_path / "p.jsonl")


def test_what_draws_cost_is_known_by_model_failed_ones_that_were_billed_too(tmp_path, pool):
    paid = GenerationError("cut")
    paid.usage = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
    generators = {**members(), "mid": FakeGenerator([paid, "fine"])}
    done = collect(PROMPTS[:1], pool, generators, tmp_path / "r.jsonl", n=1, concurrency=1)
    (record,) = read_records(tmp_path / "r.jsonl", allow_missing=True) if done.drawn else ()
    for model in ("small", "large"):
        assert done.cost_usd[model] == pytest.approx(sum(record.samples[model].cost_usd))
    assert done.cost_usd["mid"] == pytest.approx(pool.prices["mid"].cost_usd(Usage(1_000_000, 1_000_000)))
    again = collect(PROMPTS[:1], pool, members(), tmp_path / "r.jsonl", n=1)
    assert (again.drawn, again.cost_usd["small"], again.cost_usd["large"]) == (1, 0.0, 0.0)


def test_before_drawing_it_is_estimated_what_it_will_cost_by_the_lengths_that_are_known(tmp_path, pool):
    said = []
    collect(PROMPTS, pool, members(), tmp_path / "r.jsonl", n=1, on_estimate=said.append)
    assert said[0].unknown == ("small", "mid", "large")
    assert "is unknown: there are no answers of them yet, and --max-tokens sets no limit" in str(said[0])
    done = collect(PROMPTS, pool, members(), tmp_path / "r.jsonl", n=3, on_estimate=said.append)
    assert (said[1].draws, said[1].unknown, said[1].is_limit) == (30, (), False)
    assert said[1].usd == pytest.approx(sum(done.cost_usd.values()), rel=0.5)
    assert str(said[1]).startswith("30 draws will cost about ")
    most = {"max_tokens": 100}
    collect(PROMPTS, pool, members(), tmp_path / "other.jsonl", n=1, params=most, on_estimate=said.append)
    assert said[2].is_limit
    tokens = sum(Query(prompt.query).prompt_tokens for prompt in PROMPTS)
    assert said[2].usd == pytest.approx(
        sum((tokens * price.input + 500 * price.output) / 1e6 for price in pool.prices.values())
    )
    assert "will cost at most about" in str(said[2])
    collect(PROMPTS, pool, members(), tmp_path / "other.jsonl", n=1, params=most, on_estimate=said.append)
    assert str(said[3]) == "no draws are needed"
