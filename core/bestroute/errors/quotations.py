"""Where a short text quotes long ones, in time that grows no faster than they do.

Letters and digits are compared, nothing else: so it is no matter how a quotation is escaped or broken into lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from html import unescape

import numpy as np
from numpy.typing import NDArray

SHORTEST_QUOTE = 21
"""So many letters and digits of a source in a row are taken for a quotation."""
SHORTEST_WHOLE = 8
"""A source of fewer is not looked for: it may be any word."""

_PERCENT = r"(?:%[0-9a-fA-F]{2})+"
_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});"
_WEB = re.compile(f"{_PERCENT}|{_ENTITY}")
"""What URLs and HTML write in place of a character, or of several."""
_NO_LETTER = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#34|#38|#39|#60|#62|#x27);")
"""The usual ones of them stand for no letter: they need no look at what they stand for."""
_LONGEST_KEPT = 12
"""Characters of such a piece whose meaning is kept; they come again and again."""
_ESCAPE = r"(?<!\\)\\+"
"""All backslashes of a run; looked for only where a run begins, so that no run is read twice."""
_CODED = re.compile(_ESCAPE + r"(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_BLANK = re.compile(_ESCAPE + r"[nrt]")
_LETTER = re.compile(_ESCAPE + rf"(?:u([0-9a-fA-F]{{4}})|x([0-9a-fA-F]{{2}})|[nrt])|({_PERCENT}|{_ENTITY})|([^\W_])")
_BETWEEN = "\uffff"
"""Stands between sources: no letter, but kept, so that no quotation reaches over it."""
_BEYOND = 0x10000
_BASE = 0x9E3779B97F4A7C15


class Sources:
    r"""Texts, read once, of which any number of short texts may quote.

    Args:
        texts: They may be books.

    Example:
        >>> Sources(["Tell\nnobody!"]).spans("no: 'tell nobody'")
        [(5, 16)]
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Keep them; they are read when the first text is looked at."""
        self._texts: tuple[str, ...] | None = tuple(dict.fromkeys(texts))
        self._short: frozenset[str] = frozenset()
        self._hashes = np.empty(0, dtype=np.uint64)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return start and end of each place where a text quotes a source: a short one whole, of a long one any piece.

        Args:
            text: Its length counts once for each source that is short.
        """
        found = [(letter, m.span()) for m in _LETTER.finditer(text) for letter in _read(m)]
        if len(found) < SHORTEST_WHOLE:
            return []
        self._read_once()
        letters, places = "".join(letter for letter, _ in found), [span for _, span in found]
        spans = [(places[i][0], places[i + len(s) - 1][1]) for s in self._short for i in _places(letters, s)]
        ends = SHORTEST_QUOTE - 1
        return sorted(spans + [(places[i][0], places[i + ends][1]) for i in self._shared_windows(letters)])

    def _read_once(self) -> None:
        texts = self._texts
        if texts is not None:
            read = _letters(_BETWEEN.join(texts))
            self._short = frozenset(s for s in read.split(_BETWEEN) if SHORTEST_WHOLE <= len(s) < SHORTEST_QUOTE)
            self._hashes = np.sort(_hashes(read))
            self._texts = None

    def _shared_windows(self, text: str) -> list[int]:
        """Return where a window of the shortest quotation begins in a text that a source has too, told by its hash."""
        own = _hashes(text)
        if not len(self._hashes) or not len(own):
            return []
        at = np.minimum(np.searchsorted(self._hashes, own), len(self._hashes) - 1)
        return np.flatnonzero(self._hashes[at] == own).tolist()


def _read(match: re.Match[str]) -> Iterator[str]:
    """Yield the letters and digits that a match stands for."""
    coded = match[1] or match[2]
    for plain in (_character(coded),) if coded else _decoded(match) if match[3] else (match[4] or "",):
        if letter := _letter(plain):
            yield letter


def _decoded(match: re.Match[str]) -> str:
    """Return what URLs and HTML mean by a piece."""
    piece = match[0]
    return _meant(piece) if len(piece) <= _LONGEST_KEPT else _unquoted(piece)  # no entity is as long


@lru_cache(maxsize=4096)
def _meant(piece: str) -> str:
    return _unquoted(piece) if piece.startswith("%") else unescape(piece)


def _unquoted(run: str) -> str:
    """Return what a run of ``%41`` and nothing else stands for."""
    return bytes.fromhex(run.replace("%", "")).decode("utf-8", "replace")


@lru_cache(maxsize=4096)
def _character(digits: str) -> str:
    return chr(int(digits, 16))


def _letter(character: str) -> str:
    """Return one lower-case letter or digit, ``""`` if it is none."""
    return character.lower()[0] if character.isalnum() and character <= _BETWEEN else ""


def _letters(text: str) -> str:
    """Return the letters and digits of a text in lower case, its escapes read; what is beyond 16 bits is none."""
    if "%" in text or "&" in text:
        text = _WEB.sub(_decoded, _NO_LETTER.sub(" ", text))
    if "\\" in text:
        text = _BLANK.sub("", _CODED.sub(lambda m: _character(m[1] or m[2]), text))
    codes = np.array([text.lower()]).view(np.uint32)  # as they are, halves too
    kept = codes[_kept()[np.minimum(codes, _BEYOND)]]
    return kept.tobytes().decode("utf-32-le")


@cache
def _kept() -> NDArray[np.bool_]:
    """Whether a code of 16 bits is a letter, a digit or what stands between sources; what is beyond is none."""
    kept = [chr(code).isalnum() for code in range(_BEYOND)]
    kept[ord(_BETWEEN)] = True
    return np.array([*kept, False])


def _places(text: str, part: str) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + len(part))


def _hashes(text: str) -> NDArray[np.uint64]:
    """Return a hash of each window: a polynomial of its codes modulo 2**64, windows of 21 made of those of 16, 4, 1."""
    assert SHORTEST_QUOTE == 16 + 4 + 1
    if len(text) < SHORTEST_QUOTE:
        return np.empty(0, dtype=np.uint64)
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
