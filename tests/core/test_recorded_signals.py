"""Records keep the signals of their samples, and the one greedy answer beside them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import Cancel, Query, RecordError, Signals
from bestroute.generators.replay import ReplayGenerator
from bestroute.records.records import GreedySample, ModelSamples, Record, parse_record, read_records, write_records

SIGNALS = {
    "sum_logprob": [-0.5, None],
    "mean_logprob": [-0.25, -1.0],
    "min_logprob": [-0.4, -2.0],
    "logprob_share": [1.0, 0.5],
}
GREEDY = {"text": "84", "quality": 1, "output_tokens": 2, "signals": {"sum_logprob": -0.1, "logprob_share": 1}}
LINE = {
    "id": "q1",
    "query": "12*7?",
    "samples": {
        "small": {"text": ["84", "82"], "quality": [1, None], "output_tokens": [2, 4], "signals": SIGNALS}
        | {"greedy": GREEDY}
    },
}


def with_field(value, *path):
    line = json.loads(json.dumps(LINE))
    node = line["samples"]["small"]
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return line


def test_signals_are_read_sample_by_sample_with_the_tokens_that_stand_beside_them():
    samples = parse_record(LINE, "here").samples["small"]
    assert samples.signals == (
        Signals(-0.5, -0.25, -0.4, 1.0, tokens=2),
        Signals(None, -1.0, -2.0, 0.5, tokens=4),
    )
    greedy = Signals(sum_logprob=-0.1, logprob_share=1.0, tokens=2, mode="greedy")
    assert samples.greedy == GreedySample("84", 1, output_tokens=2, signals=greedy)


def test_the_greedy_answer_is_not_one_of_the_samples():
    samples = parse_record(LINE, "here").samples["small"]
    assert samples.size == 2
    assert samples.judged().size == 1
    assert samples.judged().greedy == samples.greedy


def test_judged_samples_keep_their_own_signals():
    samples = parse_record(with_field([None, 1], "quality"), "here").samples["small"]
    assert samples.judged().signals == (Signals(None, -1.0, -2.0, 0.5, tokens=4),)


def test_a_field_without_a_column_is_unknown_of_all_samples():
    samples = parse_record(with_field({"mean_logprob": [-1.0, -2.0]}, "signals"), "here").samples["small"]
    assert [s.mean_logprob for s in samples.signals] == [-1.0, -2.0]
    assert {(s.sum_logprob, s.min_logprob, s.logprob_share) for s in samples.signals} == {(None, None, None)}


@pytest.mark.parametrize(
    ("value", "path", "sentence"),
    [
        ([], ("signals",), r"here: 'samples.small.signals' must be an object of lists, by sum_logprob, .*got \[\]"),
        ([-1.0], ("signals", "sum_logprob"), "'samples.small.signals.sum_logprob' has 1 entries but 'quality' has 2"),
        (-1.0, ("signals", "sum_logprob"), "'samples.small.signals.sum_logprob' must be a list of numbers or null"),
        ([-1.0, 0.5], ("signals", "min_logprob"), "'samples.small.signals.min_logprob' must be <= 0, .*got 0.5"),
        ([0.5, 1.5], ("signals", "logprob_share"), r"'samples.small.signals.logprob_share' must be in \[0, 1\]"),
        (["x", None], ("signals", "mean_logprob"), "'samples.small.signals.mean_logprob' must hold finite numbers"),
        ([True, None], ("signals", "mean_logprob"), "'samples.small.signals.mean_logprob' must hold finite numbers"),
        ("84", ("greedy",), "'samples.small.greedy' must be an object, the one answer at temperature 0"),
        (84, ("greedy", "text"), "'samples.small.greedy.text' must be a text, got 84"),
        (1.5, ("greedy", "quality"), r"'samples.small.greedy.quality' must be in \[0, 1\]"),
        (-1, ("greedy", "output_tokens"), "'samples.small.greedy.output_tokens' must be a number >= 0"),
        ([-1.0], ("greedy", "signals", "sum_logprob"), "'samples.small.greedy.signals.sum_logprob' must hold finite"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(value, path, sentence):
    with pytest.raises(RecordError, match=sentence):
        parse_record(with_field(value, *path), "here")


LOGPROB = st.none() | st.floats(-1e6, 0.0)
SHARE = st.none() | st.floats(0.0, 1.0)


@st.composite
def model_samples(draw):
    size = draw(st.integers(1, 4))

    def column(of):
        return tuple(draw(st.lists(of, min_size=size, max_size=size)))

    tokens = draw(st.booleans()) and column(st.integers(0, 9))

    def signals(of_tokens, **fields):
        return Signals(draw(LOGPROB), draw(LOGPROB), draw(LOGPROB), draw(SHARE), tokens=of_tokens, **fields)

    greedy_tokens = draw(st.none() | st.integers(0, 9))
    greedy = GreedySample(
        draw(st.none() | st.text(max_size=5)),
        draw(SHARE),
        draw(LOGPROB),
        draw(st.none() | st.integers(0, 9)),
        greedy_tokens,
        draw(SHARE),
        (draw(st.booleans()) and signals(greedy_tokens, mode="greedy")) or None,
    )
    return ModelSamples(
        column(SHARE),
        column(st.text(max_size=5)),
        output_tokens=tokens or None,
        signals=(draw(st.booleans()) and tuple(signals(t) for t in tokens or [None] * size)) or None,
        greedy=draw(st.sampled_from([None, greedy])),
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(model_samples(), min_size=1, max_size=3))
def test_records_with_signals_survive_their_file(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    records = [Record(f"q{i}", "what?", {"small": samples}, f"q{i}") for i, samples in enumerate(drawn)]
    write_records(path, records)
    assert read_records(path) == records


def test_records_without_signals_are_written_as_before(tmp_path):
    line = {"id": "q", "query": "x", "group": "q", "task": "", "samples": {"small": {"quality": [1.0]}}}
    write_records(tmp_path / "r.jsonl", [parse_record(line, "here")])
    assert json.loads((tmp_path / "r.jsonl").read_text()) == line


def test_a_replayed_sample_has_its_recorded_signals():
    record = parse_record(LINE, "here")
    samples = ReplayGenerator([record], "small").generate(Query("12*7?"), 2, params={}, cancel=Cancel())
    assert {s.text: s.signals for s in samples} == dict(zip(("84", "82"), record.samples["small"].signals, strict=True))
