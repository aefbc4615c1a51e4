"""Format a decision as headers of its answer. Pure functions."""

from __future__ import annotations

from bestroute.engine.decision import Decision
from bestroute.engine.result import Result


def headers_of_decision(decision: Decision, call_id: str) -> dict[str, str]:
    """Return the headers known before anything is drawn, for streams."""
    headers = {
        "x-bestroute-call-id": call_id,
        "x-bestroute-model": decision.model,
        "x-bestroute-plan": str(decision.plan),
        "x-bestroute-reason": decision.reason,
    }
    if decision.familiarity is not None:
        headers["x-bestroute-familiarity"] = f"{decision.familiarity:.3f}"
    return headers


def headers_of_result(result: Result) -> dict[str, str]:
    """Return the headers of a complete answer: its model and cost."""
    return {
        **headers_of_decision(result.decision, result.call_id),
        "x-bestroute-model": result.model,
        "x-bestroute-n": str(len(result.samples)),
        "x-bestroute-cost-usd": f"{result.cost_usd:.10g}",
        "x-bestroute-reference-cost-usd": f"{result.reference_cost_usd:.10g}",
    }
