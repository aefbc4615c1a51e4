"""Group nearly identical queries, so that no fold is evaluated on a query that another was trained on."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from bestroute._utils.extras import need
from bestroute._utils.text import utf8

SIMILAR = 0.8
"""Jaccard similarity of three-word shingles from which two queries count as nearly identical."""
_PERMUTATIONS = 64
_BATCH = 500


class Groups:
    """Groups of queries that are added one by one; only hashes and signatures of texts are kept.

    Near-duplicates are found by MinHash over three-word shingles, in time linear in the queries (datasketch).

    Raises:
        ImportError: If datasketch is not installed.
    """

    def __init__(self) -> None:
        """Start without queries."""
        need("finding near-duplicates", "datasketch", extra="import")
        from datasketch import MinHashLSH

        self._sets = _DisjointSets()
        self._first_places: dict[tuple[str, bytes], int] = {}
        self._index: Any = MinHashLSH(threshold=SIMILAR, num_perm=_PERMUTATIONS)
        self._waiting: list[tuple[int, list[bytes]]] = []
        """Indices and shingles of texts that are not yet looked up; batches are faster."""

    def add(self, query: str, session: str | None) -> None:
        """Add the next query; ``session`` identifies its conversation, ``None`` if unknown."""
        place = self._sets.grow()
        plain = " ".join(query.casefold().split())
        first = self._join(place, "text", plain)
        if session:
            self._join(place, "session", session)
        if first == place:
            self._waiting.append((place, _shingles(plain)))
            if len(self._waiting) >= _BATCH:
                self._look_up()

    def found(self) -> list[int]:
        """Return the group of each query: the index of the first one that is nearly identical or in its session."""
        self._look_up()
        return self._sets.firsts()

    def _join(self, place: int, kind: str, text: str) -> int:
        first = self._first_places.setdefault((kind, blake2b(utf8(text), digest_size=16).digest()), place)
        self._sets.join(place, first)
        return first

    def _look_up(self) -> None:
        from datasketch import MinHash

        places, runs = [place for place, _ in self._waiting], [of for _, of in self._waiting]
        for place, one in zip(places, MinHash.bulk(runs, num_perm=_PERMUTATIONS, seed=1), strict=True):
            for other in self._index.query(one):
                self._sets.join(place, other)
            self._index.insert(place, one)
        self._waiting = []


def _shingles(text: str) -> list[bytes]:
    words = text.split()
    return [utf8(" ".join(words[i : i + 3])) for i in range(max(1, len(words) - 2))]


class _DisjointSets:
    """Disjoint sets of indices (union-find); each set is named by its smallest index."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def grow(self) -> int:
        """Add an index, and return it."""
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def firsts(self) -> list[int]:
        return [self.first(place) for place in range(len(self._parent))]

    def first(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        self._parent[high] = low
