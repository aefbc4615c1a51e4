"""Reward models by the names used in options, files and routers' folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bestroute.reward_models.agreement import Agreement
from bestroute.reward_models.confidence import Confidence
from bestroute.reward_models.logprob_confidence import LogprobConfidence
from bestroute.reward_models.majority_vote import MajorityVote
from bestroute.types.protocols import RewardModel

REWARDS: Mapping[str, Callable[[], RewardModel]] = {
    "majority": MajorityVote,
    "logprobs": LogprobConfidence,
    "agreement": Agreement,
    "confidence": lambda: Confidence.of(LogprobConfidence(), Agreement()),
}
"""The reward models that need no training."""


def reward_by_name(name: str) -> RewardModel | str:
    """Return the untrained reward model of that name; other names are folders of trained ones, returned as is."""
    return REWARDS[name]() if name in REWARDS else name
