"""The proxy reward model: a scorer learnt from records, and what its scores mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bestroute.errors import ArtifactError
from bestroute.protocols import FloatArray
from bestroute.query import Query
from bestroute.router.multi_head import seen_hash

if TYPE_CHECKING:
    from bestroute.reward_models.calibration import Calibration


class Scorer(Protocol):
    """Scores answers to one query; higher is better, the scale is its own."""

    @property
    def kind(self) -> str:
        """What it is: names the way it is saved."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return a score for each text."""
        ...


@dataclass(frozen=True, eq=False)
class HeldOutRewards:
    """What training samples were scored by models that had not seen their fold: so training on them is honest.

    Args:
        keys: Hashes of (id, model, text), rising, shape ``(N,)``.
        rewards: Shape ``(N,)``.
    """

    keys: NDArray[np.uint64]
    rewards: FloatArray

    def find(self, names: Sequence[tuple[str, str, str]]) -> FloatArray:
        """Return the rewards of samples by (id, model, text); NaN where there is none."""
        if not len(self.keys) or not names:
            return np.full(len(names), np.nan)
        wanted = np.array([sample_key(*name) for name in names], dtype=np.uint64)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.rewards[place], np.nan)

    @classmethod
    def of(cls, names: Sequence[tuple[str, str, str]], rewards: FloatArray) -> HeldOutRewards:
        """Keep the rewards that are known."""
        known = ~np.isnan(rewards)
        keys = np.array([sample_key(*name) for name in names], dtype=np.uint64)[known]
        keys, first = np.unique(keys, return_index=True)
        return cls(keys, rewards[known][first].astype(np.float32).astype(np.float64))


@dataclass(frozen=True, eq=False)
class ProxyRewardModel:
    """Scores samples as they come, with no reference and no ground truth; see ``bestroute train-reward``.

    Args:
        scorer: Gives each text a score.
        calibration: From scores to the probability that a sample is as good as the reference's.
        seen: Hashes of the ids and groups it was trained on.
        held_out: Rewards of training samples by models that had not seen them.
        report: What held-out records said of it, plain JSON.
    """

    scorer: Scorer
    calibration: Calibration
    seen: frozenset[str] = frozenset()
    held_out: HeldOutRewards = field(default_factory=lambda: HeldOutRewards(np.zeros(0, dtype=np.uint64), np.zeros(0)))
    report: Mapping[str, Any] = field(default_factory=dict)

    needs_training = True

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return a reward for each text; higher is better."""
        return [float(score) for score in self.scorer.score(query.text, texts)]

    async def ascore(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Score without blocking the loop."""
        import asyncio

        return await asyncio.to_thread(self.score, query, texts)

    def calibrated(self, rewards: Sequence[float]) -> list[float]:
        """Return the probabilities that samples of these rewards are as good as the reference's; order is kept."""
        return [float(p) for p in self.calibration(np.asarray(rewards, dtype=np.float64))]

    def has_seen(self, name: str) -> bool:
        """Whether an id or a group was in its training records."""
        return seen_hash(name) in self.seen

    @property
    def cap_n(self) -> int:
        """The n beyond which true quality rose no more on held-out records."""
        return int(self.report.get("best_of_n", {}).get("cap_n", 1))

    @cached_property
    def fingerprint(self) -> str:
        """A name that two reward models share only if they score alike."""
        from bestroute.reward_models.persistence import to_files

        digest = hashlib.sha256()
        for name, data in sorted(to_files(self).items()):
            digest.update(f"{name} {len(data)} ".encode() + data)
        return digest.hexdigest()[:16]

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the reward model into a folder; see ``bestroute.reward_models.persistence``."""
        from bestroute.reward_models.persistence import save

        save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> ProxyRewardModel:
        """Read a reward model's folder.

        Raises:
            ArtifactError: If it is missing, damaged, or of another version.
        """
        from bestroute.reward_models.persistence import load

        return load(Path(folder))


def sample_key(name: str, model: str, text: str) -> int:
    """Return what is kept of a training sample: a hash of 64 bits."""
    data = b"\0".join(part.encode("utf-8", "surrogatepass") for part in (name, model, text))
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def not_fitting(what: str) -> ArtifactError:
    """Return the error for a part that cannot be used."""
    return ArtifactError(f"reward model: {what}; train it again")
