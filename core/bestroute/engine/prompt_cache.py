"""How much of a prompt members' caches are assumed to hold, and what that saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bestroute.types.prices import PER_MILLION, Price


@dataclass(frozen=True)
class CachedTokens:
    """How much of a prompt members' caches are assumed to hold, in tokens."""

    cached: Mapping[str, int] = field(default_factory=dict)
    """By member, for those asked before."""
    reference: int = 0
    """The reference's, if it had answered every turn."""

    def saved_usd(self, price: Price, model: str, prompt_tokens: int) -> float:
        """Return what a member's cache saves on one prompt, USD."""
        return saved_usd(price, min(self.cached.get(model, 0), prompt_tokens))


NOTHING_CACHED = CachedTokens()


def saved_usd(price: Price, cached_tokens: int) -> float:
    """Return what cached tokens of a prompt save, USD.

    Example:
        >>> saved_usd(Price(2.0, 8.0, cached_input=0.5), 1_000_000), saved_usd(Price(2.0, 8.0), 1_000_000)
        (1.5, 0.0)
    """
    return 0.0 if price.cached_input is None else cached_tokens * (price.input - price.cached_input) / PER_MILLION
