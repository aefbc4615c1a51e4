"""Estimate the cost of draws before any is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bestroute.types.pool import Pool
from bestroute.types.usage import Usage


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a number of draws."""

    draws: int
    usd: float
    """Cost for the models whose answer length is known or limited."""
    is_limit: bool
    """Whether part of it is an upper bound: for models without answers yet, the token limit counts."""
    unknown: tuple[str, ...]
    """Models with neither known lengths nor a limit."""

    def __str__(self) -> str:
        """Render as one line."""
        if not self.draws:
            return "no draws are needed"
        known = f"{'at most about' if self.is_limit else 'about'} {self.usd:.4g} USD"
        if not self.unknown:
            return f"{self.draws:,} draws will cost {known}"
        models = ", ".join(map(repr, self.unknown))
        least = "" if not self.usd else f"; the others will cost {known}"
        return (
            f"the cost of draws of {models} is unknown: there are no answers of them yet, and --max-tokens "
            f"sets no limit{least}"
        )


def estimated_cost(
    pool: Pool,
    prompt_tokens: Mapping[str, Sequence[int]],
    output_tokens: Mapping[str, Sequence[int]],
    most_tokens: Mapping[str, int | None],
) -> CostEstimate:
    """Estimate the cost of draws at the pool's prices.

    Args:
        pool: The pool, with prices.
        prompt_tokens: For each model, the length of the prompt of each draw.
        output_tokens: For each model, the lengths of existing answers, whose mean is used.
        most_tokens: For each model, the limit of an answer's tokens, used if it has no answers yet.

    Example:
        >>> from bestroute import Pool, Price
        >>> pool = Pool(["a"], {"a": Price(1.0, 2.0)}, reference="a")
        >>> print(estimated_cost(pool, {"a": [500_000] * 2}, {"a": [250_000]}, {}))
        2 draws will cost about 2 USD
    """
    usd, unknown, is_limit = 0.0, [], False
    for model, prompts in prompt_tokens.items():
        lengths, most = output_tokens.get(model, ()), most_tokens.get(model)
        if not prompts:
            continue
        if not lengths and most is None:
            unknown.append(model)
            continue
        is_limit = is_limit or not lengths
        output = math.ceil(sum(lengths) / len(lengths)) if lengths else most or 0
        usd += sum(pool.prices[model].cost_usd(Usage(prompt, output)) for prompt in prompts)
    return CostEstimate(sum(map(len, prompt_tokens.values())), usd, is_limit, tuple(unknown))
