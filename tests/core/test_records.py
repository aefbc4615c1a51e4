import contextlib
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import RecordError
from bestroute.jsonl import write_jsonl
from bestroute.records import read_records, write_records

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
        ("[]", "line 2: expected a JSON object, got list"),
        ('{"id": "q2", "query": "x", "samples": {"small": {"quality": [NaN]}}}', "NaN is not a number"),
        (changed(id=""), "line 2: 'id' must be a text that is not empty"),
        (changed(id="q2", query=3), "line 2: 'query' must be a text"),
        (changed(id="q2", samples={}), "line 2: 'samples' must map models"),
        (changed(id="q2", samples__small={"quality": []}), "'samples.small.quality' must be a list"),
        (changed(id="q2", samples__small__quality=[1.0]), "'quality' has 1 entries but 'text' has 2|quality' has 1"),
        (changed(id="q2", samples__small__quality=[1.0, "x"]), "'samples.small.quality' must be a list of finite"),
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
