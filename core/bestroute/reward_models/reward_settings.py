"""Settings for training a reward model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from string import Formatter
from typing import Literal

from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from bestroute.reward_models.calibration import CalibrationMethod
from bestroute.reward_models.pairs import PairScheme


@dataclass(frozen=True)
class Layout:
    """How query and answer are joined to one text for a transformer."""

    template: str = "Human: {query} Assistant: {text}"
    """Template with ``{query}`` and ``{text}``; the default is the paper's."""
    max_tokens: int = 128
    """Tokens after which a text is truncated; the paper: 512."""
    keep: Literal["ends", "start"] = "ends"
    """Which part of a truncated text is kept: both ends of query and answer, or the start of the whole (the paper)."""

    def __post_init__(self) -> None:
        """Check the values."""
        if _fields(self.template) != {"query", "text"}:
            raise ConfigError(
                "template must hold {query} and {text} and no other braces ({{ stands for one), "
                f"got {brief(self.template)}"
            )
        if self.keep not in ("ends", "start"):
            raise ConfigError(f"keep must be 'ends' or 'start', got {brief(self.keep)}")
        if self.max_tokens < 16:
            raise ConfigError(f"max_tokens must be at least 16, got {self.max_tokens}")

    def to_json(self) -> dict[str, object]:
        """Return the layout as stored in the folder."""
        return {"template": self.template, "max_tokens": self.max_tokens, "keep": self.keep}


def _fields(template: str) -> set[str]:
    """Return the field names of a template; an empty set if its braces are malformed."""
    try:
        return {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError:
        return set()


@dataclass(frozen=True)
class TransformerSettings:
    """Fine-tuning settings: the defaults train MiniLM on one processor core in minutes; the paper's are noted."""

    learning_rate: float = 5e-5
    """The paper: 1.5e-5."""
    epochs: int = 1
    """The paper: 5."""
    batch: int = 16
    """Pairs per batch and device; the paper: 32."""
    accumulation: int = 1
    """Gradient accumulation steps; the paper: 16."""
    weight_decay: float = 0.01
    warmup: float = 0.1
    """Share of steps for warm-up of the learning rate, which then falls linearly to 0."""
    most_pairs: int | None = 1000
    """Most pairs to learn from, drawn by the seed; evaluations use a quarter as many. ``None``: all (the paper)."""
    checks: int = 4
    """Evaluations per epoch on held-out pairs; the best checkpoint is kept."""
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("learning_rate", "epochs", "batch", "accumulation", "checks"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        if self.most_pairs is not None and self.most_pairs < 1:
            raise ConfigError(f"most_pairs must be >= 1, got {self.most_pairs}")
        if not 0 <= self.warmup < 1 or not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"warmup must be in [0, 1) and weight_decay >= 0, got {self.warmup}, {self.weight_decay}")


@dataclass(frozen=True)
class RewardSettings:
    """Settings for training a reward model."""

    encoder: str = "light"
    """``light`` (without torch), or a transformer: a folder or a hub id."""
    pairs: PairScheme = "auto"
    """Which samples are compared."""
    pairs_per_query: int = 20
    """The most pairs per query, for ``all`` and ``across``."""
    calibration: CalibrationMethod = "auto"
    """Isotonic or Platt."""
    reference: str | None = None
    """The model whose quality is to be matched; ``None``: an ideal model that is always right."""
    folds: int | None = None
    """Folds by group with held-out rewards. ``light``: 5; a transformer: 1, that is one tenth of the groups held out
    for the choice of the checkpoint and one tenth for calibration and report.
    """
    most_n: int = 10
    """The largest n of the report."""
    seed: int = 0
    transformer: TransformerSettings = field(default_factory=TransformerSettings)

    def __post_init__(self) -> None:
        """Check the values."""
        if self.folds is not None and self.encoder == "light" and self.folds < 2:
            raise ConfigError(f"folds must be at least 2, got {self.folds}")
        if self.folds is not None and self.encoder != "light" and (self.folds < 1 or self.folds == 2):
            raise ConfigError(
                "folds of a transformer must be 1, or at least 3 (one is held out, one chooses the checkpoint, the "
                f"rest are learnt from), got {self.folds}"
            )
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be in 0..{2**32 - 1}, got {self.seed}")
        for name in ("pairs_per_query", "most_n"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
