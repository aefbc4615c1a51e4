"""Hashes of the ids and groups of records that something was trained or tuned on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from bestroute._utils.text import utf8


@dataclass(frozen=True)
class SeenRecords:
    """The records that a router, a reward model or a promise was made from.

    Ids and groups of the same name are distinguished. Earlier versions of reward models stored one hash
    for both, which matches either.

    Args:
        hashes: Hashes of ids and groups.

    Example:
        >>> seen = SeenRecords.of(["q1"], ["arithmetic"])
        >>> seen.has_id("q1"), seen.has_group("q1")
        (True, False)
    """

    hashes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, ids: Iterable[str], groups: Iterable[str]) -> SeenRecords:
        """Create it from the ids and groups of records."""
        return cls(frozenset(_hash(f"id:{name}") for name in ids) | {_hash(f"group:{name}") for name in groups})

    def has_id(self, name: str) -> bool:
        """Return whether a record with this id was among them."""
        return not self.hashes.isdisjoint((_hash(f"id:{name}"), _hash(name)))

    def has_group(self, name: str) -> bool:
        """Return whether a record of this group was among them."""
        return not self.hashes.isdisjoint((_hash(f"group:{name}"), _hash(name)))

    def __or__(self, other: SeenRecords) -> SeenRecords:
        """Return the union of both."""
        return SeenRecords(self.hashes | other.hashes)

    def __len__(self) -> int:
        """Return the number of ids and groups."""
        return len(self.hashes)

    def to_json(self) -> list[str]:
        """Return the sorted hashes, as stored in a folder."""
        return sorted(self.hashes)


def _hash(name: str) -> str:
    return hashlib.sha256(utf8(name)).hexdigest()[:16]
