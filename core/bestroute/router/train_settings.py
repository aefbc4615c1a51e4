"""How a router was trained: light enough to be read back without what trains it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from bestroute.policies.policies import QualityPolicy, ReferencePolicy

BLOCKS = (0, 1, 2)
"""Light feature blocks."""
EMBEDDING_BLOCKS = (3, 4)
"""Those that an encoder adds."""

DEALS, FEW = 3, 2000


def deals_for(records: int) -> int:
    """Return how often folds are dealt where there are so many records; one deal has luck of its own, less if many."""
    return DEALS if records <= FEW else 1


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
    """Light feature blocks used: 0 text and statistics, 1 kernel on statistics, 2 kernel on text."""
    forest: bool = True
    """Whether trees are grown beside the regressions; they read statistics and leading directions of the text."""
    seed: int = 0
    encoder: str | None = None
    """A transformer whose sentence embeddings are used beside the light features: a folder or a hub id."""
    max_tokens: int = 128
    """Tokens that the encoder reads of a query."""
    fine_tune: bool = False
    """Whether the encoder is fine-tuned on a part of the training groups first."""

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
        """Return what is kept in the router's folder; a light router's says nothing of encoders."""
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
    """How many labelled queries an added member's heads were learnt from."""

    def __post_init__(self) -> None:
        """Check what a file may say."""
        if self.kind not in ("added", "removed"):
            raise ConfigError(f"a change of the pool is 'added' or 'removed', got {brief(self.kind)}")
        if not (isinstance(self.model, str) and isinstance(self.queries, int) and self.queries >= 0):
            raise ConfigError(f"a change of the pool names a model and a number of queries, got {self}")

    def __str__(self) -> str:
        """Render as ``small added on 50 queries``."""
        return f"{self.model} {self.kind}" + (f" on {self.queries} queries" if self.kind == "added" else "")


def policy_for(price: float | None) -> QualityPolicy | ReferencePolicy:
    """Return the policy of a frozen price; ``None`` is the reference."""
    return ReferencePolicy() if price is None else QualityPolicy(price)
