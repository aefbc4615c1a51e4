"""The sentence encoder at run time: a tokenizer and an int8 ONNX graph, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bestroute._utils.extras import to_install
from bestroute._utils.text import brief, encodable
from bestroute.artifacts import ENCODER, damaged, packed, read_config, read_files, write_folder
from bestroute.encoders.encoder import Float32Array
from bestroute.encoders.transformers_hub import described
from bestroute.errors import ArtifactError

GRAPH, TOKENIZER = "model.onnx", "tokenizer.json"
MAX_TOKENS = 128
"""Default limit of tokens of a text."""
_CHARACTERS_A_TOKEN = 32
"""Most characters tokenised for each token of the limit; no text has longer tokens on average."""


@dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """Encodes a text as the normalised mean of a transformer's last hidden states.

    Texts are encoded one by one: the graph scales its activations by the largest of a batch, and a text's vector must
    not depend on what came with it. Nothing is padded, so that costs little.

    Args:
        graph: An ONNX model from ``input_ids`` of shape ``(1, T)`` to hidden states of shape ``(1, T, width)``.
        tokenizer: What ``tokenizer.json`` holds.
        width: Length of a vector.
        max_tokens: A longer text is cut.

    Raises:
        ArtifactError: If graph or tokenizer cannot be read, or do not fit together.
        ImportError: If onnxruntime or tokenizers are missing; says what to install.
    """

    graph: bytes = field(repr=False)
    tokenizer: str = field(repr=False)
    width: int
    max_tokens: int = MAX_TOKENS

    def __post_init__(self) -> None:
        """Load both, and encode one text as a check."""
        try:
            hidden = self._hidden("a")
        except (ImportError, ArtifactError):
            raise
        except Exception as error:  # onnxruntime and tokenizers have no base class of errors
            raise ArtifactError(f"encoder: its graph does not run ({described(error)}); make it again") from error
        if hidden.ndim != 2 or hidden.shape[1] != self.width or not np.isfinite(hidden).all():
            raise ArtifactError(
                f"encoder: its graph must give finite vectors of width {self.width}, got shape {hidden.shape}; "
                "make it again"
            )

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return one vector of length 1 for each text, shape ``(Q, width)``; 0 for a text without tokens."""
        rows = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            mean = self._hidden(text).mean(axis=0)
            row[:] = mean / max(float(np.sqrt(mean @ mean)), 1e-12)
        return rows

    def _hidden(self, text: str) -> Float32Array:
        """Return the last hidden state of each token, shape ``(T, width)``; one row of zeros without tokens."""
        read = encodable(text[: _CHARACTERS_A_TOKEN * self.max_tokens])
        ids = self._tokens.encode(read).ids
        if not ids:
            return np.zeros((1, self.width), dtype=np.float32)
        return np.asarray(self._session.run(None, {"input_ids": np.array([ids], dtype=np.int64)})[0][0])

    @cached_property
    def _tokens(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise _missing("tokenizers") from error
        try:
            tokens: Any = Tokenizer.from_str(self.tokenizer)
        except Exception as error:  # it raises plain Exception
            raise ArtifactError(f"encoder: its tokenizer cannot be read ({described(error)}); make it again") from error
        tokens.no_padding()
        tokens.enable_truncation(self.max_tokens)
        return tokens

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise _missing("onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # a decision takes one core
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the session, which is created again when needed."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_session", "_tokens")}

    @cached_property
    def fingerprint(self) -> str:
        """A hash that two encoders share only if they encode the same."""
        digest = hashlib.sha256(f"{self.width} {self.max_tokens}".encode())
        for part in (self.graph, self.tokenizer.encode()):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:16]

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the encoder into a folder, atomically: an ONNX graph, a tokenizer and JSON."""
        write_folder(Path(folder), self.files())

    def files(self) -> dict[str, bytes]:
        """Return the files of its folder by name, the configuration last."""
        config = {"width": self.width, "max_tokens": self.max_tokens, "fingerprint": self.fingerprint}
        return packed(ENCODER, config, {GRAPH: self.graph, TOKENIZER: self.tokenizer.encode()})

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> FrozenEncoder:
        """Read an encoder's folder.

        Raises:
            ArtifactError: If it is missing, damaged, or of another version; names the file.
            ImportError: If onnxruntime or tokenizers are missing; says what to install.
        """
        folder = Path(folder)
        with damaged(folder, ENCODER):
            config, _ = read_config(folder, ENCODER)
            files = read_files(folder, ENCODER, config)
            width, max_tokens = config["width"], config["max_tokens"]
            if not (isinstance(width, int) and isinstance(max_tokens, int) and width > 0 and max_tokens > 0):
                raise ValueError(
                    f"width and max_tokens must be whole numbers above 0, got {brief(width)} and {max_tokens!r}"
                )
            encoder = cls(files[GRAPH], files[TOKENIZER].decode(), width, max_tokens)
            if config["fingerprint"] != encoder.fingerprint:
                raise ValueError("its fingerprint is not that of the files beside it")
        return encoder


def _missing(module: str) -> ImportError:
    return ImportError(f"a sentence encoder needs {module}: {to_install('encoder')}")
