"""A decision in five lines: the plan, why, the runner-up, what would flip it, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bestroute._utils.text import one_line
from bestroute.engine.decision import Decision
from bestroute.policies.policies import NO_SAY, UNFAMILIAR, QualityPolicy, ThresholdPolicy, where_known
from bestroute.types.arrays import FloatArray
from bestroute.types.prediction import Prediction


def five_lines(decision: Decision) -> str:
    """Return a decision in five lines, and one more for each member that was left out."""
    usd = decision.estimated_cost_usd
    cost = "" if usd is None else f", {usd:.3g} USD expected"
    lines = [f"what:      {decision.plan}{cost}", f"why:       {_why(decision)}"]
    if decision.prediction is not None and decision.costs_usd is not None and decision.column is not None:
        costs = _costs_considered(decision, decision.prediction, decision.costs_usd)
        second = _runner_up(decision, decision.prediction, costs, decision.column)
        lines += [
            f"runner-up: {f'there is no other {_other(costs)}' if second is None else _in_numbers(decision, second)}",
            f"flips:     {_flips(decision, decision.prediction, costs, decision.column)}",
            f"how sure:  {_how_sure(decision, decision.prediction, decision.column, second)}{_familiar(decision)}",
        ]
    lines += [f"left out:  {model}: {why}" for model, why in decision.left_out.items()]
    return "\n".join(map(one_line, lines))


def _why(decision: Decision) -> str:
    policy, tokens = decision.policy, f"prompt of {decision.input_tokens} tokens"
    if (
        not isinstance(policy, ThresholdPolicy | QualityPolicy)
        or decision.prediction is None
        or decision.costs_usd is None
        or decision.column is None
    ):
        return f"{decision.reason} ({tokens})"
    verdicts = policy.verdicts(decision.prediction, decision.costs_usd[None, :], decision.column, decision.pool)
    return f"{verdicts[decision.column]} ({tokens})"


def _familiar(decision: Decision) -> str:
    """Say how similar the query is to the training queries, if the router knows."""
    known = decision.familiarity
    if known is None:
        return ""
    words = (
        "unlike training: its text has no say" if known < NO_SAY else "unlike training" if known < UNFAMILIAR else ""
    )
    return f"; familiarity {known:.2f}" + (f" ({words})" if words else "")


def _in_numbers(decision: Decision, column: int) -> str:
    assert decision.prediction is not None
    assert decision.costs_usd is not None
    prediction = decision.prediction
    return (
        f"{prediction.plans[column]}, {decision.costs_usd[column]:.3g} USD, expected quality "
        f"{prediction.expected_quality[0, column]:.3f}, match {prediction.match_probability[0, column]:.3f}"
    )


def _costs_considered(decision: Decision, prediction: Prediction, costs: FloatArray) -> FloatArray:
    """Return costs, with infinity for plans that are ruled out because the query is too unlike training."""
    if not isinstance(decision.policy, QualityPolicy):
        return costs
    return np.asarray(where_known(prediction, costs[None, :], decision.pool)[0])


def _runner_up(decision: Decision, prediction: Prediction, costs: FloatArray, column: int) -> int | None:
    """Return the plan that the policy would take if the chosen one were not offered."""
    others = [i for i in range(len(prediction.plans)) if i != column and np.isfinite(costs[i])]
    if not others:
        return None
    policy = decision.policy
    if isinstance(policy, QualityPolicy) and policy.price_usd is not None:
        value = prediction.expected_quality[0] * policy.price_usd - costs
        return min(others, key=lambda i: (-value[i], costs[i], i))
    reference = prediction.plans.index(decision.pool.reference_plan)
    if isinstance(policy, ThresholdPolicy):
        p = prediction.match_probability[0]
        valid = [i for i in others if prediction.plans[i].candidate is not None and p[i] >= policy.threshold]
        if valid:
            return min(valid, key=lambda i: (costs[i], i))
        if column == reference:  # nothing else reaches the threshold: the one nearest to it
            return max((i for i in others if prediction.plans[i].candidate is not None), key=lambda i: p[i])
    return reference if reference != column else min(others, key=lambda i: (costs[i], i))


def _flips(decision: Decision, prediction: Prediction, costs: FloatArray, column: int) -> str:
    """Say at which value of the policy's parameter another plan would be taken."""
    policy = decision.policy
    if isinstance(policy, QualityPolicy):
        quality = prediction.expected_quality[0]
        more_quality, more_cost = quality - quality[column], costs - costs[column]
        up = (more_quality > 0) & (more_cost > 0) & np.isfinite(costs)
        down = (more_quality < 0) & (more_cost < 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = more_cost / more_quality
        sides = [_side(prediction, ratio, up, np.argmin, "above"), _side(prediction, ratio, down, np.argmax, "below")]
        return "; ".join(s for s in sides if s) or f"no price of quality: no {_other(costs)} is better or cheaper"
    if isinstance(policy, ThresholdPolicy):
        return _threshold_flips(prediction, costs, column, policy.threshold)
    return "only another policy"


def _other(costs: FloatArray) -> str:
    return "plan" if np.isfinite(costs).all() else "plan that waits for evidence"


def _side(prediction: Prediction, ratio: FloatArray, which: FloatArray, best: Callable[..., object], side: str) -> str:
    rows = np.flatnonzero(which)
    if not len(rows):
        return ""
    i = int(rows[best(ratio[rows])])  # type: ignore[call-overload]
    return f"to {prediction.plans[i]} at a price {side} {ratio[i]:.3g} USD a unit of quality"


def _threshold_flips(prediction: Prediction, costs: FloatArray, column: int, threshold: float) -> str:
    p = prediction.match_probability[0]
    cheaper = [i for i, plan in enumerate(prediction.plans) if plan.candidate is not None and costs[i] < costs[column]]
    says = []
    if p[column] >= threshold and p[column] < 1:
        says.append(f"away at a threshold above {p[column]:.3f}")
    if cheaper:
        nearest = max(cheaper, key=lambda i: p[i])
        says.append(f"to {prediction.plans[nearest]} at a threshold of {p[nearest]:.3f} or less")
    return "; ".join(says) or "no threshold: nothing is cheaper"


def _how_sure(decision: Decision, prediction: Prediction, column: int, second: int | None) -> str:
    p, quality = prediction.match_probability[0, column], prediction.expected_quality[0]
    reference = prediction.plans.index(decision.pool.reference_plan)
    if column == reference:
        sure = f"it is the reference, expected quality {quality[column]:.3f}"
    else:
        sure = (
            f"{p:.0%} to be as good as {decision.pool.reference}, expected quality {quality[column]:.3f} "
            f"beside its {quality[reference]:.3f}"
        )
    policy = decision.policy
    if second is not None and isinstance(policy, QualityPolicy) and policy.price_usd and decision.costs_usd is not None:
        lead = quality[column] - quality[second]
        lead += (decision.costs_usd[second] - decision.costs_usd[column]) / policy.price_usd
        sure += f"; ahead of the runner-up by what {lead:.3f} of quality is worth"
    return sure
