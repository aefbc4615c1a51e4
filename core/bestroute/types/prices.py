"""What a model charges, and what a sample therefore cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from bestroute._utils.amounts import is_amount, is_number, plain
from bestroute._utils.text import brief
from bestroute.errors import ConfigError, PriceError, did_you_mean, named
from bestroute.types.usage import Usage

PER_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """USD per million tokens.

    A free model says so with ``0.0``. ``None`` bills cached input and cache writes as input, and reasoning
    tokens as output.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None

    def __post_init__(self) -> None:
        """Check that every price is a finite number >= 0."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if not is_number(value):
                raise ConfigError(
                    f"Price: {field.name} must be a number of USD per million tokens, got {brief(value)}; "
                    "pass 0.0 if it is free"
                )
            if not is_amount(value):
                raise ConfigError(f"Price: {field.name} must be >= 0 USD per million tokens, got {brief(value)}")
            object.__setattr__(self, field.name, plain(value))

    def cost_usd(self, usage: Usage) -> float:
        """Bill one usage.

        Args:
            usage: Tokens; cached input and cache writes are parts of the input, reasoning of the output.

        Returns:
            USD.

        Example:
            >>> Price(2.0, 8.0).cost_usd(Usage(input=500_000, output=250_000))
            3.0
        """
        cached = self.input if self.cached_input is None else self.cached_input
        write = self.input if self.cache_write is None else self.cache_write
        reasoning = self.output if self.reasoning is None else self.reasoning
        plain_input = max(0, usage.input - usage.cached_input - usage.cache_write)
        plain_output = max(0, usage.output - usage.reasoning)
        return (
            plain_input * self.input
            + usage.cached_input * cached
            + usage.cache_write * write
            + plain_output * self.output
            + usage.reasoning * reasoning
        ) / PER_MILLION

    def output_usd(self, usage: Usage) -> float:
        """Bill the output of a usage alone.

        Example:
            >>> Price(2.0, 8.0).output_usd(Usage(input=500_000, output=250_000))
            2.0
        """
        reasoning = self.output if self.reasoning is None else self.reasoning
        return (max(0, usage.output - usage.reasoning) * self.output + usage.reasoning * reasoning) / PER_MILLION


def price_of(model: str, prices: Mapping[str, Price]) -> Price:
    """Look a price up by its exact name.

    Raises:
        PriceError: If there is none; an unknown price is never 0 and never guessed from a prefix.
    """
    try:
        return prices[model]
    except KeyError:
        known = f"; prices are given for {named(prices)}." if prices else "."
        raise PriceError(
            f"no price for {model!r}{known}{did_you_mean(model, prices)} "
            "Add Price(input, output) in USD per million tokens, or Price(0.0, 0.0) if it is free"
        ) from None
