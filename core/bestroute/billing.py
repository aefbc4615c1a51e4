"""From samples to bills: what one sample cost, its row in the ledger, and what the reference would have cost. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from bestroute.decision import Decision
from bestroute.errors import DrawCancelledError
from bestroute.execution import DrawnSample
from bestroute.ledger import LedgerRow, Status
from bestroute.plans import Candidate
from bestroute.pool import Pool
from bestroute.prices import PER_MILLION
from bestroute.protocols import Sample
from bestroute.query import Query
from bestroute.redaction import describe
from bestroute.usage import Usage, estimate_tokens


def bill(sample: Sample, *, model: str, step: int, query: Query, pool: Pool, bills_prompt: bool = True) -> DrawnSample:
    """Return a sample with its cost; where the provider told no usage it is estimated and says so.

    A failed sample without usage costs nothing: providers bill what they answered. ``bills_prompt`` says whether an
    estimate has to count the prompt, which n choices of one call share.
    """
    if sample.usage is None and sample.error is None:
        prompt = query.prompt_tokens if bills_prompt else 0
        sample = replace(sample, usage=Usage(prompt, estimate_tokens(sample.text), estimated=True))
    cost = pool.prices[model].cost_usd(sample.usage) if sample.usage is not None else 0.0
    return DrawnSample(sample, model, step, cost)


def cancelled(n: int, *, model: str, step: int, query: Query, pool: Pool) -> list[DrawnSample]:
    """Return the bills of one call of ``n`` samples that was cancelled: its prompt was sent, no more is known."""
    sent = Usage(query.prompt_tokens, 0, estimated=True)
    error = DrawCancelledError(f"the draw of {model!r} was called off before its answer came")
    lost = [Sample("", usage=sent if i == 0 else Usage(estimated=True), error=error) for i in range(n)]
    return [bill(sample, model=model, step=step, query=query, pool=pool) for sample in lost]


def ledger_row(run_id: str, drawn: DrawnSample, query: Query, status: Status | None = None) -> LedgerRow:
    """Return the ledger's row of one sample; what an error says of secrets and of the query is left out."""
    usage = drawn.usage or Usage(estimated=True)
    if status is None:
        status = "ok" if drawn.error is None else "failed"
        if isinstance(drawn.error, DrawCancelledError):
            status = "cancelled"
    return {
        "run_id": run_id,
        "time": time.time(),
        "model": drawn.model,
        "step": drawn.step,
        "status": status,
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_input_tokens": usage.cached_input,
        "cache_write_tokens": usage.cache_write,
        "reasoning_tokens": usage.reasoning,
        "cost_usd": drawn.cost_usd,
        "estimated": usage.estimated,
        "error": drawn.flaw if drawn.error is None else describe(drawn.error, query),
        "reference_cost_usd": 0.0,
    }


def reference_cost(query: Query, decision: Decision, samples: Sequence[DrawnSample], pool: Pool) -> tuple[float, bool]:
    """Return what one sample of the reference costs for this prompt, USD, and whether that is an estimate.

    Exact when the reference alone answered; else this prompt at its input price plus its predicted tokens. Where
    no router predicted them: the pool's ``default_output_tokens``, else the mean of the samples at hand.
    """
    came = [s for s in samples if s.usage is not None and s.error is None]
    told = [s for s in came if s.is_sound] or came
    if decision.plan.candidate == Candidate(pool.reference) and len(told) == 1 and told[0].model == pool.reference:
        usage = told[0].usage
        return told[0].cost_usd, usage is None or usage.estimated
    price = pool.prices[pool.reference]
    usages = [s.usage for s in told if s.usage is not None]
    output = decision.output_tokens(pool.reference)
    if output is None:
        output = pool.endpoint(pool.reference).default_output_tokens
    if output is None:
        output = sum(u.output for u in usages) / len(usages) if usages else 0.0
    prompt = max([query.input_tokens or 0, *(u.input for u in usages)]) or query.prompt_tokens
    return (prompt * price.input + output * price.output) / PER_MILLION, True
