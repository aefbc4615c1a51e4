"""From samples to bills: what one sample cost, its row in the ledger, and what the reference would have cost. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from bestroute.billing.call_bills import fell_back_from
from bestroute.billing.ledger import Kind, LedgerRow, Status
from bestroute.engine.decision import Decision
from bestroute.engine.prompt_cache import saved_usd
from bestroute.errors import DrawCancelledError
from bestroute.errors.redaction import describe
from bestroute.types.pool import Pool
from bestroute.types.prices import PER_MILLION
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample
from bestroute.types.usage import Usage


def ledger_row(
    drawn: DrawnSample,
    query: Query,
    *,
    call_id: str,
    run_id: str,
    decision: Decision | None,
    fell_back: Sequence[str],
    tags: Mapping[str, str],
    kind: Kind,
    attempt: int,
    attempt_id: str,
    is_late: bool = False,
) -> LedgerRow:
    """Return the ledger's row of one sample; what an error says of secrets and of the query is left out.

    Args:
        drawn: What an attempt brought.
        query: What was asked.
        call_id: Of the run.
        run_id: What the caller calls the run.
        decision: What was run.
        fell_back: Members that were to answer first, and gave nothing usable.
        tags: Of the run, from its caller.
        kind: What it was drawn for.
        attempt: Number of the attempt that brought it, from 1.
        attempt_id: The same for all samples of one request.
        is_late: Whether nobody waited for it: a sample that came was not used.
    """
    sample, error = drawn.sample, drawn.sample.error
    usage = sample.usage or Usage(estimated=True)
    status: Status = "ok" if error is None else "failed"
    if isinstance(error, DrawCancelledError) or (is_late and error is None):
        status = "cancelled"
    return {
        "call_id": call_id,
        "run_id": run_id,
        "time": time.time(),
        "model": drawn.model,
        "step": drawn.step,
        "plan": "" if decision is None else str(decision.plan),
        "reason": "; ".join(
            filter(None, ["" if decision is None else decision.reason, fell_back_from(fell_back), drawn.missing])
        ),
        "tags": dict(tags),
        "kind": kind,
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
        "error": sample.flaw if error is None else describe(error, query),
        "reference_cost_usd": 0.0,
        "latency_s": sample.latency_s,
    }


def reference_cost(query: Query, decision: Decision, samples: Sequence[DrawnSample], pool: Pool) -> tuple[float, bool]:
    """Return what one sample of the reference costs for this prompt, USD, and whether that is an estimate.

    Exact when the reference alone answered; else this prompt at its input price plus its predicted tokens. Where
    no router predicted them: the pool's ``default_output_tokens``, else the mean of the samples at hand. What its
    prompt cache would hold, had it answered the conversation so far, is billed as cached input.
    """
    reported = [s for s in samples if s.sample.usage is not None and s.sample.error is None]
    sound = [s for s in reported if s.sample.flaw is None] or reported
    usages = [usage for s in sound if (usage := s.sample.usage) is not None]
    if len(sound) == 1 and sound[0].model == pool.reference and decision.plan == pool.reference_plan:
        return sound[0].cost_usd, usages[0].estimated
    price = pool.prices[pool.reference]
    output = decision.output_tokens(pool.reference)
    if output is None:
        output = pool.endpoint(pool.reference).default_output_tokens
    if output is None:
        output = sum([u.output for u in usages]) / len(usages) if usages else 0.0
    prompt = max([query.input_tokens or 0, *[u.input for u in usages]]) or query.prompt_tokens
    cached = saved_usd(price, min(decision.warmth.reference, prompt))
    return (prompt * price.input + output * price.output) / PER_MILLION - cached, True
