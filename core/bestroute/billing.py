"""From samples to bills: what one sample cost, its row in the ledger, and what the reference would have cost. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from bestroute.decision import Decision
from bestroute.execution import DrawnSample
from bestroute.ledger import LedgerRow, Status
from bestroute.plans import Candidate
from bestroute.pool import Pool
from bestroute.prices import PER_MILLION
from bestroute.protocols import Sample
from bestroute.query import Query
from bestroute.usage import Usage, estimate_tokens


def bill(sample: Sample, *, model: str, step: int, query: Query, pool: Pool) -> DrawnSample:
    """Return a sample with its cost; where the provider told no usage it is estimated and says so.

    A failed sample without usage costs nothing: providers bill what they answered.
    """
    if sample.usage is None and sample.error is None:
        estimate = Usage(query.prompt_tokens, estimate_tokens(sample.text), estimated=True)
        sample = replace(sample, usage=estimate)
    cost = pool.prices[model].cost_usd(sample.usage) if sample.usage is not None else 0.0
    return DrawnSample(sample, model, step, cost)


def cancelled(n: int, *, model: str, step: int, query: Query, pool: Pool) -> list[DrawnSample]:
    """Return the bills of one call of ``n`` samples that was cancelled: its prompt was sent, no more is known."""
    sent = Usage(query.prompt_tokens, 0, estimated=True)
    lost = [Sample("", usage=sent if i == 0 else Usage(estimated=True)) for i in range(n)]
    return [bill(sample, model=model, step=step, query=query, pool=pool) for sample in lost]


def ledger_row(run_id: str, drawn: DrawnSample, status: Status | None = None) -> LedgerRow:
    """Return the ledger's row of one sample."""
    usage = drawn.usage or Usage(estimated=True)
    return {
        "run_id": run_id,
        "time": time.time(),
        "model": drawn.model,
        "step": drawn.step,
        "status": status or ("ok" if drawn.error is None else "failed"),
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_input_tokens": usage.cached_input,
        "cache_write_tokens": usage.cache_write,
        "reasoning_tokens": usage.reasoning,
        "cost_usd": drawn.cost_usd,
        "estimated": usage.estimated,
        "error": None if drawn.error is None else f"{type(drawn.error).__name__}: {drawn.error}",
        "reference_cost_usd": 0.0,
    }


def reference_cost(query: Query, decision: Decision, samples: Sequence[DrawnSample], pool: Pool) -> tuple[float, bool]:
    """Return what one sample of the reference costs for this prompt, USD, and whether that is an estimate.

    Exact when the reference alone answered; else this prompt at its input price plus its predicted tokens. Where
    no router predicted them: the pool's ``default_output_tokens``, else the mean of the samples at hand.
    """
    if decision.plan.candidate == Candidate(pool.reference) and samples[0].error is None:
        return samples[0].cost_usd, samples[0].usage is None or samples[0].usage.estimated
    price = pool.prices[pool.reference]
    told = [s.usage for s in samples if s.usage is not None and s.error is None]
    output = decision.output_tokens(pool.reference)
    if output is None:
        output = pool.endpoint(pool.reference).default_output_tokens
    if output is None:
        output = sum(u.output for u in told) / len(told) if told else 0.0
    prompt = max([query.input_tokens or 0, *(u.input for u in told)]) or query.prompt_tokens
    return (prompt * price.input + output * price.output) / PER_MILLION, True
