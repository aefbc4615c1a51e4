"""Whether and how rewards can be compared with ``accept``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from bestroute.types.bases import RewardModelBase, completed, declares_probability, has_own
from bestroute.types.protocols import RewardModel


def reads_samples(reward_model: RewardModelBase) -> bool:
    """Return whether a reward model uses samples with signals and forms, not only texts; then NaN means "unknown"."""
    return has_own(reward_model, RewardModelBase.score_samples)


def is_calibrated(reward_model: RewardModel) -> bool:
    """Return whether the model's rewards can be compared with ``accept``."""
    whole = completed(reward_model, RewardModelBase)
    return has_own(whole, RewardModelBase.calibrated) or declares_probability(whole)


def calibrated(reward_model: RewardModel, rewards: Sequence[float]) -> list[float]:
    """Convert rewards to probabilities.

    Raises:
        ConfigError: If the reward model is not calibrated.
    """
    found = completed(reward_model, RewardModelBase).calibrated(rewards)
    return [float(p) for p in islice(found, len(rewards) + 1)]  # more are as wrong as too few
