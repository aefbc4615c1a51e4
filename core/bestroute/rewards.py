"""Reward models that need no training, and what makes a reward comparable with ``accept``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from bestroute.errors import ConfigError
from bestroute.protocols import RewardModel
from bestroute.query import Query
from bestroute.vote_posterior import beta_exceeds_half


class Verifier:
    """Runs a check that knows whether an answer is right: tests pass, the sum adds up, the JSON parses.

    Args:
        fn: ``fn(query, text)`` -> a truth value, or a number in [0, 1].
    """

    range = (0.0, 1.0)
    needs_training = False
    default_accept = 1.0

    def __init__(self, fn: Callable[[Query, str], float | bool]) -> None:
        """Keep the function."""
        self.fn = fn

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return what the check says of each text; NaN says nothing, and stands behind every number.

        Raises:
            ConfigError: If it says something outside [0, 1].
        """
        rewards = [float(self.fn(query, text)) for text in texts]
        for reward in rewards:
            if not (0 <= reward <= 1 or math.isnan(reward)):
                raise ConfigError(f"Verifier: the function must return a number in [0, 1], got {reward}")
        return rewards


class MajorityVote:
    """Rewards the answer that most samples agree on.

    The reward of a sample is the posterior probability that its answer is the more likely one of the two that
    lead: with ``a`` votes for it and ``b`` for its strongest rival, the chance that a Beta(a + 1, b + 1) variable
    exceeds one half. It rises with every vote, ties score 0.5, and one lone sample 0.75.

    Args:
        normalise: Brings equal answers to one form; samples that become ``""`` have no vote and score 0.

    Source:
        The stopping rule of Adaptive-Consistency (arXiv:2305.11860), its Beta approximation.

    Example:
        >>> MajorityVote().score(Query("2 + 2?"), ["4", "4", "5"])
        [0.6875, 0.6875, 0.3125]
    """

    range = (0.0, 1.0)
    needs_training = False
    default_accept = 0.85
    is_joint = True
    kind = "majority"

    def __init__(self, normalise: Callable[[str], str] = str.strip) -> None:
        """Keep the function."""
        self.normalise = normalise

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return the posterior of each text's answer among all of them."""
        answers = [self.normalise(text) for text in texts]
        votes = Counter(answer for answer in answers if answer)
        leading = [count for _, count in votes.most_common(2)] + [0, 0]

        def posterior(answer: str) -> float:
            own = votes[answer]
            is_only_leader = own == leading[0]
            return beta_exceeds_half(own, leading[1] if is_only_leader else leading[0])

        return [posterior(answer) if answer else 0.0 for answer in answers]


def is_calibrated(reward_model: RewardModel) -> bool:
    """Whether its rewards can be compared with ``accept``."""
    return callable(getattr(reward_model, "calibrated", None)) or (
        tuple(getattr(reward_model, "range", ())) == (0.0, 1.0)
    )


def calibrated(reward_model: RewardModel, rewards: Sequence[float]) -> list[float]:
    """Return the probabilities that rewards stand for.

    Raises:
        ConfigError: If the reward model is not calibrated.
    """
    if callable(calibrate := getattr(reward_model, "calibrated", None)):
        return [float(p) for p in calibrate(rewards)]
    if is_calibrated(reward_model):
        return list(rewards)
    raise ConfigError(not_calibrated(reward_model))


def not_calibrated(reward_model: RewardModel) -> str:
    """Say why a plan with ``accept`` cannot use this reward."""
    return (
        f"a plan with accept needs a calibrated reward, and {type(reward_model).__name__} is not: declare "
        "range = (0.0, 1.0) if it is a probability, or give it a method calibrated(rewards)"
    )
