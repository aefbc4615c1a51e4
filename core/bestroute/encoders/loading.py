"""Open an encoder by name: a saved folder, or a transformer."""

from __future__ import annotations

from pathlib import Path

from bestroute.artifacts import ENCODER
from bestroute.encoders.onnx_encoder import MAX_TOKENS, FrozenEncoder


def open_encoder(name: str, *, max_tokens: int = MAX_TOKENS) -> FrozenEncoder:
    """Return the encoder saved in a folder, else create one from a transformer.

    Args:
        name: A folder, or a hub id.
        max_tokens: Of one that is made; a saved one keeps its own.
    """
    if (Path(name) / ENCODER.config).is_file():
        return FrozenEncoder.from_pretrained(name)
    from bestroute.encoders.export import from_transformer

    return from_transformer(name, max_tokens=max_tokens)
