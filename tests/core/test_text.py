"""Any text is data: every door takes it, and what is written is read again."""

import hashlib
import json
import os
import subprocess
import sys
import traceback
from html import unescape

import click
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestroute import BestRoute, Pool, Price, Query
from bestroute._utils.text import brief, encodable, utf8
from bestroute.adapters.retrieval_context import split_context
from bestroute.adapters.tool_call_ids import portable_id
from bestroute.cli import main
from bestroute.errors import ConfigError, GenerationError, RecordError, quotations
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.features.hashing import featurise
from bestroute.generators.openai import OpenAIGenerator
from bestroute.records.collect import Prompt, collect
from bestroute.records.jsonl import dump_line, read_jsonl, write_jsonl
from bestroute.records.records import read_records
from bestroute.records.seen import SeenRecords
from bestroute.stats.folds import deal_folds
from bestroute.testing import FakeGenerator

ANY = st.text(st.characters(codec=None, exclude_categories=()))
"""All code points, surrogates and NUL among them."""
POOL = Pool(["s", "l"], {"s": Price(1, 1), "l": Price(2, 2)}, "l")
WRITTEN = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def joined(text):
    """Two halves side by side are the one character they make, in JSON of whatever make."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@given(ANY)
def test_what_is_written_as_a_line_is_read_as_the_same_text(text):
    assert json.loads(dump_line({text: text})) == {joined(text): joined(text)}


@WRITTEN
@given(st.lists(ANY, max_size=4))
def test_a_file_gives_back_any_text(tmp_path, texts):
    for name in ("x.jsonl", "x.jsonl.gz"):
        write_jsonl(tmp_path / name, [{"text": text} for text in texts])
        assert [value["text"] for _, value in read_jsonl(tmp_path / name)] == [joined(text) for text in texts]


def test_a_byte_that_is_no_utf8_is_read_as_python_reads_an_argument(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"query": "caf\xe9"}\n')
    [(_, value)] = read_jsonl(tmp_path / "x.jsonl")
    assert os.fsencode(value["query"]) == b"caf\xe9"


@given(ANY)
def test_text_that_any_encoder_takes_is_left_alone_and_the_rest_is_escaped(text):
    written = encodable(text)
    assert written.encode() == utf8(text)
    if not any("\ud800" <= sign <= "\udfff" for sign in text):
        assert written == text


@WRITTEN
@given(ANY)
def test_every_door_that_reads_a_text_takes_any(text):
    assert np.isfinite(featurise([Query(text or "?", system=text, context=text)])).all()
    assert len(deal_folds([text, "a"], 2)) == 2
    assert SeenRecords.of([text], [text]).has_id(text)
    assert portable_id(text, 1).isalnum()
    split_context(text)
    assert describe(ValueError(text), Query(text or "?")).encode()
    assert brief({text: [text]}).isprintable()


def test_a_hash_of_ordinary_text_is_what_it_was():
    assert SeenRecords.of(["naïve"], ()).to_json() == [hashlib.sha256("id:naïve".encode()).hexdigest()[:16]]


def test_a_request_holds_nothing_that_the_client_cannot_encode():
    request = OpenAIGenerator("m\udc80")._request(Query("half \ud83d", system="\udce9"), 1, {"stop": ["\ud83d"]})
    assert json.dumps(request, ensure_ascii=False).encode()


@WRITTEN
@given(ANY, ANY, ANY.map("id {}".format), ANY)
def test_collect_pays_once_for_any_text(tmp_path_factory, query, answer, name, group):
    out = tmp_path_factory.mktemp("any") / "r.jsonl"
    prompt = Prompt(name, f"what is {query}", group, fields={"note": answer, "system": query})
    members = {model: FakeGenerator([answer or "."] * 2) for model in POOL.models}
    assert collect([prompt], POOL, members, out, n=1).drawn == 2
    [record] = read_records(out)
    assert record.samples["s"].text == (joined(answer or "."),)
    same = Prompt(*map(joined, (name, prompt.query, group)))
    assert collect([same], POOL, members, out, n=1).drawn == 0


@WRITTEN
@given(ANY)
def test_collect_goes_on_after_an_error_in_any_words(tmp_path_factory, words):
    out = tmp_path_factory.mktemp("any") / "r.jsonl"
    prompts = [Prompt("a", "one", "g"), Prompt("b", "two", "g")]
    members = {"s": FakeGenerator([RuntimeError(words), "ok"]), "l": FakeGenerator(["ok", "ok"])}
    done = collect(prompts, POOL, members, out, n=1)
    assert (done.drawn, done.missing) == (3, 1)
    assert all(failure.encode() for failure in done.failures)


def test_collect_quotes_neither_prompt_nor_key_in_its_failures(tmp_path, caplog):
    words = "the quick brown fox jumps over the lazy dog"
    members = {"s": FakeGenerator([RuntimeError(f"no: {words}, sk-abcdef123456")]), "l": FakeGenerator(["ok"])}
    done = collect([Prompt("a", words, "g")], POOL, members, tmp_path / "r.jsonl", n=1)
    for text in (*done.failures, caplog.text):
        assert "brown fox" not in text
        assert "abcdef" not in text


def test_a_checker_that_fails_quotes_no_prompt_in_the_chain(tmp_path):
    words = "the quick brown fox jumps over the lazy dog"

    def check(prompt, text):
        raise KeyError(prompt["query"])

    members = {model: FakeGenerator(["ok"]) for model in POOL.models}
    with pytest.raises(ConfigError, match="KeyError") as caught:
        collect([Prompt("a", words, "g", fields={"query": words})], POOL, members, tmp_path / "r", n=1, checker=check)
    printed = "".join(traceback.format_exception(caught.value))
    assert "brown fox" not in printed
    assert "in check" in printed


@pytest.mark.parametrize("text", ["1" * 400, "1e400", "[" * 100_000, "-1" + "0" * 5000])
def test_a_number_too_large_and_a_text_too_deep_are_a_sentence(tmp_path, text):
    (tmp_path / "x.jsonl").write_text(f'{{"id": "a", "query": "b", "extra": {text}}}\n')
    with pytest.raises(RecordError, match="line 1: not valid JSON") as caught:
        list(read_jsonl(tmp_path / "x.jsonl"))
    assert len(str(caught.value)) < 400


def test_numbers_beyond_any_sum_are_refused_in_records(tmp_path):
    line = {"id": "a", "query": "b", "samples": {"s": {"quality": [1], "reward": [1e200]}}}
    (tmp_path / "x.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(RecordError, match="none beyond 1e"):
        read_records(tmp_path / "x.jsonl")


def test_every_damaged_bit_of_a_gzip_is_read_or_refused_with_a_sentence(tmp_path):
    write_jsonl(tmp_path / "whole.jsonl.gz", [{"id": str(i * 7919)} for i in range(300)])
    whole = (tmp_path / "whole.jsonl.gz").read_bytes()
    refused = 0
    for place in range(10, len(whole), 3):
        bad = bytearray(whole)
        bad[place] ^= 0x10
        (tmp_path / "bad.jsonl.gz").write_bytes(bad)
        try:
            list(read_jsonl(tmp_path / "bad.jsonl.gz"))
        except RecordError:
            refused += 1
    assert refused


MERGES = "".join(f"{b}: &{b}\n  <<: [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))
LISTS = "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x]\n" + LISTS + "reference: *h\nmodels: {}\n",
        "a: &a {x: 1, y: 2}\n" + MERGES + "reference: a\nmodels: *h\n",
        "a: &a [*a, *a]\nreference: *a\nmodels: {}\n",
        "reference: " + "x" * 100_000 + "\nmodels: 1\n",
        "reference: a\nmodels: {a: {input_price: 1e308, output_price: 1}}\n",
        "reference: a\nmax_n: " + "9" * 5000 + "\nmodels: {}\n",
        "reference: a\nmax_n: 0x" + "f" * 5000 + "\nmodels: {}\n",
        "reference: a\nmax_n: 1000000000\nmodels: {}\n",
        "[" * 50_000,
        "x" * 2_000_000,
        "? " + "k" * 100_000 + "\n: 1\n",
    ],
)
def test_a_hostile_pool_is_refused_in_one_short_sentence(tmp_path, text):
    path = tmp_path / "pool.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Pool.from_file(path)
    assert len(str(caught.value)) < 500 + len(str(path))
    assert "\n" not in str(caught.value)


def test_anchors_that_share_settings_are_read(tmp_path):
    path = tmp_path / "pool.yaml"
    path.write_text(
        "reference: a\nmodels:\n  a: &a {input_price: 1, output_price: 2}\n  b: {<<: *a, output_price: 3}\n"
    )
    assert Pool.from_file(path).prices["b"] == Price(1, 3)


def test_a_command_shows_any_argument(tmp_path):
    code = "import sys; from bestroute.cli import main; import click; main.callback(); click.echo(sys.argv[1])"
    done = subprocess.run(
        [sys.executable.encode(), b"-c", code.encode(), b"caf\xe9"],
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == b"caf\\udce9"


COMMANDS = [
    ["collect", "{}", "--pool", "{}", "--n", "1", "--out", "{}"],
    ["train", "{}", "--pool", "{}", "--out", "{}"],
    ["evaluate", "{}", "{}", "--json", "{}", "--plot", "{}", "--decisions", "{}"],
    ["tune", "{}", "{}", "--max-drop", "0.1"],
    ["train-reward", "{}", "--out", "{}"],
    ["add-model", "{}", "{}", "--pool", "{}", "--out", "{}"],
    ["remove-model", "{}", "{}", "--out", "{}"],
    ["route", "{}", "{}"],
    ["demo", "--live", "--base-url", "{}", "--ask", "{}", "--out", "{}"],
    ["{}"],
    ["train", "--{}"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
@pytest.mark.parametrize("text", ["half \ud83d", "caf\udce9", "nul\x00", "line\nbreak"], ids=ascii)
def test_a_command_refuses_any_argument_in_one_sentence(command, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []
    monkeypatch.setattr(click, "echo", lambda message=None, **_: told.append(str(message)))
    with pytest.raises(SystemExit) as ended:
        main.main([part.format(text) for part in command], prog_name="bestroute")
    assert ended.value.code == 2
    assert told[-1].startswith("bestroute: ")
    assert "Traceback" not in told[-1]


KEY = "Zq81-the-house-key"


class Holder(FakeGenerator):
    """A member with a key of no known form, in its client's headers."""

    def __init__(self, *answers):
        super().__init__(*answers)
        self.client = type("Client", (), {})()
        self.client.default_headers = {"X-House": f"Bearer {KEY}"}


