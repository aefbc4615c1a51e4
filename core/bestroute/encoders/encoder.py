"""The encoder protocol, encoding with a progress bar, and a caching encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors."""

    @property
    def width(self) -> int:
        """Length of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that two encoders share only if they encode the same."""
        ...

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return one vector for each text, shape ``(Q, width)``; it does not depend on the other texts."""
        ...


class Remembering:
    """An encoder that caches the vectors of all texts, for folds that share queries."""

    def __init__(self, encoder: Encoder) -> None:
        """Wrap an encoder."""
        self.encoder = encoder
        self._known: dict[str, Float32Array] = {}

    @property
    def width(self) -> int:
        """Width of the wrapped encoder."""
        return self.encoder.width

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the wrapped encoder."""
        return self.encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return one vector for each text, shape ``(Q, width)``."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        self._known.update(zip(new, encode_all(self.encoder, new, show=len(new) > 1), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32).reshape(len(texts), self.width)


def encode_all(encoder: Encoder, texts: Sequence[str], *, show: bool = False) -> Float32Array:
    """Encode many texts, shape ``(Q, width)``; ``show`` draws a progress bar on a terminal."""
    if not show or isinstance(encoder, Remembering):
        return encoder.encode(texts)
    from tqdm import tqdm

    rows = np.zeros((len(texts), encoder.width), dtype=np.float32)
    for i, text in enumerate(tqdm(texts, unit="query", desc="encoding", disable=None)):
        rows[i] = encoder.encode([text])[0]
    return rows
