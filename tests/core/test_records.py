import contextlib
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import RecordError
from bestroute.records.collect import read_prompts
from bestroute.records.jsonl import write_jsonl
from bestroute.records.records import judged_only, read_records, write_records

GOOD = {
    "id": "q1",
    "query": "What is 12*7?",
    "group": "g",
    "task": "arithmetic",
    "samples": {
        m: {"text": ["84", "82"], "quality": [1.0, 0.0], "input_tokens": 19, "output_tokens": [2, 2]}
        for m in ("small", "mid", "large")
    },
    "level": 2,
}


def write(tmp_path, *lines):
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def changed(**fields):
    value = json.loads(json.dumps(GOOD))
    for path, new in fields.items():
        *parents, last = path.split("__")
        node = value
        for parent in parents:
            node = node[parent]
        node[last] = new
    return value


def test_records_survive_their_file_plain_and_gzipped(tmp_path):
    records = read_records(write(tmp_path, GOOD))
    assert records[0].samples["small"].quality == (1.0, 0.0)
    assert records[0].extra == {"level": 2}
    for name in ("again.jsonl", "again.jsonl.gz"):
        write_records(tmp_path / name, records)
        assert read_records(tmp_path / name) == records


def test_the_group_is_the_id_where_none_is_told(tmp_path):
    value = {k: v for k, v in GOOD.items() if k not in ("group", "task")}
    (record,) = read_records(write(tmp_path, value))
    assert (record.group, record.task) == ("q1", "")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{not json", "line 2: not valid JSON"),
        ("[]", "line 2: expected a JSON object, got an array"),
        ('{"id": "q2", "query": "x", "samples": {"small": {"quality": [NaN]}}}', "NaN is not a number"),
        (changed(id=""), "line 2: 'id' must be a text that is not empty"),
        (changed(id=None), "line 2: 'id' is missing; a line of ours is"),
        (changed(id="q2", query=3), "line 2: 'query' must be a text"),
        (changed(id="q2", query=None), "line 2: 'query' is missing; a line of ours is"),
        (changed(id="q2", samples__small__quality=None), "'samples.small.quality' is missing; it must be a list"),
        (changed(id="q2", samples={}), "line 2: 'samples' must map models"),
        (changed(id="q2", samples__small={"quality": []}), "'samples.small.quality' must be a list"),
        (changed(id="q2", samples__small__quality=[1.0]), "'quality' has 1 entries but 'text' has 2|quality' has 1"),
        (changed(id="q2", samples__small__quality=[1.0, "x"]), "'samples.small.quality' must be a list of finite"),
        (
            changed(id="q2", samples__small__quality=[1.0, 2]),
            r"line 2: 'samples.small.quality' must be in \[0, 1\], got 2",
        ),
        (changed(id="q2", samples__small__quality=[-0.5, None]), r"quality' must be in \[0, 1\], got -0.5"),
        (
            changed(id="q2", query=[{"role": "user"}]),
            "must be a text, got a list; give a conversation as 'messages'",
        ),
        (changed(id="q2", samples__small__output_tokens=[1, -1]), "'samples.small.output_tokens' must be >= 0"),
        (changed(id="q2", samples__small__input_tokens=-1), "'samples.small.input_tokens' must be a number >= 0"),
        (changed(id="q2", samples__small__text=[1, 2]), "'samples.small.text' must be a list of texts"),
        (GOOD, "line 2: 'id' 'q1' was used before, in .*line 1"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_field(tmp_path, line, sentence):
    with pytest.raises(RecordError, match=sentence) as caught:
        read_records(write(tmp_path, GOOD, line))
    assert "records.jsonl" in str(caught.value)


def test_a_record_must_hold_every_model_of_the_pool_unless_that_is_allowed(tmp_path, pool):
    lacking = changed(id="q2", samples={"small": GOOD["samples"]["small"]})
    path = write(tmp_path, GOOD, lacking)
    with pytest.raises(RecordError, match="'samples' has no 'mid', 'large'.*--allow-missing"):
        read_records(path, pool=pool)
    assert [r.id for r in read_records(path, pool=pool, allow_missing=True)] == ["q1"]


def test_models_outside_the_pool_are_ignored(tmp_path, pool):
    more = changed(samples={**GOOD["samples"], "other": {"quality": [1.0]}})
    (record,) = read_records(write(tmp_path, more), pool=pool)
    assert list(record.samples) == ["small", "mid", "large"]


def test_an_empty_or_missing_file_is_refused(tmp_path):
    with pytest.raises(RecordError, match="holds no records"):
        read_records(write(tmp_path, ""))
    with pytest.raises(RecordError, match="cannot read"):
        read_records(tmp_path / "none.jsonl")
    (tmp_path / "x.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(RecordError, match="cannot read"):
        read_records(tmp_path / "x.jsonl.gz")


def test_a_truncated_gzip_is_refused(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode())[:-10])
    with pytest.raises(RecordError, match="cannot read"):
        read_records(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.jsonl"
    write_jsonl(path, [{"a": 1}])
    with pytest.raises(ValueError, match="NaN|nan|JSON"):
        write_jsonl(path, [{"a": 2}, {"a": float("nan")}])
    assert path.read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "query", "samples", "quality", "text", "small"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_no_line_crashes_without_a_sentence(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    path.write_text(json.dumps(value))
    with contextlib.suppress(RecordError):
        read_records(path)


def test_booleans_are_qualities_and_null_is_a_sample_nobody_judged(tmp_path):
    (record,) = read_records(write(tmp_path, changed(samples__small__quality=[True, None])))
    samples = record.samples["small"]
    assert samples.quality == (1.0, None)
    assert samples.unjudged == 1
    assert samples.judged().quality == (1.0,)
    assert samples.judged().text == samples.text[:1]


def test_samples_that_nobody_judged_are_left_out_and_counted(tmp_path):
    waiting = changed(id="q2", samples__small__quality=[None, None])
    half = changed(id="q3", samples__small__quality=[None, 0.25])
    judged = judged_only(read_records(write(tmp_path, GOOD, waiting, half)))
    assert [r.id for r in judged.records] == ["q1", "q3"]
    assert (judged.left_out, judged.unjudged) == (("q2",), 3)
    assert judged.records[1].samples["small"].quality == (0.25,)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf"])
def test_byte_order_marks_are_read_over(tmp_path, mark):
    path = tmp_path / "r.jsonl"
    path.write_bytes(mark + json.dumps(GOOD).encode() + b"\r\n" + mark + json.dumps(changed(id="q2")).encode())
    assert [r.id for r in read_records(path)] == ["q1", "q2"]


def test_utf_16_that_says_so_is_read(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes((json.dumps(changed(query="é 😀"), ensure_ascii=False) + "\n").encode("utf-16"))
    assert read_records(path)[0].query == "é 😀"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("id,query\n1,hello\n", r"r.jsonl is CSV \(its first line is id,query\); expected JSON Lines"),
        ("\ufeffid;query\n1;hello\n", "is CSV with semicolons"),
        ("What is 2 + 2?\nWho am I?\n", "is plain text; expected JSON Lines"),
        ("\u0001\0\0x", "is a binary file; expected JSON Lines"),
        ("42\n", "line 1: expected a JSON object, got a number"),
        ("null\n", "line 1: expected a JSON object, got null"),
        ("id\tquery\n1\thello\n", "is TSV"),
        ('[\n {"id": "1", "query": "x"}\n]', "is a JSON array; expected JSON Lines"),
        ('[{"id": "1", "query": "x"}]', "is a JSON array; expected JSON Lines"),
        ('[{"id": "1", "inputs": {"q": "x"}, "outputs": {}}]', "is a JSON array, a LangSmith export"),
        ('[{"id": "1", "input": [], "output": {}, "usageDetails": {}, "totalCost": "1"}]', "array, a Langfuse export"),
        ('{\n "id": "1"\n}', "is one JSON object over several lines"),
        ("- id: 1\n  query: x\n", "is YAML"),
        ("PK\x03\x04abc", "is a zip archive"),
        ("PAR1abc", "is a Parquet file"),
        ('{"inputs": {"question": "x"}, "outputs": {}}', "line 1: has no 'query'; this looks like a LangSmith export"),
        ('{"id": "1", "input": "x", "output": "y", "traceId": "t"}', "looks like a Langfuse export"),
        ('{"custom_id": "r", "method": "POST", "body": {}}', "looks like an OpenAI batch input"),
        ('{"custom_id": "r", "response": {}}', "looks like an OpenAI batch output"),
        ('{"request_body": {}, "response_body": {}}', "looks like a Helicone export"),
        ('{"context.span_id": "1", "name": "llm"}', "looks like a Phoenix export"),
        ('{"id": "1", "messages": []}', "looks like chat messages"),
        ('{"instruction": "x", "input": "", "output": "y"}', "looks like an Alpaca file"),
        ('{"id": "1", "conversations": []}', "looks like a ShareGPT file"),
    ],
)
@pytest.mark.parametrize("read", [read_records, read_prompts])
def test_what_people_have_is_named_in_the_sentence_that_refuses_it(tmp_path, content, name, read):
    path = tmp_path / "r.jsonl"
    path.write_text(content, newline="")
    with pytest.raises(RecordError, match=name):
        read(path)
