"""Reward models by the names that options, files and routers' folders use."""

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
    """Return the untrained reward model of that name; any other name is the folder of a trained one and is returned."""
    return REWARDS[name]() if name in REWARDS else name
