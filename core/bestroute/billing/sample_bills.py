"""The cost of a sample, from reported or estimated usage. Pure functions."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace

from bestroute.errors import DrawCancelledError
from bestroute.types.pool import Pool
from bestroute.types.prices import Price
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.usage import Usage, estimate_tokens, sum_usage


def bill(sample: Sample, *, model: str, step: int, query: Query, pool: Pool, bills_prompt: bool = True) -> DrawnSample:
    """Return a sample with its cost; usage that is missing or unusable is estimated and marked as such.

    A failed sample without usage costs nothing: providers bill what they answered. ``bills_prompt`` says whether an
    estimate has to count the prompt, which n choices of one call share.
    """
    price = pool.prices[model]
    usage = sample.usage
    cost = 0.0 if usage is None else _cost_usd(price, usage)
    if bills_prompt and sample.error is None and cost == 0.0 and _says_nothing(usage, sample.text):
        usage = cost = None
    if cost is None or (usage is None and sample.error is None):
        prompt = query.prompt_tokens if bills_prompt else 0
        usage = Usage(
            prompt, estimate_tokens(sample.text) if sample.text or sample.error is None else 0, estimated=True
        )
        cost = price.cost_usd(usage)
    return DrawnSample(sample if usage is sample.usage else replace(sample, usage=usage), model, step, cost)


def _says_nothing(usage: Usage | None, text: str) -> bool:
    """Return whether a usage has no tokens although there is a text."""
    return isinstance(usage, Usage) and usage.input == usage.output == 0 and bool(text) and not text.isspace()


def _cost_usd(price: Price, usage: Usage) -> float | None:
    """Return the cost of a usage; ``None`` if it is missing or its numbers are invalid."""
    try:
        if type(usage) is not Usage:  # one of ours was checked when it was made
            for count in (usage.input, usage.output, usage.cached_input, usage.cache_write, usage.reasoning):
                operator.index(count)
        cost = price.cost_usd(usage)
        return cost if math.isfinite(cost) and cost >= 0 else None
    except Exception:
        return None


def joined(drawn: Sequence[DrawnSample]) -> DrawnSample:
    """Return the first of several samples with the bill of all: extra samples are paid but not used."""
    usages = [s.usage for s in drawn if s.usage is not None]
    sample = replace(drawn[0].sample, usage=sum_usage(usages) if usages else None)
    return replace(drawn[0], sample=sample, cost_usd=sum(s.cost_usd for s in drawn))


def cancelled(n: int, *, model: str, step: int, query: Query, pool: Pool) -> list[DrawnSample]:
    """Return the bills of a cancelled call of ``n`` samples: its prompt was sent, the rest is unknown."""
    sent = Usage(query.prompt_tokens, 0, estimated=True)
    error = DrawCancelledError(f"the draw of {model!r} was cancelled before its answer arrived")
    lost = [Sample("", usage=sent if i == 0 else Usage(estimated=True), error=error) for i in range(n)]
    return [bill(sample, model=model, step=step, query=query, pool=pool) for sample in lost]
