"""The demo set on disk: where it is, and which groups are held out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bestroute.demo.tasks import normalise
from bestroute.labels import SampleArrays
from bestroute.records.records import Record, read_records
from bestroute.types.pool import Pool

FOLDER = Path(__file__).parent / "data"
POOL = FOLDER / "pool.yaml"
PROMPTS = FOLDER / "prompts.jsonl"
RECORDS = FOLDER / "records.jsonl.gz"
ROUTER = FOLDER / "router"
POLICIES = FOLDER / "policies.json"

_HELD_OUT_SHARE = 0.4


def is_held_out(group: str) -> bool:
    """Whether a group is kept for the demo itself; decided by its name alone, for all time."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32 < _HELD_OUT_SHARE


def demo_pool() -> Pool:
    """Return the pool of the three small models."""
    return Pool.from_file(POOL)


@cache
def demo_records() -> tuple[Record, ...]:
    """Return all records that hold every model."""
    return tuple(read_records(RECORDS, pool=demo_pool(), allow_missing=True))


def held_out() -> list[Record]:
    """Return the records that the demo is run on."""
    return [r for r in demo_records() if is_held_out(r.group)]


def training() -> list[Record]:
    """Return the records that the shipped router learnt from."""
    return [r for r in demo_records() if not is_held_out(r.group)]


def demo_arrays(records: Sequence[Record], pool: Pool) -> SampleArrays:
    """Return records as arrays; their answers vote in the demo's own normal form."""
    return SampleArrays.of(records, pool, reward="majority", normalise=normalise)


def operating_points() -> dict[float, float]:
    """Return, for each saving wanted, the price of quality that came closest on folds of the training groups."""
    return {float(saving): float(price) for saving, price in json.loads(POLICIES.read_text()).items()}
