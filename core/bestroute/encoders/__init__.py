"""Encoders: what turns a query's text into a vector, beside the light features that need none."""

from bestroute.encoders.encoder import Encoder
from bestroute.encoders.onnx_encoder import FrozenEncoder

__all__ = ["Encoder", "FrozenEncoder"]
