"""Reward models that need no training, and what makes a reward comparable with ``accept``."""

from __future__ import annotations

from collections.abc import Sequence

from bestroute.errors import ConfigError
from bestroute.types.protocols import RewardModel


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
