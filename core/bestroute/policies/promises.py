"""Promises: what was shown, and on what; kept in the router's folder, beside the router it was shown for."""

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
"""Of ``bestroute tune``."""


@dataclass(frozen=True)
class Promise:
    """A price of quality, and what was shown about the choices made at it."""

    kind: Kind
    value: float
    """The allowed relative drop in quality, or the budget in USD per 1,000 queries."""
    confidence: float
    """At least this often, over repetitions of the whole tuning on other queries of the same kind, it is kept."""
    price_usd: float
    """What one unit of quality is worth for one query, USD: the parameter of ``QualityPolicy``."""
    reward: str
    """What chose among samples."""
    prices: Mapping[str, Mapping[str, Any]]
    """Prices and billing of every model: choices depend on them."""
    shown_on: Mapping[str, Any]
    """Queries and groups of each part, the seed, how many settings were tested and passed, a hash of the ids."""
    estimates: Mapping[str, float]
    """``saving`` and ``drop`` against the reference and ``usd_per_1k``, on the calibration part: no promise, and
    flattered by the choice."""
    cost_cap_usd: float | None = None
    """A budget's: a query that costs more counts as this much; cap calls at it to make that true."""
    cross_fit: int | None = None
    """Shown on this many routers trained alike on other folds, not on this very router."""
    seen_records: SeenRecords = field(default_factory=SeenRecords)
    """The records it was shown on: they cannot test it."""
    reward_fingerprint: str | None = None
    """Of a trained reward model that chose among samples; ``None``: it was no trained one."""

    def __str__(self) -> str:
        """Render as ``drop of at most 0.01 at confidence 0.95``."""
        what = f"drop of at most {self.value:.3g}" if self.kind == "max_drop" else f"{self.value:.3g} USD per 1,000"
        return f"{what} at confidence {self.confidence:g}"

    def price_changes(self, pool: Pool) -> list[str]:
        """Say which prices a pool has changed since."""
        now = prices_of(pool)
        return [
            f"{model} {name} {before.get(name)} -> {now[model][name]}"
            for model, before in self.prices.items()
            for name in now.get(model, {})
            if now[model][name] != before.get(name)
        ]

    def reward_change(self, reward_model: object) -> str | None:
        """Say that something else chooses among samples now, as far as that can be told; ``None``: it does not."""
        chooses = completed(reward_model, RewardModelBase)
        is_vote, trained = chooses.kind == "majority", chooses.fingerprint
        if reward_model is None or self.reward == "recorded":
            is_same = True  # nothing chooses, or what gave the recorded rewards is not known
        elif self.reward_fingerprint is not None:
            is_same = trained == self.reward_fingerprint
        else:
            of_its_own = self.reward in ("majority", "logprobs", "agreement", "confidence")
            is_same = chooses.kind == self.reward if of_its_own else not is_vote and trained is None
        return None if is_same else f"{type(reward_model).__name__} instead of {self.reward}"


def prices_of(pool: Pool) -> dict[str, dict[str, Any]]:
    """Return what every model of a pool costs and how it bills, as plain JSON."""
    return {model: {**asdict(pool.prices[model]), "bills_input": pool.bills(model)} for model in pool.models}


def find_promise(promises: Sequence[Promise], kind: Kind, value: float) -> Promise | None:
    """Return the promise of exactly that value."""
    return next((p for p in promises if p.kind == kind and abs(p.value - value) <= 1e-9 * max(value, 1e-3)), None)


def write_promises(folder: Path, promises: Sequence[Promise], *, router: str) -> None:
    """Write the promises of a router, all or nothing; none leaves no file.

    Args:
        folder: The router's.
        promises: All of them.
        router: Hash of the configuration of the router they were shown for, which names the hash of its weights.

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
    """Read the promises of a router; those of another router that was here before are not its own.

    Args:
        folder: The router's.
        router: Hash of the configuration of the router in it.

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
