"""Expected cost of plans, USD, from draws, tokens, prompt length and billing. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bestroute.types.arrays import FloatArray
from bestroute.types.plans import Plan
from bestroute.types.pool import Pool
from bestroute.types.prices import PER_MILLION


def billed_calls(
    plans: Sequence[Plan], expected_draws: FloatArray, once: Sequence[str], greedy_apart: Collection[str] = ()
) -> FloatArray:
    """Return how often each step bills the prompt, in expectation.

    A sample drawn on its own bills the whole prompt. A step without acceptance draws its ``n`` together; where
    the provider samples them in one call the prompt is billed once, with the probability that the step is
    reached at all, which is ``draws / n``; twice where the greedy draw is a request of its own.

    Args:
        plans: ``P`` plans.
        expected_draws: Shape ``(Q, P, S)``.
        once: Models that bill the prompt once for the n samples of a call.
        greedy_apart: Those of them whose greedy first draw is a separate request.

    Returns:
        Expected number of billed prompts, shape ``(Q, P, S)``.
    """
    divisor = np.ones(expected_draws.shape[1:])
    for p, plan in enumerate(plans):
        for s, step in enumerate(plan.steps):
            if step.accept is None and step.model in once:
                divisor[p, s] = step.n / min(step.n, 2 if step.model in greedy_apart else 1)
    return np.asarray(expected_draws / divisor)


def plan_costs(
    plans: Sequence[Plan],
    expected_draws: FloatArray,
    output_tokens: FloatArray,
    input_tokens: FloatArray,
    pool: Pool,
    *,
    once: Sequence[str] | None = None,
    greedy_apart: Collection[str] = (),
    saved_usd: Mapping[str, float] | None = None,
) -> FloatArray:
    """Compute the expected cost of every plan for every query.

    Args:
        plans: ``P`` plans over the pool.
        expected_draws: Samples drawn per step, shape ``(Q, P, S)``.
        output_tokens: Tokens of one sample of each model, shape ``(Q, K)``, pool order.
        input_tokens: Tokens of the whole prompt, shape ``(Q,)``.
        pool: Prices.
        once: Models that bill the prompt once for n samples; default: the pool's setting.
        greedy_apart: Those of them whose greedy first draw is a separate request.
        saved_usd: What a model's prompt cache saves per prompt, USD, by model.

    Returns:
        USD, shape ``(Q, P)``.

    Source:
        BEST-Route (arXiv:2506.22716), section on cost, with the prompt billed as the provider bills it.
    """
    if once is None:
        once = [model for model in pool.models if pool.bills(model) == "once"]
    position = {model: k for k, model in enumerate(pool.models)}
    model_of = np.zeros(expected_draws.shape[1:], dtype=np.intp)
    for p, plan in enumerate(plans):
        for s, step in enumerate(plan.steps):
            model_of[p, s] = position[step.model]
    input_price = np.array([pool.prices[m].input for m in pool.models])[model_of]
    output_price = np.array([pool.prices[m].output for m in pool.models])[model_of]
    billed = billed_calls(plans, expected_draws, once, greedy_apart)
    prompts = billed * input_price * input_tokens[:, None, None]
    if saved_usd:
        prompts -= billed * PER_MILLION * np.array([saved_usd.get(m, 0.0) for m in pool.models])[model_of]
    answers = expected_draws * output_price * output_tokens[:, model_of]
    return np.asarray((prompts + answers).sum(axis=2) / PER_MILLION)
