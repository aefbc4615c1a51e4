"""Promises: guarantees that tuning established, with their evidence; stored in the router's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bestroute._utils.files import atomic_file
from bestroute.artifacts import PROMISES, ROUTER, damaged, read_config, sha256, to_json
from bestroute.errors import ArtifactError
from bestroute.records.seen import SeenRecords
from bestroute.types.bases import RewardModelBase, completed
from bestroute.types.pool import Pool

Kind = Literal["max_drop", "budget"]
FLAGS: Mapping[Kind, str] = {"max_drop": "--max-drop", "budget": "--budget"}
"""The flags of ``bestroute tune``."""


@dataclass(frozen=True)
class Promise:
    """A price of quality, and the guarantee for decisions made at it."""

    kind: Kind
    value: float
    """The allowed relative drop in quality, or the budget in USD per 1,000 queries."""
    confidence: float
    """Probability with which it holds, at least, over repetitions of the whole tuning on similar queries."""
    price_usd: float
    """The value of one unit of quality for one query, USD: the parameter of ``QualityPolicy``."""
    reward: str
    """The reward model that chose among samples."""
    prices: Mapping[str, Mapping[str, Any]]
    """Prices and billing of every model, on which decisions depend."""
    shown_on: Mapping[str, Any]
    """Queries and groups of each part, the seed, numbers of settings tested and passed, and a hash of the ids."""
    estimates: Mapping[str, float]
    """``saving`` and ``drop`` against the reference and ``usd_per_1k``, on the calibration part: no promise, and
    biased upwards by the choice."""
    cost_cap_usd: float | None = None
    """A budget's: a query that costs more counts as this much; cap calls at it to make that true."""
    cross_fit: int | None = None
    """Number of routers trained alike on other folds for which it was established, instead of this very router."""
    seen_records: SeenRecords = field(default_factory=SeenRecords)
    """The records used to establish it, which cannot be used to test it."""
    reward_fingerprint: str | None = None
    """Fingerprint of the trained reward model that chose among samples; ``None`` if it was not a trained one."""

    def __str__(self) -> str:
        """Render as ``drop of at most 0.01 at confidence 0.95``."""
        what = f"drop of at most {self.value:.3g}" if self.kind == "max_drop" else f"{self.value:.3g} USD per 1,000"
        return f"{what} at confidence {self.confidence:g}"

    def price_changes(self, pool: Pool) -> list[str]:
        """Return the prices that have changed since."""
        now = prices_of(pool)
        return [
            f"{model} {name} {before.get(name)} -> {now[model][name]}"
            for model, before in self.prices.items()
            for name in now.get(model, {})
            if now[model][name] != before.get(name)
        ]

    def reward_change(self, reward_model: object) -> str | None:
        """Return how the reward model in use differs, as far as known; ``None`` if it does not."""
        chooses = completed(reward_model, RewardModelBase)
        is_vote, trained = chooses.kind == "majority", chooses.fingerprint
        if reward_model is None or self.reward == "recorded":
            is_same = True  # there is no choice among samples, or the origin of recorded rewards is unknown
        elif self.reward_fingerprint is not None:
            is_same = trained == self.reward_fingerprint
        else:
            of_its_own = self.reward in ("majority", "logprobs", "agreement", "confidence")
            is_same = chooses.kind == self.reward if of_its_own else not is_vote and trained is None
        return None if is_same else f"{type(reward_model).__name__} instead of {self.reward}"


def prices_of(pool: Pool) -> dict[str, dict[str, Any]]:
    """Return prices and billing of every model of a pool, as plain JSON."""
    return {model: {**asdict(pool.prices[model]), "bills_input": pool.bills(model)} for model in pool.models}


def find_promise(promises: Sequence[Promise], kind: Kind, value: float) -> Promise | None:
    """Return the promise of exactly that value."""
    return next((p for p in promises if p.kind == kind and abs(p.value - value) <= 1e-9 * max(value, 1e-3)), None)


def write_promises(folder: Path, promises: Sequence[Promise], *, router: str) -> None:
    """Write the promises of a router atomically; without promises there is no file.

    Args:
        folder: The router's folder.
        promises: All promises of the router.
        router: Hash of the router's configuration, which includes the hash of its weights.

    Raises:
        ArtifactError: If the folder holds another router by now.
    """
    if sha256((folder / ROUTER.config).read_bytes()) != router:
        raise ArtifactError(f"{folder}: the router was replaced while it was tuned; tune the new one")
    if not promises:
        (folder / PROMISES.config).unlink(missing_ok=True)
        return
    config = {"format": PROMISES.format, "router_sha256": router, "promises": [_to_json(p) for p in promises]}
    with atomic_file(folder / PROMISES.config) as stream:
        stream.write(to_json(config))


def read_promises(folder: Path, *, router: str) -> tuple[Promise, ...]:
    """Read the promises of a router; those of another router that was in the folder before are ignored.

    Args:
        folder: The router's folder.
        router: Hash of the configuration of the router in the folder.

    Raises:
        ArtifactError: If the file is damaged or of another version.
    """
    if not (folder / PROMISES.config).exists():
        return ()
    with damaged(folder, PROMISES):
        config, _ = read_config(folder, PROMISES)
        found = tuple(_checked(promise) for promise in config["promises"])
        return found if config["router_sha256"] == router else ()


def _to_json(promise: Promise) -> dict[str, Any]:
    own = asdict(promise)
    del own["seen_records"]
    return {**own, "seen": promise.seen_records.to_json()}


def _checked(config: Mapping[str, Any]) -> Promise:
    own = {name: value for name, value in config.items() if name != "seen"}
    promise = Promise(**own, seen_records=SeenRecords(frozenset(map(str, config.get("seen", ())))))
    if promise.kind not in FLAGS:
        raise ValueError(f"unknown promise {promise.kind!r}")
    numbers = (promise.value, promise.confidence, promise.price_usd)
    if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
        raise ValueError(f"expected numbers >= 0, got {numbers}")
    tables = (promise.prices, promise.shown_on, promise.estimates, *dict(promise.prices).values())
    if not all(isinstance(table, dict) for table in tables):
        raise ValueError("expected tables of prices, of what it was shown on and of estimates")
    return promise
