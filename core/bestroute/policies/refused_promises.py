"""Refusals: promises that were asked for and could not be shown; kept in the router's folder, beside its promises."""

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
"""Refusals that are kept, the newest."""


@dataclass(frozen=True)
class Refusal:
    """One promise that tuning refused."""

    kind: Kind
    value: float
    """The drop, or the budget in USD per 1,000 queries, that was asked for."""
    confidence: float
    on: str
    """The day, ``2026-01-31``, UTC."""
    queries: int
    """From how many it could not be shown."""
    needed: int | None
    """How many it would take at best; ``None``: no number would do."""

    def __str__(self) -> str:
        """Render as ``asked for drop of at most 0.01 at confidence 0.95, refused on 2026-01-31 ...``."""
        would = "no number would do" if self.needed is None else f"it would take about {self.needed:,}"
        return f"asked for {self.promise}, refused on {self.on} from {self.queries:,} queries; {would}"

    @property
    def promise(self) -> str:
        """What was asked for, as a promise of it would be rendered."""
        what = f"drop of at most {self.value:.3g}" if self.kind == "max_drop" else f"{self.value:.3g} USD per 1,000"
        return f"{what} at confidence {self.confidence:g}"

    @classmethod
    def today(cls, kind: Kind, value: float, confidence: float, queries: int, needed: int | None) -> Refusal:
        """Return a refusal of this moment."""
        return cls(kind, value, confidence, datetime.now(UTC).date().isoformat(), queries, needed)


def note_refusal(folder: Path, refusal: Refusal) -> None:
    """Keep a refusal beside those of before, about the router that is in the folder now; the same one once."""
    router = sha256((folder / ROUTER_KIND.config).read_bytes())
    before = read_refusals(folder, router=router)
    kept = before if refusal in before else (*before, refusal)[-_MOST:]
    config = {"format": REFUSALS.format, "router_sha256": router, "refusals": [asdict(each) for each in kept]}
    with atomic_file(folder / REFUSALS.config) as stream:
        stream.write(to_json(config))


def read_refusals(folder: Path, *, router: str | None = None) -> tuple[Refusal, ...]:
    """Read the refusals of a router, the oldest first; those of another router that was here before are not its own.

    A file that is damaged or of another version is a warning and holds none; the next refusal replaces it.

    Args:
        folder: The router's.
        router: Hash of the configuration of the router in it; default: it is read.
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
