"""An encoder's folder: an ONNX graph, a tokenizer and JSON, nothing that runs code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from bestroute.artifacts import read_part, write_folder
from bestroute.errors import ArtifactError

if TYPE_CHECKING:
    from bestroute.encoders.frozen import FrozenEncoder

FORMAT = 1
CONFIG, GRAPH, TOKENIZER = FILES = ("encoder.json", "model.onnx", "tokenizer.json")


def save(encoder: FrozenEncoder, folder: Path) -> None:
    """Write an encoder, all of it or nothing; the configuration goes last and names the others' hashes."""
    write_folder(folder, to_files(encoder))


def to_files(encoder: FrozenEncoder) -> dict[str, bytes]:
    """Return the files of a folder by name, the configuration last."""
    parts = {GRAPH: encoder.graph, TOKENIZER: encoder.tokenizer.encode()}
    config = {
        "format": FORMAT,
        "width": encoder.width,
        "max_tokens": encoder.max_tokens,
        "fingerprint": encoder.fingerprint,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
    }
    return {**parts, CONFIG: (json.dumps(config, indent=1) + "\n").encode()}


def load(folder: Path) -> FrozenEncoder:
    """Read an encoder's folder.

    Raises:
        ArtifactError: If it is missing, damaged, or of another version; names the file.
        ImportError: If onnxruntime or tokenizers are missing; says what to install.
    """
    from bestroute.encoders.frozen import FrozenEncoder

    where = folder / CONFIG
    try:
        told = json.loads(read_part(where, "an encoder"))
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            version = told.get("format") if isinstance(told, dict) else None
            raise ArtifactError(f"{where}: format {version!r}, this version reads {FORMAT}; make the encoder again")
        parts = {name: read_part(folder / name, "an encoder") for name in (GRAPH, TOKENIZER)}
        for name, data in parts.items():
            if hashlib.sha256(data).hexdigest() != told["sha256"][name]:
                raise ArtifactError(f"{folder / name}: its hash is not the one in {CONFIG}; the folder is damaged")
        width, max_tokens = told["width"], told["max_tokens"]
        if not (isinstance(width, int) and isinstance(max_tokens, int) and width > 0 and max_tokens > 0):
            raise ArtifactError(f"{where}: width and max_tokens must be whole numbers above 0; the folder is damaged")
        encoder = FrozenEncoder(parts[GRAPH], parts[TOKENIZER].decode(), width, max_tokens)
    except ArtifactError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{where}: damaged folder of an encoder ({type(error).__name__}: {error})") from error
    if told.get("fingerprint") != encoder.fingerprint:
        raise ArtifactError(f"{where}: its fingerprint is not that of the files beside it; the folder is damaged")
    return encoder
