"""True quality of the best of n, worked out by hand."""

import numpy as np
import pytest

from bestroute.labels import vote_weights
from bestroute.records.records import ModelSamples, Record
from bestroute.reward_models.best_of_n import pair_accuracy, quality_by_n, vote_quality
from bestroute.reward_models.samples import SampleTable


def table(*queries):
    """One model; each query is a list of (text, quality)."""
    records = [
        Record(
            f"q{i}", "?", {"small": ModelSamples(tuple(q for _, q in told), tuple(text for text, _ in told))}, f"g{i}"
        )
        for i, told in enumerate(queries)
    ]
    return SampleTable.of(records)


MIXED = [("a", 1.0), ("b", 0.0), ("b", 0.0), ("c", 0.5)]


def test_best_of_n_by_hand():
    told = quality_by_n(table(MIXED), np.array([3.0, 2.0, 1.0, 0.0]), across=False, resamples=100)
    # n = 2: the first wins 3 of 6 subsets, the second 2, the third 1: (3 x 1 + 2 x 0 + 1 x 0) / 6
    assert [p["quality"] for p in told["reward"]] == pytest.approx([0.375, 0.5, 0.75, 1.0])
    assert [p["quality"] for p in told["random"]] == pytest.approx([0.375] * 4)
    assert [p["quality"] for p in told["oracle"]] == pytest.approx([0.375, (3 + 2 * 0.5) / 6, 0.875, 1.0])
    assert [p["quality"] for p in told["gain"]] == pytest.approx([0.0, 0.125, 0.375, 0.625])
    assert told["cap_n"] == 4


def test_a_reward_that_is_fooled_is_capped_where_quality_falls():
    told = quality_by_n(
        table(*[[("good", 1.0), ("fair", 0.6), ("bait", 0.0)]] * 6),
        np.tile([2.0, 1.0, 3.0], 6),
        across=False,
        resamples=200,
    )
    assert [p["quality"] for p in told["reward"]] == pytest.approx([1.6 / 3, 1 / 3, 0.0])
    assert told["cap_n"] == 1
    assert told["falls"]["quality"] == pytest.approx(-1.6 / 3)
    assert told["falls"]["ci95"] == pytest.approx([-1.6 / 3] * 2)


def test_the_vote_agrees_with_the_labels_and_stands_beside_only_where_answers_repeat():
    told = quality_by_n(table(MIXED), np.zeros(4), across=False, resamples=100)
    weights = [vote_weights(["a", "b", "b", "c"], n) @ [1, 0, 0, 0.5] for n in range(1, 5)]
    assert [p["quality"] for p in told["majority"]] == pytest.approx(weights)
    free = quality_by_n(table([("one", 1.0), ("two", 0.0), ("three", 0.0)]), np.zeros(3), across=False, resamples=100)
    assert free["majority"] is None
    same = quality_by_n(
        table([("x=1", 1.0), ("y=1", 0.0), ("z=1", 0.0)]),
        np.zeros(3),
        across=False,
        normalise=lambda text: text.partition("=")[2],
        resamples=100,
    )
    assert same["majority"] is not None


def test_many_subsets_are_drawn_by_the_seed():
    answers, quality = np.tile([1, 1, 2, 0], 6), np.tile([1.0, 1.0, 0.0, 0.0], 6)
    first, again = (vote_quality(answers, quality, 9, np.random.default_rng(3)) for _ in range(2))
    assert first == again
    assert first == pytest.approx(0.85, abs=0.06)  # twelve votes of the right answer against six, nine drawn


def test_queries_that_were_not_held_out_do_not_count():
    rewards = np.array([3.0, 2.0, 1.0, 0.0, np.nan, np.nan, np.nan, np.nan])
    two = table(MIXED, [("a", 0.0), ("b", 1.0), ("c", 1.0), ("d", 1.0)])
    told = quality_by_n(two, rewards, across=False, resamples=100)
    assert told["queries"] == 1
    assert told["reward"][-1]["quality"] == 1.0


def test_pair_accuracy_counts_ties_half_and_leaves_out_what_was_seen():
    samples = table(MIXED, MIXED)
    rewards = np.array([1.0, 0.0, 1.0, 2.0, np.nan, 0.0, 0.0, 0.0])
    pairs = np.array([[0, 1], [0, 2], [0, 3], [4, 5]])
    told = pair_accuracy(samples, rewards, pairs, resamples=200)
    assert told["value"] == pytest.approx(0.5)
    assert told["pairs"] == 3
    assert pair_accuracy(samples, np.full(8, np.nan), pairs)["value"] is None
