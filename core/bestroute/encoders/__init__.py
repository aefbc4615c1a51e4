"""Encoders: what turns a query's text into a vector, beside the light features that need none."""

from bestroute.encoders.encoder import Encoder
from bestroute.encoders.frozen import FrozenEncoder

__all__ = ["Encoder", "FrozenEncoder"]
