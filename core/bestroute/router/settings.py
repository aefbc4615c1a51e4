"""How a router was trained: light enough to be read back without what trains it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bestroute.errors import ConfigError
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

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ConfigError(f"margin must be >= 0, a shortfall in quality units, got {self.margin}")
        if self.offered < 0:
            raise ConfigError(f"plans must be >= 0, the most offered beside the candidates, got {self.offered}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be in 0..{2**32 - 1}, got {self.seed}")


@dataclass(frozen=True)
class PoolChange:
    """A member that was added to a trained router, or removed from it; kept in the router's folder."""

    kind: str
    """``"added"`` or ``"removed"``."""
    model: str
    queries: int = 0
    """How many labelled queries an added member's heads were learnt from."""

    def __post_init__(self) -> None:
        """Check what a file may say."""
        if self.kind not in ("added", "removed"):
            raise ConfigError(f"a change of the pool is 'added' or 'removed', got {self.kind!r}")
        if not (isinstance(self.model, str) and isinstance(self.queries, int) and self.queries >= 0):
            raise ConfigError(f"a change of the pool names a model and a number of queries, got {self}")

    def __str__(self) -> str:
        """Render as ``small added on 50 queries``."""
        return f"{self.model} {self.kind}" + (f" on {self.queries} queries" if self.kind == "added" else "")


def policy_for(price: float | None) -> QualityPolicy | ReferencePolicy:
    """Return the policy of a frozen price; ``None`` is the reference."""
    return ReferencePolicy() if price is None else QualityPolicy(price)
