"""The provenance of a router: its training records, who judged them, and the reward model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestroute.artifacts import REWARD_MODEL, sha256

REWARD_FOLDER = "reward"
"""Subfolder of a router's folder that holds its reward model."""


@dataclass(frozen=True)
class TrainedOn:
    """Stored in the router's folder, so that other records or reward models can be detected."""

    records: Mapping[str, str] = field(default_factory=dict)
    """Hash of each record file, by file name."""
    labels: tuple[Mapping[str, Any], ...] = ()
    """Distinct ways in which records were judged (``judged_by``); empty if no judge did."""
    reward: str | None = None
    """The reward model's fingerprint; ``None`` if it is not a trained one."""
    savings: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """Predicted saving at each frozen price by held-out folds, by drop, with its interval."""

    @classmethod
    def of(cls, paths: Iterable[Path], labels: Iterable[Any], reward: str | None) -> TrainedOn:
        """Hash the files; labels that are no mappings, or duplicates, are left out."""
        ways: list[Mapping[str, Any]] = []
        for way in labels:
            if isinstance(way, Mapping) and way not in ways:
                ways.append(way)
        return cls({path.name: sha256(path.read_bytes()) for path in paths}, tuple(ways), reward)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> TrainedOn:
        """Read the result of ``to_json``."""
        reward = config["reward"]
        return cls(
            {str(name): str(digest) for name, digest in config["records"].items()},
            tuple(dict(way) for way in config["labels"]),
            None if reward is None else str(reward),
            {str(drop): (float(a), float(b), float(c)) for drop, (a, b, c) in config.get("savings", {}).items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        known = {"records": dict(self.records), "labels": [dict(way) for way in self.labels], "reward": self.reward}
        return {**known, **({"savings": {drop: list(of) for drop, of in self.savings.items()}} if self.savings else {})}


def reward_of(folder: Path, reward: str) -> str:
    """Return the path of a router's reward model: in its folder, or where it was when the router was trained.

    Args:
        folder: The router's folder.
        reward: The folder of a reward model, from the router's settings.
    """
    own = folder / REWARD_FOLDER
    return str(own) if (own / REWARD_MODEL.config).exists() else reward
