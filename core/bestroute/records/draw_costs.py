"""What draws will cost, as far as lengths are known, before any is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bestroute.types.pool import Pool
from bestroute.types.usage import Usage


@dataclass(frozen=True)
class CostEstimate:
    """Of draws that are to be made."""

    draws: int
    usd: float
    """Of those of models whose answers have a length that is known, or a limit."""
    is_limit: bool
    """Whether some of it is a limit: no answer of a model is there yet, and the most that it may have counts."""
    unknown: tuple[str, ...]
    """Models without either."""

    def __str__(self) -> str:
        """Say it in one line."""
        if not self.draws:
            return "nothing is to be drawn"
        known = f"{'at most about' if self.is_limit else 'about'} {self.usd:.4g} USD"
        if not self.unknown:
            return f"{self.draws:,} draws will cost {known}"
        models = ", ".join(map(repr, self.unknown))
        least = "" if not self.usd else f"; those of the others {known}"
        return (
            f"what draws of {models} will cost is not known: none of their answers is there yet, and --max-tokens "
            f"sets no limit{least}"
        )


def estimated_cost(
    pool: Pool,
    prompt_tokens: Mapping[str, Sequence[int]],
    output_tokens: Mapping[str, Sequence[int]],
    most_tokens: Mapping[str, int | None],
) -> CostEstimate:
    """Estimate what draws cost, at the pool's prices.

    Args:
        pool: Its prices.
        prompt_tokens: For each model, the length of the prompt of each draw.
        output_tokens: For each model, the lengths of answers that are there; their mean is taken.
        most_tokens: For each model, the most tokens of an answer, where none is there.

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
