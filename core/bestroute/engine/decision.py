"""A decision: the plan chosen for one query, and why; making it draws nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bestroute._utils.text import one_line
from bestroute.engine.prompt_cache import NOTHING_CACHED, CachedTokens
from bestroute.engine.trial import Trial
from bestroute.types.arrays import FloatArray
from bestroute.types.bases import PolicyBase, RewardModelBase, completed
from bestroute.types.plans import Plan
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction
from bestroute.types.protocols import Policy

logger = logging.getLogger("bestroute.engine")


@dataclass(frozen=True, eq=False)
class Decision:
    """The plan chosen for a query.

    ``prediction`` (for this query only), ``costs_usd`` (the expected cost of each plan in it), ``column`` (the index
    of the chosen plan) and ``policy`` are ``None`` if no router predicted anything.
    """

    plan: Plan
    reason: str
    pool: Pool
    input_tokens: int
    prediction: Prediction | None = None
    costs_usd: FloatArray | None = None
    column: int | None = None
    policy: Policy | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    """Models that lack what the query needs, or that the call does not allow, each with the reason."""
    is_forced: bool = False
    """Whether the caller named the model strictly, so that no other may answer in its place."""
    reward_model: RewardModelBase | None = None
    """Scores the samples instead of the engine's reward model, if set."""
    trial: Trial | None = None
    """Without router and reward model: which cheaper members are tried, so that the outcome can be learnt from."""
    warmth: CachedTokens = NOTHING_CACHED
    """How much of the conversation is in the members' prompt caches."""
    shadow: Decision | None = None
    """With ``mode="shadow"``: the decision that the reference answers instead of."""

    @property
    def model(self) -> str:
        """The model of the plan's first step."""
        return self.plan.steps[0].model

    @property
    def n(self) -> int:
        """The most samples that the plan draws."""
        return sum(step.n for step in self.plan.steps)

    @property
    def match_probability(self) -> float | None:
        """Predicted probability that the chosen plan is as good as the reference."""
        if self.prediction is None or self.column is None:
            return None
        return float(self.prediction.match_probability[0, self.column])

    @property
    def expected_quality(self) -> float | None:
        """Predicted quality of the chosen plan."""
        if self.prediction is None or self.column is None:
            return None
        return float(self.prediction.expected_quality[0, self.column])

    @property
    def estimated_cost_usd(self) -> float | None:
        """Expected cost of the chosen plan."""
        return None if self.costs_usd is None or self.column is None else float(self.costs_usd[self.column])

    @property
    def familiarity(self) -> float | None:
        """Share of training queries that are as unlike the others as this query; ``None`` without a trained router."""
        if self.prediction is None or self.prediction.familiarity is None:
            return None
        return float(self.prediction.familiarity[0])

    def output_tokens(self, model: str) -> float | None:
        """Predicted output tokens of one sample of a model."""
        if self.prediction is None:
            return None
        return float(self.prediction.output_tokens[0, self.pool.models.index(model)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: the chosen plan, why, and every plan with its numbers."""
        return {
            "plan": self.plan.to_json(),
            "model": self.model,
            "n": self.n,
            "reason": self.reason,
            "input_tokens": self.input_tokens,
            "familiarity": self.familiarity,
            "match_probability": self.match_probability,
            "expected_quality": self.expected_quality,
            "estimated_cost_usd": self.estimated_cost_usd,
            "policy": None if self.policy is None else str(self.policy),
            "left_out": dict(self.left_out),
            "shadow": None
            if self.shadow is None
            else {"plan": self.shadow.plan.to_json(), "reason": self.shadow.reason},
            "plans": [
                {
                    "plan": plan.to_json(),
                    "match_probability": float(self.prediction.match_probability[0, i]),
                    "expected_quality": float(self.prediction.expected_quality[0, i]),
                    "estimated_cost_usd": float(self.costs_usd[i]),
                }
                for i, plan in enumerate(self.prediction.plans)
            ]
            if self.prediction is not None and self.costs_usd is not None
            else [],
        }

    def explain(self) -> str:
        """Return an explanation: every plan's numbers, why it was or was not chosen, and what would change that."""
        lines = [f"{self.plan}: {self.reason} (prompt of {self.input_tokens} tokens)"]
        if self.familiarity is not None:
            lines.append(
                f"  familiarity {self.familiarity:.2f}: the share of training queries, held out, as unlike the others"
            )
        if self.prediction is not None and self.costs_usd is not None and self.column is not None:
            names = [one_line(str(plan)) for plan in self.prediction.plans]
            width = max(map(len, names))
            verdicts = self._verdicts(self.prediction, self.costs_usd, self.column)
            lines.append(f"  {'plan':{width}}  match  quality  cost in USD")
            for i in sorted(range(len(names)), key=lambda i: (self.costs_usd[i], i)):  # type: ignore[index]
                p, q = self.prediction.match_probability[0, i], self.prediction.expected_quality[0, i]
                mark = "*" if i == self.column else " "
                lines.append(
                    f"{mark} {names[i]:{width}}  {p:5.3f}  {q:7.3f}  {self.costs_usd[i]:11.3g}  {verdicts[i]}".rstrip()
                )
        lines += [f"  {model} was left out: {why}" for model, why in self.left_out.items()]
        return "\n".join(map(one_line, lines))

    def _verdicts(self, prediction: Prediction, costs_usd: FloatArray, column: int) -> Sequence[str]:
        """Return the policy's reason for each plan; if it fails to give them, plain numbers."""
        if self.policy is None:
            return [""] * len(prediction.plans)
        policy, costs = completed(self.policy, PolicyBase), costs_usd[None, :]
        try:
            reasons = policy.verdicts(prediction, costs, column, self.pool)
            verdicts = [str(verdict) for verdict in islice(reasons, len(prediction.plans) + 1)]
        except Exception:  # a policy of somebody else's; its failure must not cost the numbers
            verdicts = []
        if len(verdicts) != len(prediction.plans):
            logger.warning("%s.verdicts gave no reason for each plan", type(self.policy).__name__, exc_info=True)
            return PolicyBase.verdicts(policy, prediction, costs, column, self.pool)
        return verdicts
