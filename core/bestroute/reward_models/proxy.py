"""The proxy reward model: a scorer trained on records, with its calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bestroute._utils.public import name_home
from bestroute._utils.text import utf8
from bestroute.artifacts import (
    REWARD_MODEL,
    damaged,
    files_in,
    from_tensors,
    packed,
    read_config,
    read_files,
    to_tensors,
    write_folder,
)
from bestroute.errors import ArtifactError
from bestroute.records.seen import SeenRecords
from bestroute.reward_models.calibration import Calibration
from bestroute.reward_models.light import LightScorer
from bestroute.reward_models.reward_settings import Layout
from bestroute.types.arrays import FloatArray
from bestroute.types.bases import RewardModelBase
from bestroute.types.query import Query

_WEIGHTS = "reward.safetensors"


class Scorer(Protocol):
    """Scores answers to a query; higher is better, the scale is arbitrary."""

    @property
    def kind(self) -> str:
        """Kind of the scorer, which determines how it is saved."""
        ...

    def config(self) -> dict[str, Any]:
        """Return the scorer's part of the folder's configuration."""
        ...

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return its arrays by name, for saving."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return the other files that it needs, by name."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return a score for each text."""
        ...


@dataclass(frozen=True, eq=False)
class HeldOutRewards:
    """Rewards of training samples by models not trained on their fold; a router may be trained on these.

    Args:
        keys: Hashes of (id, model, text), ascending, shape ``(N,)``.
        rewards: Shape ``(N,)``.
    """

    keys: NDArray[np.uint64]
    rewards: FloatArray

    def find(self, names: Sequence[tuple[str, str, str]]) -> FloatArray:
        """Return the rewards of samples by (id, model, text); NaN for unknown samples."""
        if not len(self.keys) or not names:
            return np.full(len(names), np.nan)
        wanted = np.array([sample_key(*name) for name in names], dtype=np.uint64)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.rewards[place], np.nan)

    @classmethod
    def of(cls, names: Sequence[tuple[str, str, str]], rewards: FloatArray) -> HeldOutRewards:
        """Store the rewards that are not NaN."""
        known = ~np.isnan(rewards)
        keys = np.array([sample_key(*name) for name in names], dtype=np.uint64)[known]
        keys, first = np.unique(keys, return_index=True)
        return cls(keys, rewards[known][first].astype(np.float32).astype(np.float64))


@dataclass(frozen=True, eq=False)
class ProxyRewardModel(RewardModelBase):
    """Scores samples without a reference or ground truth; see ``bestroute train-reward``.

    Args:
        scorer: Scores texts.
        calibration: Maps scores to the probability that a sample is as good as the reference's.
        seen_records: The records that it was trained on.
        held_out: Rewards of training samples by models not trained on them.
        report: Figures on held-out records, plain JSON.
    """

    scorer: Scorer
    calibration: Calibration
    seen_records: SeenRecords = field(default_factory=SeenRecords)
    held_out: HeldOutRewards = field(default_factory=lambda: HeldOutRewards(np.zeros(0, dtype=np.uint64), np.zeros(0)))
    report: Mapping[str, Any] = field(default_factory=dict)

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return a reward for each text; higher is better."""
        return [float(score) for score in self.scorer.score(query.text, texts)]

    async def ascore(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Score without blocking the event loop; see ``score``."""
        import asyncio

        return await asyncio.to_thread(self.score, query, texts)

    def calibrated(self, rewards: Sequence[float]) -> list[float]:
        """Return the probabilities that samples with these rewards are as good as the reference's; order is kept."""
        return [float(p) for p in self.calibration(np.asarray(rewards, dtype=np.float64))]

    @property
    def cap_n(self) -> int:
        """The n beyond which true quality did not rise on held-out records."""
        return int(self.report.get("best_of_n", {}).get("cap_n", 1))

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        """A hash that two reward models share only if they score the same."""
        digest = hashlib.sha256()
        for name, data in sorted(self.files().items()):
            digest.update(f"{name} {len(data)} ".encode() + data)
        return digest.hexdigest()[:16]

    def files(self) -> dict[str, bytes]:
        """Return the files of its folder by name, the configuration last."""
        tensors: dict[str, np.ndarray[Any, Any]] = {
            "calibration_knots": self.calibration.knots,
            "calibration_values": self.calibration.values,
            "held_out_keys": self.held_out.keys,
            "held_out_rewards": self.held_out.rewards.astype(np.float32),
        }
        config = {
            "kind": self.scorer.kind,
            **self.scorer.config(),
            "calibration": {"center": self.calibration.center, "scale": self.calibration.scale},
            "report": self.report,
            "seen": self.seen_records.to_json(),
        }
        weights = to_tensors({**tensors, **self.scorer.tensors()})
        return packed(REWARD_MODEL, config, {**self.scorer.files(), _WEIGHTS: weights})

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the reward model into a folder, atomically; obsolete files of an earlier one are removed."""
        folder, files = Path(folder), self.files()
        write_folder(folder, files, gone=[name for name in files_in(folder, REWARD_MODEL) if name not in files])

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> ProxyRewardModel:
        """Read a reward model's folder.

        Raises:
            ArtifactError: If it is missing, damaged, or of another version; names the file.
            ImportError: If it is a transformer and torch or transformers are missing; says what to install.
        """
        folder = Path(folder)
        with damaged(folder, REWARD_MODEL):
            config, _ = read_config(folder, REWARD_MODEL)
            tensors = from_tensors(read_files(folder, REWARD_MODEL, config)[_WEIGHTS])
            return cls(
                scorer=_scorer(config, tensors, folder),
                calibration=Calibration(
                    float(config["calibration"]["center"]),
                    float(config["calibration"]["scale"]),
                    tensors["calibration_knots"],
                    tensors["calibration_values"],
                ),
                seen_records=SeenRecords(frozenset(map(str, config["seen"]))),
                held_out=HeldOutRewards(tensors["held_out_keys"], tensors["held_out_rewards"].astype(np.float64)),
                report=dict(config["report"]),
            )


def sample_key(name: str, model: str, text: str) -> int:
    """Return the 64-bit hash that identifies a training sample."""
    data = b"\0".join(utf8(part) for part in (name, model, text))
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _scorer(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray[Any, Any]], folder: Path) -> Scorer:
    """Read the scorer that a folder's configuration names."""
    if config["kind"] == "light":
        return LightScorer.from_tensors(config["features"], tensors)
    if config["kind"] == "transformer":
        from bestroute.reward_models.transformer import TransformerScorer

        return TransformerScorer.open(folder, Layout(**config["layout"]))
    raise ArtifactError(
        f"reward model: its kind is {config['kind']!r}; this version knows 'light' and 'transformer'; train it again"
    )


name_home("bestroute", globals(), ["ProxyRewardModel"])
