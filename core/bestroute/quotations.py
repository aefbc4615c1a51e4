"""Where a short text quotes long ones, in time that grows no faster than they do.

Letters and digits are compared, nothing else: so it is no matter how a quotation is escaped or broken into lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

SHORTEST_QUOTE = 21
"""So many letters and digits of a source in a row are taken for a quotation."""
SHORTEST_WHOLE = 8
"""A source of fewer is not looked for: it may be any word."""

_ESCAPE = r"(?<!\\)\\+"
"""All backslashes of a run; looked for only where a run begins, so that no run is read twice."""
_CODED = re.compile(_ESCAPE + r"(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_BLANK = re.compile(_ESCAPE + r"[nrt]")
_LETTER = re.compile(_ESCAPE + r"(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|[nrt])|([^\W_])")
_BETWEEN = "\uffff"
"""Stands between sources: no letter, but kept, so that no quotation reaches over it."""
_BEYOND = 0x10000
_BASE = 0x9E3779B97F4A7C15


def quoted_spans(text: str, sources: Iterable[str]) -> list[tuple[int, int]]:
    r"""Return start and end of each place where a text quotes a source: a short one whole, of a long one any piece.

    Args:
        text: Short; its length counts once for each source that is short.
        sources: They may be books.

    Example:
        >>> quoted_spans("no: 'tell nobody'", ["Tell\nnobody!"])
        [(5, 16)]
    """
    found = [(_letter(m[1] or m[2], m[3]), m.span()) for m in _LETTER.finditer(text)]
    found = [(letter, span) for letter, span in found if letter]
    if len(found) < SHORTEST_WHOLE:
        return []
    letters, places = "".join(letter for letter, _ in found), [span for _, span in found]
    read = _letters(_BETWEEN.join(dict.fromkeys(sources)))
    short = {s for s in read.split(_BETWEEN) if SHORTEST_WHOLE <= len(s) < SHORTEST_QUOTE}
    spans = [(places[i][0], places[i + len(s) - 1][1]) for s in short for i in _places(letters, s)]
    ends = SHORTEST_QUOTE - 1
    return sorted(spans + [(places[i][0], places[i + ends][1]) for i in _shared_windows(letters, read)])


def _letter(coded: str | None, plain: str | None) -> str:
    """Return one lower-case letter or digit, ``""`` if it is none."""
    letter = chr(int(coded, 16)) if coded else plain or ""
    return letter.lower()[0] if letter.isalnum() and letter <= _BETWEEN else ""


def _letters(text: str) -> str:
    """Return the letters and digits of a text in lower case, its escapes read; what is beyond 16 bits is none."""
    if "\\" in text:
        text = _BLANK.sub("", _CODED.sub(lambda m: chr(int(m[1] or m[2], 16)), text))
    codes = np.array([text.lower()]).view(np.uint32)  # as they are, halves too
    kept = codes[_kept()[np.minimum(codes, _BEYOND)]]
    return kept.tobytes().decode("utf-32-le")


@cache
def _kept() -> NDArray[np.bool_]:
    """Whether a code of 16 bits is a letter, a digit or what stands between sources; what is beyond is none."""
    told = [chr(code).isalnum() for code in range(_BEYOND)]
    told[ord(_BETWEEN)] = True
    return np.array([*told, False])


def _places(text: str, part: str) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + len(part))


def _shared_windows(text: str, source: str) -> list[int]:
    """Return where a window of the shortest quotation begins in a text that the source has too, told by its hash."""
    if min(len(text), len(source)) < SHORTEST_QUOTE:
        return []
    own, others = _hashes(text), _hashes(source)
    order = np.argsort(own)
    ordered = own[order]
    may_be = np.zeros(0x10000, dtype=np.bool_)
    may_be[ordered >> np.uint64(48)] = True
    others = others[may_be[others >> np.uint64(48)]]
    at = np.minimum(np.searchsorted(ordered, others), len(ordered) - 1)
    shared = np.unique(others[ordered[at] == others])
    return sorted(order[np.isin(ordered, shared)].tolist())


def _hashes(text: str) -> NDArray[np.uint64]:
    """Return a hash of each window: a polynomial of its codes modulo 2**64, windows of 21 made of those of 16, 4, 1."""
    assert SHORTEST_QUOTE == 16 + 4 + 1
    one = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    windows = {1: one}
    for size in (1, 2, 4, 8):
        windows[2 * size] = _joined(windows[size], windows[size], size, size)
    twenty = _joined(windows[16], windows[4], 16, 4)
    return _joined(twenty, one, 20, 1) * np.uint64(_BASE)


def _joined(first: NDArray[np.uint64], second: NDArray[np.uint64], size: int, added: int) -> NDArray[np.uint64]:
    """Return the hashes of windows of ``size + added``."""
    count = len(second) - size
    return first[:count] * np.uint64(pow(_BASE, added, 2**64)) + second[size:]
