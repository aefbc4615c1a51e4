"""Where a router is from: the records it was trained on, who judged them, and which reward model chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestroute.artifacts import REWARD_MODEL, sha256

REWARD_FOLDER = "reward"
"""Inside of a router's folder, where its reward model lies."""


@dataclass(frozen=True)
class TrainedOn:
    """Kept in the router's folder, so that it can be told whether something else is at hand."""

    records: Mapping[str, str] = field(default_factory=dict)
    """Hash of each file of records, by its name."""
    labels: tuple[Mapping[str, Any], ...] = ()
    """How records were judged (``judged_by``), each way once; none where no judge did."""
    reward: str | None = None
    """The reward model's fingerprint; ``None`` where it is none that is trained."""
    savings: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """What held-out folds foretold of the saving at each frozen price, by drop, with the ends of its interval."""

    @classmethod
    def of(cls, paths: Iterable[Path], labels: Iterable[Any], reward: str | None) -> TrainedOn:
        """Read the files' hashes; labels that are no objects, or come again, are left out."""
        ways: list[Mapping[str, Any]] = []
        for way in labels:
            if isinstance(way, Mapping) and way not in ways:
                ways.append(way)
        return cls({path.name: sha256(path.read_bytes()) for path in paths}, tuple(ways), reward)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> TrainedOn:
        """Read what ``to_json`` returned."""
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
    """Return where the reward model of a router is: in its folder, or where it was when the router was trained.

    Args:
        folder: The router's.
        reward: Of its settings, the folder of a reward model.
    """
    own = folder / REWARD_FOLDER
    return str(own) if (own / REWARD_MODEL.config).exists() else reward