def test_a_key_that_a_member_holds_is_hidden_by_value():
    member = Holder([RuntimeError(f"who is {KEY}?")])
    engine = BestRoute(POOL, {"s": member, "l": FakeGenerator(["ok"])}, lambda query: ("s", 1))
    assert KEY not in json.dumps(engine.run("What is this?").to_dict())
    assert KEY not in describe(RuntimeError(f"again {KEY}"))
    assert KEY in str(RuntimeError(f"again {KEY}"))


def test_a_key_of_the_environment_is_hidden_by_value(monkeypatch):
    monkeypatch.setenv("HOUSE_API_KEY", KEY)
    assert describe(RuntimeError(f"who is {KEY}?")) == "RuntimeError: who is [hidden]?"


QUESTION = "What did Ada Lovelace write to Charles Babbage in 1843?"


class Client(Exception):
    """A client's error that makes its text of an attribute."""

    def __init__(self, message):
        self.message = message
        self.status_code = 500

    def __str__(self):
        return f"failed: {self.message}"


class Stubborn(Exception):
    def __str__(self):
        return f"always {QUESTION}"


def chained(error, cause=None, context=None):
    error.__cause__, error.__context__ = cause, context
    return error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"cannot answer {QUESTION}"),
        RuntimeError({"prompt": QUESTION}, 7),
        KeyError(QUESTION),
        OSError(5, QUESTION),
        Client(QUESTION),
        chained(RuntimeError("outside"), cause=RuntimeError(QUESTION)),
        chained(RuntimeError("outside"), context=chained(KeyError("mid"), cause=Client(QUESTION))),
        chained(RuntimeError("outside"), cause=Stubborn()),
        ExceptionGroup("several", [RuntimeError(QUESTION)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_traceback_of_what_a_member_raised_quotes_nothing(error):
    engine = BestRoute(POOL, {"s": FakeGenerator([error]), "l": FakeGenerator([error])}, lambda query: ("s", 1))
    with pytest.raises(GenerationError) as caught:
        engine.run(QUESTION)
    assert "Babbage" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.failures[-1].error is error


def test_an_error_that_quotes_nothing_stays_as_it_is():
    error = chained(OSError(2, "no such file", "x.txt"), cause=ValueError("bad", 3, ("a", 1)))
    assert hide_quotations(error, Query(QUESTION)) is error
    assert (error.errno, str(error), error.__cause__.args) == (
        2,
        "[Errno 2] no such file: 'x.txt'",
        ("bad", 3, ("a", 1)),
    )


def test_what_html_and_urls_write_for_a_character_is_looked_up_once_and_hides_all_the_same(monkeypatch):
    looked_up = []
    monkeypatch.setattr(quotations, "unescape", lambda piece: looked_up.append(piece) or unescape(piece))
    quotations._meant.cache_clear()
    asked = "Le caf&eacute; &amp; l&#233;t&#xe9; " * 2000 + "O%C3%B9 est donc la gare de Lyon?"
    words = "Le caf\u00e9 l\u00e9t\u00e9 le caf\u00e9 l\u00e9t\u00e9 le, and o\u00f9 est donc la gare de Lyon"
    assert describe(RuntimeError(words), Query(asked)) == "RuntimeError: [hidden], and [hidden]"
    assert sorted(looked_up) == ["&#233;", "&#xe9;", "&eacute;"]


def test_an_entity_that_writes_an_entity_stands_for_what_is_written():
    assert quotations._letters("a&amp;lt;b&&lt;amp;c&amp;#65;") == "altbampc65"
