"""From samples to bills: what one sample cost, its row in the ledger, and what the reference would have cost. Pure."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bestroute.billing.ledger import LedgerRow, Status
from bestroute.engine.decision import Decision
from bestroute.engine.plan_executor import DrawnSample
from bestroute.errors import DrawCancelledError
from bestroute.errors.redaction import describe
from bestroute.types.plans import Candidate
from bestroute.types.pool import Pool
from bestroute.types.prices import PER_MILLION, Price
from bestroute.types.protocols import Sample
from bestroute.types.query import Query
from bestroute.types.usage import Usage, estimate_tokens, sum_usage


def bill(sample: Sample, *, model: str, step: int, query: Query, pool: Pool, bills_prompt: bool = True) -> DrawnSample:
    """Return a sample with its cost; where the provider told no usage, or one of no use, it is estimated and says so.

    A failed sample without usage costs nothing: providers bill what they answered. ``bills_prompt`` says whether an
    estimate has to count the prompt, which n choices of one call share.
    """
    price = pool.prices[model]
    usage = sample.usage
    cost = 0.0 if usage is None else _cost_usd(price, usage)
    if cost is None or (usage is None and sample.error is None):
        prompt = query.prompt_tokens if bills_prompt else 0
        usage = Usage(
            prompt, estimate_tokens(sample.text) if sample.text or sample.error is None else 0, estimated=True
        )
        cost = price.cost_usd(usage)
    return DrawnSample(sample if usage is sample.usage else replace(sample, usage=usage), model, step, cost)


def _cost_usd(price: Price, usage: Usage) -> float | None:
    """Return what a usage costs; ``None`` where it is none, or its numbers are beyond all sense."""
    try:
        if type(usage) is not Usage:  # one of ours was checked when it was made
            for count in (usage.input, usage.output, usage.cached_input, usage.cache_write, usage.reasoning):
                operator.index(count)
        cost = price.cost_usd(usage)
        return cost if math.isfinite(cost) and cost >= 0 else None
    except Exception:
        return None


def joined(drawn: Sequence[DrawnSample]) -> DrawnSample:
    """Return the first of some samples with the bill of all: those that nobody asked for are paid, and left aside."""
    usages = [s.usage for s in drawn if s.usage is not None]
    sample = replace(drawn[0].sample, usage=sum_usage(usages) if usages else None)
    return replace(drawn[0], sample=sample, cost_usd=sum(s.cost_usd for s in drawn))


def cancelled(n: int, *, model: str, step: int, query: Query, pool: Pool) -> list[DrawnSample]:
    """Return the bills of one call of ``n`` samples that was cancelled: its prompt was sent, no more is known."""
    sent = Usage(query.prompt_tokens, 0, estimated=True)
    error = DrawCancelledError(f"the draw of {model!r} was called off before its answer came")
    lost = [Sample("", usage=sent if i == 0 else Usage(estimated=True), error=error) for i in range(n)]
    return [bill(sample, model=model, step=step, query=query, pool=pool) for sample in lost]


def ledger_row(
    drawn: DrawnSample,
    query: Query,
    *,
    call_id: str,
    decision: Decision | None,
    tags: Mapping[str, str],
    attempt: int,
    attempt_id: str,
    is_late: bool = False,
) -> LedgerRow:
    """Return the ledger's row of one sample; what an error says of secrets and of the query is left out.

    Args:
        drawn: What an attempt brought.
        query: What was asked.
        call_id: Of the run.
        decision: What was run.
        tags: Of the run, from its caller.
        attempt: Number of the attempt that brought it, from 1.
        attempt_id: The same for all samples of that attempt.
        is_late: Whether nobody waited for it: a sample that came was not used.
    """
    usage = drawn.usage or Usage(estimated=True)
    status: Status = "ok" if drawn.error is None else "failed"
    if isinstance(drawn.error, DrawCancelledError) or (is_late and drawn.error is None):
        status = "cancelled"
    return {
        "call_id": call_id,
        "time": time.time(),
        "model": drawn.model,
        "step": drawn.step,
        "plan": "" if decision is None else str(decision.plan),
        "reason": "" if decision is None else decision.reason,
        "tags": dict(tags),
        "kind": "draw",
        "attempt": attempt,
        "attempt_id": attempt_id,
        "status": status,
        "input_tokens": int(usage.input),
        "output_tokens": int(usage.output),
        "cached_input_tokens": int(usage.cached_input),
        "cache_write_tokens": int(usage.cache_write),
        "reasoning_tokens": int(usage.reasoning),
        "cost_usd": float(drawn.cost_usd),
        "estimated": bool(usage.estimated),
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
