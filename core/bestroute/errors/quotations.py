"""Find quotations of long texts in short ones, in linear time.

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
"""Letters and digits in a row that count as a quotation of a source."""
SHORTEST_WHOLE = 8
"""Fewest letters and digits of a source; shorter ones could be any word."""

_PERCENT = r"(?:%[0-9a-fA-F]{2})+"
_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});"
_WEB = re.compile(f"{_PERCENT}|{_ENTITY}")
"""Escapes of characters in URLs and HTML."""
_NO_LETTER = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#34|#38|#39|#60|#62|#x27);")
"""Common escapes that stand for no letter, which are skipped quickly."""
_LONGEST_KEPT = 12
"""Most characters of an escape whose decoding is cached."""
_ESCAPE = r"(?<!\\)\\+"
"""A whole run of backslashes, matched only at its beginning, so that no run is read twice."""
_CODED = re.compile(_ESCAPE + r"(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_BLANK = re.compile(_ESCAPE + r"[nrt]")
_LETTER = re.compile(_ESCAPE + rf"(?:u([0-9a-fA-F]{{4}})|x([0-9a-fA-F]{{2}})|[nrt])|({_PERCENT}|{_ENTITY})|([^\W_])")
_BETWEEN = "\uffff"
"""Separator of sources: not a letter, but kept, so that no quotation spans two sources."""
_BEYOND = 0x10000
_BASE = 0x9E3779B97F4A7C15


class Sources:
    r"""Texts that are indexed once and searched for in any number of other texts.

    Args:
        texts: They may be books.

    Example:
        >>> Sources(["Tell\nnobody!"]).spans("no: 'tell nobody'")
        [(5, 16)]
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Store the sources; they are indexed at first use."""
        self._texts: tuple[str, ...] | None = tuple(dict.fromkeys(texts))
        self._short: frozenset[str] = frozenset()
        self._hashes = np.empty(0, dtype=np.uint64)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return start and end of each quotation in a text: of a short source as a whole, of a long one any part.

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
        """Return where a window of the shortest quotation length begins that a source also has, by hash."""
        own = _hashes(text)
        if not len(self._hashes) or not len(own):
            return []
        at = np.minimum(np.searchsorted(self._hashes, own), len(self._hashes) - 1)
        return np.flatnonzero(self._hashes[at] == own).tolist()


def _read(match: re.Match[str]) -> Iterator[str]:
    """Yield the letters and digits of a match."""
    coded = match[1] or match[2]
    for plain in (_character(coded),) if coded else _decoded(match) if match[3] else (match[4] or "",):
        if letter := _letter(plain):
            yield letter


def _decoded(match: re.Match[str]) -> str:
    """Return the decoded text of a URL or HTML escape."""
    piece = match[0]
    return _meant(piece) if len(piece) <= _LONGEST_KEPT else _unquoted(piece)  # no entity is as long


@lru_cache(maxsize=4096)
def _meant(piece: str) -> str:
    return _unquoted(piece) if piece.startswith("%") else unescape(piece)


def _unquoted(run: str) -> str:
    """Return the decoded text of a run of ``%41``-style escapes."""
    return bytes.fromhex(run.replace("%", "")).decode("utf-8", "replace")


@lru_cache(maxsize=4096)
def _character(digits: str) -> str:
    return chr(int(digits, 16))


def _letter(character: str) -> str:
    """Return a lower-case letter or digit; ``""`` for any other character."""
    return character.lower()[0] if character.isalnum() and character <= _BETWEEN else ""


def _letters(text: str) -> str:
    """Return the letters and digits of a text in lower case, with escapes decoded; beyond 16 bits none."""
    if "%" in text or "&" in text:
        text = _WEB.sub(_decoded, _NO_LETTER.sub(" ", text))
    if "\\" in text:
        text = _BLANK.sub("", _CODED.sub(lambda m: _character(m[1] or m[2]), text))
    codes = np.array([text.lower()]).view(np.uint32)  # as they are, halves too
    kept = codes[_kept()[np.minimum(codes, _BEYOND)]]
    return kept.tobytes().decode("utf-32-le")


@cache
def _kept() -> NDArray[np.bool_]:
    """Return whether a 16-bit code is a letter, a digit or the separator."""
    kept = [chr(code).isalnum() for code in range(_BEYOND)]
    kept[ord(_BETWEEN)] = True
    return np.array([*kept, False])


def _places(text: str, part: str) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + len(part))


def _hashes(text: str) -> NDArray[np.uint64]:
    """Return the hash of each window: a polynomial of its codes modulo 2**64, composed from shorter windows."""
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
    """Return the hashes of windows of length ``size + added``."""
    count = len(second) - size
    return first[:count] * np.uint64(pow(_BASE, added, 2**64)) + second[size:]
