"""Training settings of a router, in a module that imports nothing needed only for training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from bestroute.policies.policies import QualityPolicy, ReferencePolicy

BLOCKS = (0, 1, 2)
"""Indices of the light feature blocks."""
EMBEDDING_BLOCKS = (3, 4)
"""Indices of the blocks that an encoder adds."""

DEALS, FEW = 3, 2000


def deals_for(records: int) -> int:
    """Return how often folds are dealt for that many records: more often for few, as one deal depends on chance."""
    return DEALS if records <= FEW else 1


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run; stored in the router's folder, so that it can be repeated on folds."""

    reward: str = "recorded"
    """The kind of reward: a ``RewardKind``, or the folder of a trained reward model."""
    margin: float = 0.0
    """Shortfall that still counts as a match, in quality units."""
    offered: int = 24
    """The most plans offered besides the candidates."""
    blocks: tuple[int, ...] = BLOCKS
    """Light feature blocks used: 0 text and statistics, 1 kernel on statistics, 2 kernel on text."""
    forest: bool = True
    """Whether trees are grown besides the regressions; they use statistics and leading directions of the text."""
    seed: int = 0
    encoder: str | None = None
    """A transformer whose sentence embeddings are used besides the light features: a folder or a hub id."""
    max_tokens: int = 128
    """Tokens after which the encoder truncates a query."""
    fine_tune: bool = False
    """Whether the encoder is first fine-tuned on a part of the training groups."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ConfigError(f"margin must be >= 0, a shortfall in quality units, got {self.margin}")
        if self.offered < 0:
            raise ConfigError(f"plans must be >= 0, the most offered beside the candidates, got {self.offered}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be in 0..{2**32 - 1}, got {self.seed}")
        if self.max_tokens < 4:
            raise ConfigError(f"max_tokens must be at least 4, got {self.max_tokens}")
        if self.fine_tune and self.encoder is None:
            raise ConfigError("fine_tune needs an encoder: a folder with a transformers model, or a hub id")

    @property
    def used_blocks(self) -> tuple[int, ...]:
        """The feature blocks that heads are fitted on."""
        return self.blocks if self.encoder is None else (*self.blocks, *EMBEDDING_BLOCKS)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as stored in the router's folder; without an encoder, its settings are left out."""
        fields = asdict(self)
        light = [name for name in fields if name not in ("encoder", "max_tokens", "fine_tune")]
        return fields if self.encoder is not None else {name: fields[name] for name in light}


@dataclass(frozen=True)
class PoolChange:
    """A member that was added to a trained router, or removed from it; kept in the router's folder."""

    kind: str
    """``"added"`` or ``"removed"``."""
    model: str
    queries: int = 0
    """Number of labelled queries from which an added member's heads were learnt."""

    def __post_init__(self) -> None:
        """Check the values, which may come from a file."""
        if self.kind not in ("added", "removed"):
            raise ConfigError(f"a change of the pool is 'added' or 'removed', got {brief(self.kind)}")
        if not (isinstance(self.model, str) and isinstance(self.queries, int) and self.queries >= 0):
            raise ConfigError(f"a change of the pool names a model and a number of queries, got {self}")

    def __str__(self) -> str:
        """Render as ``small added on 50 queries``."""
        return f"{self.model} {self.kind}" + (f" on {self.queries} queries" if self.kind == "added" else "")


def policy_for(price: float | None) -> QualityPolicy | ReferencePolicy:
    """Return the policy of a frozen price; ``None`` stands for the reference."""
    return ReferencePolicy() if price is None else QualityPolicy(price)
