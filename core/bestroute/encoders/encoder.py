"""The seam of encoders, and what is the same for all of them: encoding with a bar, and not encoding twice."""

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
        """A name that two encoders share only if they encode alike."""
        ...

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return one vector for each text, shape ``(Q, width)``; a text's vector does not depend on the others."""
        ...


class Remembering:
    """An encoder that encodes no text twice: for folds that share their queries. Keeps every text it saw."""

    def __init__(self, encoder: Encoder) -> None:
        """Wrap an encoder."""
        self.encoder = encoder
        self._known: dict[str, Float32Array] = {}

    @property
    def width(self) -> int:
        """The wrapped encoder's."""
        return self.encoder.width

    @property
    def fingerprint(self) -> str:
        """The wrapped encoder's."""
        return self.encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return one vector for each text, shape ``(Q, width)``."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        self._known.update(zip(new, encode_all(self.encoder, new, show=len(new) > 1), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32).reshape(len(texts), self.width)


def encode_all(encoder: Encoder, texts: Sequence[str], *, show: bool = False) -> Float32Array:
    """Encode many texts, shape ``(Q, width)``; ``show`` draws a progress bar where somebody looks."""
    if not show or isinstance(encoder, Remembering):
        return encoder.encode(texts)
    from tqdm import tqdm

    rows = np.zeros((len(texts), encoder.width), dtype=np.float32)
    for i, text in enumerate(tqdm(texts, unit="query", desc="encoding", disable=None)):
        rows[i] = encoder.encode([text])[0]
    return rows
