"""Routers trained on records."""

from bestroute.router.multi_head import MultiHeadRouter

__all__ = ["MultiHeadRouter"]
