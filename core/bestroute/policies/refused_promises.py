"""Refusals: promises that tuning could not establish; stored in the router's folder, beside its promises."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bestroute._utils.files import atomic_file
from bestroute.artifacts import REFUSALS, damaged, read_config, sha256, to_json
from bestroute.artifacts import ROUTER as ROUTER_KIND
from bestroute.errors import ArtifactError
from bestroute.policies.promises import FLAGS, Kind

logger = logging.getLogger(__name__)

_MOST = 100
"""Most refusals stored, the newest."""


@dataclass(frozen=True)
class Refusal:
    """A promise that tuning refused."""

    kind: Kind
    value: float
    """The requested drop, or budget in USD per 1,000 queries."""
    confidence: float
    on: str
    """The day, ``2026-01-31``, UTC."""
    queries: int
    """Number of queries that did not suffice."""
    needed: int | None
    """Number of queries that would suffice at best; ``None`` if no number would."""

    def __str__(self) -> str:
        """Render as ``asked for drop of at most 0.01 at confidence 0.95, refused on 2026-01-31 ...``."""
        would = "no number would do" if self.needed is None else f"it would take about {self.needed:,}"
        return f"asked for {self.promise}, refused on {self.on} from {self.queries:,} queries; {would}"

    @property
    def promise(self) -> str:
        """The requested promise, as text."""
        what = f"drop of at most {self.value:.3g}" if self.kind == "max_drop" else f"{self.value:.3g} USD per 1,000"
        return f"{what} at confidence {self.confidence:g}"

    @classmethod
    def today(cls, kind: Kind, value: float, confidence: float, queries: int, needed: int | None) -> Refusal:
        """Return a refusal dated today."""
        return cls(kind, value, confidence, datetime.now(UTC).date().isoformat(), queries, needed)


def note_refusal(folder: Path, refusal: Refusal) -> None:
    """Store a refusal about the router now in the folder, besides earlier ones; equal ones are stored once."""
    router = sha256((folder / ROUTER_KIND.config).read_bytes())
    before = read_refusals(folder, router=router)
    kept = before if refusal in before else (*before, refusal)[-_MOST:]
    config = {"format": REFUSALS.format, "router_sha256": router, "refusals": [asdict(each) for each in kept]}
    with atomic_file(folder / REFUSALS.config) as stream:
        stream.write(to_json(config))


def read_refusals(folder: Path, *, router: str | None = None) -> tuple[Refusal, ...]:
    """Read the refusals of a router, the oldest first; those of another router are ignored.

    A file that is damaged or of another version is a warning and holds none; the next refusal replaces it.

    Args:
        folder: The router's folder.
        router: Hash of the configuration of the router in the folder; default: read from it.
    """
    if not (folder / REFUSALS.config).exists():
        return ()
    own = sha256((folder / ROUTER_KIND.config).read_bytes()) if router is None else router
    try:
        with damaged(folder, REFUSALS):
            config, _ = read_config(folder, REFUSALS)
            found = tuple(_checked(each) for each in config["refusals"])
            return found if config["router_sha256"] == own else ()
    except ArtifactError as error:
        logger.warning("%s", error)
        return ()


def _checked(config: Mapping[str, Any]) -> Refusal:
    refusal = Refusal(**config)
    if refusal.kind not in FLAGS or not isinstance(refusal.on, str):
        raise ValueError(f"unknown refusal {refusal.kind!r}")
    numbers = (refusal.value, refusal.confidence, refusal.queries, 0 if refusal.needed is None else refusal.needed)
    if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
        raise ValueError(f"expected numbers >= 0, got {numbers}")
    return refusal
