"""Export a transformer to run without torch: an int8 ONNX graph and its tokenizer."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bestroute._utils.extras import need
from bestroute.encoders.onnx_encoder import MAX_TOKENS, FrozenEncoder
from bestroute.encoders.transformers_hub import check_tokens, described, quietly, unreadable
from bestroute.errors import ConfigError

OPSET = 17
_EXAMPLE_TOKENS = 7


def from_transformer(name: str, *, max_tokens: int = MAX_TOKENS) -> FrozenEncoder:
    """Create an encoder from a transformer; needs torch, transformers and onnx (``bestroute[train]``).

    Args:
        name: A folder, or a hub id.
        max_tokens: A longer text is cut.

    Raises:
        ConfigError: If there is no such transformer, or it cannot be an encoder.
    """
    model, tokenizer = load_transformer(name, max_tokens=max_tokens)
    return as_encoder(model, tokenizer, max_tokens=max_tokens)


def load_transformer(name: str, *, max_tokens: int) -> tuple[Any, Any]:
    """Return model and tokenizer, ready to encode.

    Raises:
        ConfigError: If there is none of that name, or it cannot be an encoder.
        ImportError: If torch, transformers or onnx are missing.
    """
    need("making an encoder", "torch", "transformers", "onnx", "onnxruntime", extra="train")
    from transformers import AutoModel, AutoTokenizer

    try:
        with quietly():
            tokenizer: Any = AutoTokenizer.from_pretrained(name)
            model: Any = AutoModel.from_pretrained(name, attn_implementation="eager")
    except unreadable() as error:
        raise ConfigError(
            f"encoder {name!r} cannot be loaded: give a folder with a transformers model, or a hub id "
            f"({described(error)})"
        ) from error
    if not tokenizer.is_fast or model.config.is_encoder_decoder:
        raise ConfigError(f"encoder {name!r} must be an encoder alone with a fast tokenizer; take another model")
    check_tokens(max_tokens, model, name, least=4)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.float().eval(), tokenizer


def as_encoder(model: Any, tokenizer: Any, *, max_tokens: int) -> FrozenEncoder:
    """Trace a model and quantise its weights to int8, with one scale per channel.

    Weights keep to 7 bits, since sums of full 8-bit products overflow on processors without VNNI.
    """
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    class Hidden(torch.nn.Module):
        """Forward of a single text without padding or mask."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids: Any) -> Any:
            return self.inner(input_ids=input_ids).last_hidden_state

    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), _without_advice(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing, and that the exporter is the older one
        traced, rounded = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        torch.onnx.export(
            Hidden(model).eval(),
            (torch.arange(_EXAMPLE_TOKENS)[None] + 1,),
            str(traced),
            input_names=["input_ids"],
            output_names=["hidden"],
            dynamic_axes={"input_ids": {1: "tokens"}, "hidden": {1: "tokens"}},
            opset_version=OPSET,
            dynamo=False,
        )
        quantize_dynamic(traced, rounded, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        graph = rounded.read_bytes()
    return FrozenEncoder(graph, tokenizer.backend_tokenizer.to_str(), int(model.config.hidden_size), max_tokens)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the quantiser's messages to the root logger."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
