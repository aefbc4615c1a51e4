"""Encoders, which turn a query's text into a vector; optional besides the light features."""

from bestroute.encoders.encoder import Encoder
from bestroute.encoders.onnx_encoder import FrozenEncoder

__all__ = ["Encoder", "FrozenEncoder"]
