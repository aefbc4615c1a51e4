"""Queries that are nearly the same: they share a group, so that no fold learns an answer it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from bestroute._utils.extras import need
from bestroute._utils.text import utf8

SIMILAR = 0.8
"""Share of runs of three words that two queries have in common to be called nearly the same (Jaccard)."""
_PERMUTATIONS = 64
_BATCH = 2000


def groups_of(queries: Sequence[str], sessions: Sequence[str | None]) -> list[int]:
    """Return a group of each query: the place of the first one that is nearly the same, or of the same session.

    Near is found by MinHash over runs of three words, in time that grows with the number of queries (datasketch).

    Args:
        queries: Their texts.
        sessions: What each belongs to; ``None`` where nothing is known.

    Raises:
        ImportError: If datasketch is not installed.
    """
    need("finding near-duplicates", "datasketch", extra="import")
    from datasketch import MinHash, MinHashLSH

    joined = _Joined(len(queries))
    first_places: dict[tuple[str, str], int] = {}
    plain = [" ".join(query.casefold().split()) for query in queries]
    for place, (text, session) in enumerate(zip(plain, sessions, strict=True)):
        for key in (("text", text), *([("session", session)] if session else [])):
            joined.join(place, first_places.setdefault(key, place))
    index = MinHashLSH(threshold=SIMILAR, num_perm=_PERMUTATIONS)
    distinct = [place for place, text in enumerate(plain) if first_places["text", text] == place]
    for start in range(0, len(distinct), _BATCH):
        places = distinct[start : start + _BATCH]
        hashes = MinHash.bulk([_runs(plain[place]) for place in places], num_perm=_PERMUTATIONS, seed=1)
        for place, one in zip(places, hashes, strict=True):
            for other in index.query(one):
                joined.join(place, other)
            index.insert(place, one)
    return [joined.first(place) for place in range(len(queries))]


def _runs(text: str) -> list[bytes]:
    words = text.split()
    return [utf8(" ".join(words[i : i + 3])) for i in range(max(1, len(words) - 2))]


class _Joined:
    """Which places belong together; the least of them names them."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def first(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        self._parent[high] = low
