"""Queries that are nearly the same: they share a group, so that no fold learns an answer it is asked for."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from bestroute._utils.extras import need
from bestroute._utils.text import utf8

SIMILAR = 0.8
"""Share of runs of three words that two queries have in common to be called nearly the same (Jaccard)."""
_PERMUTATIONS = 64
_BATCH = 500


class Groups:
    """Groups of queries that come one by one; what is kept of a text is its hash and its signature.

    Near is found by MinHash over runs of three words, in time that grows with the number of queries (datasketch).

    Raises:
        ImportError: If datasketch is not installed.
    """

    def __init__(self) -> None:
        """Start without a query."""
        need("finding near-duplicates", "datasketch", extra="import")
        from datasketch import MinHashLSH

        self._joined = _Joined()
        self._first_places: dict[tuple[str, bytes], int] = {}
        self._index: Any = MinHashLSH(threshold=SIMILAR, num_perm=_PERMUTATIONS)
        self._waiting: list[tuple[int, list[bytes]]] = []
        """Places and runs of words of texts that are not yet looked up: many at once are faster."""

    def add(self, query: str, session: str | None) -> None:
        """Take the next query; a session is what it belongs to, ``None`` where nothing is known."""
        place = self._joined.grow()
        plain = " ".join(query.casefold().split())
        first = self._join(place, "text", plain)
        if session:
            self._join(place, "session", session)
        if first == place:
            self._waiting.append((place, _runs(plain)))
            if len(self._waiting) >= _BATCH:
                self._look_up()

    def found(self) -> list[int]:
        """Return the group of each query: the place of the first one that is nearly the same, or of its session."""
        self._look_up()
        return self._joined.firsts()

    def _join(self, place: int, kind: str, text: str) -> int:
        first = self._first_places.setdefault((kind, blake2b(utf8(text), digest_size=16).digest()), place)
        self._joined.join(place, first)
        return first

    def _look_up(self) -> None:
        from datasketch import MinHash

        places, runs = [place for place, _ in self._waiting], [of for _, of in self._waiting]
        for place, one in zip(places, MinHash.bulk(runs, num_perm=_PERMUTATIONS, seed=1), strict=True):
            for other in self._index.query(one):
                self._joined.join(place, other)
            self._index.insert(place, one)
        self._waiting = []


def _runs(text: str) -> list[bytes]:
    words = text.split()
    return [utf8(" ".join(words[i : i + 3])) for i in range(max(1, len(words) - 2))]


class _Joined:
    """Which places belong together; the least of them names them."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def grow(self) -> int:
        """Take one place more; returns it."""
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
