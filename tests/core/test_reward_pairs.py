"""Which samples a reward model compares, and what counts as a match."""

import numpy as np
import pytest

from bestroute import ConfigError, RecordError
from bestroute.records.records import ModelSamples, Record
from bestroute.reward_models.pairs import make_pairs, urns
from bestroute.reward_models.samples import SampleTable


def record(name="q", **models):
    samples = {
        model: ModelSamples(tuple(quality), tuple(f"{model} {i}" for i in range(len(quality))))
        for model, quality in models.items()
    }
    return Record(name, f"what is {name}?", samples, f"group of {name}")


def qualities(table, pairs):
    return sorted((table.quality[a], table.quality[b]) for a, b in pairs)


def test_worst_median_and_best_make_two_pairs():
    table = SampleTable.of([record(small=[0.1, 0.9, 0.5, 0.4, 0.7])])
    pairs, scheme = make_pairs(table, "ends")
    assert scheme == "ends"
    assert qualities(table, pairs) == [(0.5, 0.1), (0.9, 0.5)]


@pytest.mark.parametrize("quality", [[1, 0, 0, 0], [1, 1, 1, 0], [0, 1]])
def test_a_tie_of_the_median_with_an_end_leaves_one_pair(quality):
    table = SampleTable.of([record(small=quality)])
    assert qualities(table, make_pairs(table, "ends")[0]) == [(1.0, 0.0)]


def test_equal_samples_are_not_paired_and_models_are_kept_apart():
    table = SampleTable.of([record(small=[1, 1], large=[0, 0]), record("r", small=[1, 0])])
    pairs, _ = make_pairs(table, "ends")
    assert [(table.texts[a], table.texts[b]) for a, b in pairs] == [("small 0", "small 1")]
    assert table.query_of[pairs].tolist() == [[1, 1]]


def test_all_takes_every_unequal_two_of_one_model():
    table = SampleTable.of([record(small=[0.1, 0.5, 0.9], large=[0.2, 0.2])])
    assert qualities(table, make_pairs(table, "all")[0]) == [(0.5, 0.1), (0.9, 0.1), (0.9, 0.5)]


def test_across_pairs_models_and_never_queries():
    table = SampleTable.of([record(small=[0], large=[1]), record("r", small=[1], large=[1])])
    pairs, _ = make_pairs(table, "across")
    assert [(table.texts[a], table.texts[b]) for a, b in pairs] == [("large 0", "small 0")]


def test_no_more_pairs_of_a_query_are_kept_than_asked_for():
    table = SampleTable.of([record(small=[0] * 10 + [1] * 10)])
    assert len(make_pairs(table, "all", most_per_query=7)[0]) == 7
    again = make_pairs(table, "all", most_per_query=7)[0]
    assert make_pairs(table, "all", most_per_query=7)[0].tolist() == again.tolist()
    assert make_pairs(table, "all", most_per_query=7, seed=1)[0].tolist() != again.tolist()


def test_auto_pairs_across_models_where_each_has_one_sample():
    assert make_pairs(SampleTable.of([record(small=[0], large=[1])]))[1] == "across"
    assert make_pairs(SampleTable.of([record(small=[0, 1], large=[1])]))[1] == "ends"


def test_where_nothing_can_be_ranked_it_says_so():
    table = SampleTable.of([record(small=[0], large=[1])])
    with pytest.raises(RecordError, match="--pairs across"):
        make_pairs(table, "ends")
    with pytest.raises(RecordError, match="no query has two samples of unequal quality"):
        make_pairs(SampleTable.of([record(small=[1], large=[1])]))
    with pytest.raises(ConfigError, match="pairs must be one of 'auto', 'ends', 'all', 'across', got 'best'"):
        make_pairs(table, "best")


def test_every_sample_is_in_one_urn():
    table = SampleTable.of([record(small=[0, 1], large=[1]), record("r", large=[0, 1, 1])])
    for across, sizes in ((False, [1, 2, 3]), (True, [3, 3])):
        found = urns(table, across=across)
        assert sorted(map(len, found)) == sizes
        assert sorted(np.concatenate(found).tolist()) == list(range(6))


def test_a_sample_matches_as_often_as_it_reaches_a_sample_of_the_reference():
    table = SampleTable.of([record(small=[0.5, 0.1], large=[0.5, 0.2])], reference="large")
    # 0.5 reaches both, 0.1 none; the reference's own are compared with the other one
    assert table.match.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_a_lone_sample_of_the_reference_is_not_compared_with_itself():
    table = SampleTable.of([record(small=[0.5], large=[0.5])], reference="large")
    assert table.match[0] == 1.0
    assert np.isnan(table.match[1])


def test_without_a_reference_quality_is_the_probability():
    assert SampleTable.of([record(small=[0.3, 1.0])]).match.tolist() == [0.3, 1.0]
    with pytest.raises(ConfigError, match=r"quality is not in \[0, 1\].*--reference"):
        SampleTable.of([record(small=[3.0, 1.0])])


def test_samples_without_text_are_counted_and_left_out():
    told = record(small=[1, 0])
    silent = Record("s", "?", {"small": ModelSamples((1.0, 0.0, 1.0))}, "s")
    assert SampleTable.of([told, silent]).without_text == 3
    with pytest.raises(RecordError, match="no sample has a 'text'"):
        SampleTable.of([silent])


def test_a_misspelt_reference_is_named():
    with pytest.raises(ConfigError, match="'larg'.*Did you mean 'large'"):
        SampleTable.of([record(small=[1], large=[1])], reference="larg")
