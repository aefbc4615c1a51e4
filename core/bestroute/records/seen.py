"""What is kept of the records that something was made from: hashes of their ids and groups, not the names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from bestroute._utils.text import utf8


@dataclass(frozen=True)
class SeenRecords:
    """Knows the records that a router, a reward model or a promise was made from.

    An id is not taken for a group of the same name. Reward models that were saved before this was so kept one hash
    for both; those are still understood, and refuse either.

    Args:
        hashes: Of ids and groups.

    Example:
        >>> seen = SeenRecords.of(["q1"], ["arithmetic"])
        >>> seen.has_id("q1"), seen.has_group("q1")
        (True, False)
    """

    hashes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, ids: Iterable[str], groups: Iterable[str]) -> SeenRecords:
        """Keep the ids and groups of records."""
        return cls(frozenset(_hash(f"id:{name}") for name in ids) | {_hash(f"group:{name}") for name in groups})

    def has_id(self, name: str) -> bool:
        """Whether a record of this id was among them."""
        return not self.hashes.isdisjoint((_hash(f"id:{name}"), _hash(name)))

    def has_group(self, name: str) -> bool:
        """Whether a record of this group was among them."""
        return not self.hashes.isdisjoint((_hash(f"group:{name}"), _hash(name)))

    def __or__(self, other: SeenRecords) -> SeenRecords:
        """Return the records of both."""
        return SeenRecords(self.hashes | other.hashes)

    def __len__(self) -> int:
        """How many ids and groups."""
        return len(self.hashes)

    def to_json(self) -> list[str]:
        """Return what a folder keeps: the hashes, rising."""
        return sorted(self.hashes)


def _hash(name: str) -> str:
    return hashlib.sha256(utf8(name)).hexdigest()[:16]
