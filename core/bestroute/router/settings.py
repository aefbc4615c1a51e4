"""How a router was trained: light enough to be read back without what trains it."""

from __future__ import annotations

from dataclasses import dataclass

from bestroute.policies import QualityPolicy, ReferencePolicy

BLOCKS = (0, 1, 2)


@dataclass(frozen=True)
class TrainSettings:
    """What a training run may be told; kept in the router's folder, so that folds can be trained alike."""

    reward: str = "recorded"
    """Where rewards come from: a ``RewardKind``, or the folder of a trained reward model."""
    margin: float = 0.0
    """Shortfall that still counts as a match, in quality units."""
    offered: int = 24
    """The most plans offered beside the candidates."""
    blocks: tuple[int, ...] = BLOCKS
    """Feature blocks used: 0 text and statistics, 1 kernel on statistics, 2 kernel on text."""
    forest: bool = True
    """Whether trees are grown beside the regressions; they read statistics and leading directions of the text."""
    seed: int = 0


def policy_for(price: float | None) -> QualityPolicy | ReferencePolicy:
    """Return the policy of a frozen price; ``None`` is the reference."""
    return ReferencePolicy() if price is None else QualityPolicy(price)
