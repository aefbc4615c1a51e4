"""Conversion of the values accepted as a reward model argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bestroute.errors import ConfigError
from bestroute.errors.plain_functions import check_plain
from bestroute.types.bases import RewardModelBase
from bestroute.types.protocols import RewardModel
from bestroute.types.query import Query


class FunctionReward(RewardModelBase):
    """A reward model made of a function ``fn(query, texts) -> list[float]``; its scale is unknown."""

    def __init__(self, fn: Callable[[Query, Sequence[str]], Sequence[float]]) -> None:
        """Store the function."""
        self.fn = fn

    def score(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Call the function."""
        return self.fn(query, texts)


def as_reward_model(value: Any, name: str = "reward_model") -> RewardModel | None:
    """Return a reward model: the value itself, one read from a folder, or a function wrapped as one.

    Args:
        value: The argument.
        name: Name of the argument, for error messages.

    Raises:
        ConfigError: If it is none of these, or async; an async ``ascore`` is allowed besides ``score``.
        ArtifactError: If the folder holds no reward model, or a damaged one.
    """
    if isinstance(value, str | Path):
        from bestroute.reward_models import ProxyRewardModel

        return ProxyRewardModel.from_pretrained(value)
    if value is None:
        return None
    if isinstance(value, RewardModel):
        for method in ("score", "score_samples", "calibrated"):
            check_plain(f"{name}: {type(value).__name__}.{method}", getattr(value, method, None))
        return value
    if callable(value):
        check_plain(name, value)
        return FunctionReward(value)
    raise ConfigError(
        f"{name} must have a method score(query, texts), be such a function, or the folder of a trained one, "
        f"got {type(value).__name__}"
    )
