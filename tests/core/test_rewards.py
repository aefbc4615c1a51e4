from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestroute import ConfigError, MajorityVote, Query, Verifier
from bestroute.reward_models.conversion import as_reward_model
from bestroute.reward_models.untrained import calibrated, is_calibrated
from bestroute.stats.vote_posterior import beta_exceeds_half

Q = Query("?")


def test_the_answer_most_samples_agree_on_scores_highest():
    rewards = MajorityVote().score(Q, ["4", "5", "4", "6"])
    assert rewards[0] == rewards[2] > rewards[1] == rewards[3]


def test_the_posterior_of_a_vote_is_worked_out_by_hand():
    # two votes against one: Beta(3, 2) exceeds 1/2 with probability (C(4,0) + C(4,1) + C(4,2)) / 16 = 11/16
    assert MajorityVote().score(Q, ["4", "4", "5"]) == pytest.approx([11 / 16, 11 / 16, 5 / 16])
    assert MajorityVote().score(Q, ["4"]) == [0.75]
    assert MajorityVote().score(Q, ["4", "5"]) == [0.5, 0.5]


@given(st.integers(0, 12), st.integers(0, 12))
def test_the_posterior_is_the_beta_integral(a, b):
    xs = (np.arange(20_000) + 0.5) / 20_000
    density = xs**a * (1 - xs) ** b * (a + b + 1) * comb(a + b, a)
    assert beta_exceeds_half(a, b) == pytest.approx(density[xs > 0.5].mean() / 2, abs=1e-4)


def test_votes_are_counted_after_normalising_and_empty_answers_have_none():
    vote = MajorityVote(lambda text: text.strip(".").lower())
    assert vote.score(Q, ["Paris", "paris.", "."]) == pytest.approx([0.875, 0.875, 0.0])


def test_a_verifier_says_right_or_wrong():
    verifier = Verifier(lambda query, text: text == "4")
    assert verifier.score(Q, ["4", "5"]) == [1.0, 0.0]
    with pytest.raises(ConfigError, match=r"must return a number in \[0, 1\], got 2"):
        Verifier(lambda query, text: 2.0).score(Q, ["4"])


def test_only_a_declared_range_or_a_calibration_makes_a_reward_comparable():
    class Calibrated:
        def score(self, query, texts):
            return [3.0 for _ in texts]

        def calibrated(self, rewards):
            return [reward / 10 for reward in rewards]

    assert is_calibrated(Verifier(bool))
    assert is_calibrated(Calibrated())
    assert calibrated(Calibrated(), [3.0]) == pytest.approx([0.3])
    plain = as_reward_model(lambda query, texts: [1.0] * len(texts))
    assert not is_calibrated(plain)
    with pytest.raises(ConfigError, match="needs a calibrated reward, and FunctionReward is not"):
        calibrated(plain, [1.0])


def test_a_reward_model_must_score():
    with pytest.raises(ConfigError, match="reward_model must have a method score"):
        as_reward_model(3)
