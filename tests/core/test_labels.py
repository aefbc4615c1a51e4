from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestroute.labels import match_probability, vote_weights, winner_weights


@given(st.lists(st.sampled_from([0.0, 0.5, 0.5, 1.0, -2.0]), min_size=1, max_size=7), st.data())
def test_winner_weights_agree_with_enumeration(rewards, data):
    n = data.draw(st.integers(1, len(rewards)))
    counts, subsets = np.zeros(len(rewards)), list(combinations(range(len(rewards)), n))
    for subset in subsets:
        best = max(rewards[i] for i in subset)
        winners = [i for i in subset if rewards[i] == best]
        counts[winners] += 1 / len(winners)
    weights = winner_weights(np.array(rewards), n)
    # ties share what their places have together: equal rewards have equal weights, and the sums per reward agree
    for value in set(rewards):
        at = [i for i, r in enumerate(rewards) if r == value]
        assert np.ptp(weights[at]) == pytest.approx(0, abs=1e-12)
        assert weights[at].sum() == pytest.approx(counts[at].sum() / len(subsets))


def test_a_vote_of_two_equals_one():
    answers = ["a", "b", "a", "c"]
    assert vote_weights(answers, 2) == pytest.approx(vote_weights(answers, 1))


def test_a_vote_of_all_is_the_plurality_and_ties_share():
    assert vote_weights(["a", "b", "a"], 3).tolist() == [0.5, 0.0, 0.5]
    assert vote_weights(["a", "b"], 2).tolist() == [0.5, 0.5]


def test_empty_answers_have_no_vote():
    assert vote_weights(["", "", "a"], 3).tolist() == [0.0, 0.0, 1.0]
    assert vote_weights(["", ""], 2).tolist() == [0.5, 0.5]


def test_n_beyond_the_samples_is_refused():
    for weights in (lambda: winner_weights(np.zeros(2), 3), lambda: vote_weights(["a"], 2)):
        with pytest.raises(ValueError, match="n must be in 1.."):
            weights()
    with pytest.raises(ValueError, match="NaN"):
        winner_weights(np.array([np.nan]), 1)


def test_a_tie_counts_as_a_match():
    one = np.array([1.0])
    assert match_probability(one, np.array([0.5]), np.array([0.5])) == 1.0


@pytest.mark.parametrize(("margin", "expected"), [(0.0, 0.25), (0.2, 0.75), (1.0, 1.0)])
def test_a_wider_margin_never_lowers_the_match_probability(margin, expected):
    even = np.array([0.5, 0.5])
    got = match_probability(even, np.array([0.4, 0.8]), np.array([0.5, 0.9]), margin=margin)
    assert got == pytest.approx(expected)
