"""How much of a plan a call's limits allow, decided before anything is spent."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from bestroute.engine.call_context import RunContext
from bestroute.engine.decision import Decision
from bestroute.engine.plan_executor import Draw, Reserve
from bestroute.errors import BudgetError
from bestroute.types.bases import GeneratorBase
from bestroute.types.plans import Step
from bestroute.types.pool import Pool
from bestroute.types.prices import PER_MILLION
from bestroute.types.query import TOKEN_LIMITS, Query
from bestroute.types.sample import DrawnSample
from bestroute.types.settings import Settings

_PLENTY = 4
"""No sample is expected to be longer than this many times ``Settings.default_max_output_tokens``."""
USEFUL_TOKENS = 16
"""If the budget pays for fewer output tokens than this, a cheaper member is preferred (if the length of samples is
unknown)."""


class Allowance:
    """Costs of samples for one query, and which draws the budgets allow.

    Args:
        pool: Prices.
        generators: The members, which may have ``max_output_tokens``.
        settings: The assumed length if there is no limit.
        query: The prompt, with the call's own token limit.
        decision: The predicted output tokens.
    """

    def __init__(
        self,
        pool: Pool,
        generators: Mapping[str, GeneratorBase],
        settings: Settings,
        query: Query,
        decision: Decision,
    ) -> None:
        """Keep the arguments."""
        self.pool, self.generators, self.settings = pool, generators, settings
        self.query, self.decision = query, decision
        choices = query.params.get("n")
        self._choices = choices if type(choices) is int and choices > 1 else 1
        """Choices that the caller requested per sample (``n``); all are billed."""

    def sample_usd(self, model: str, output_tokens: float, drawn: Sequence[DrawnSample] = ()) -> float:
        """Return the highest cost of one sample with that many output tokens, drawn alone."""
        price = self.pool.prices[model]
        prompt = max([self.query.prompt_tokens, *(s.usage.input for s in drawn if s.usage and s.model == model)])
        highest_input = max(price.input, price.cache_write or 0.0)
        highest_output = max(price.output, price.reasoning or 0.0)
        return (prompt * highest_input + self._choices * output_tokens * highest_output) / PER_MILLION

    def limit(self, model: str) -> int | None:
        """Return the token limit of a sample, from the call or the member; ``None`` if there is none."""
        limits = [self.query.params.get(name) for name in TOKEN_LIMITS]
        limits.append(self.generators[model].max_output_tokens)
        return next((int(value) for value in limits if isinstance(value, int) and value > 0), None)

    def most_usd(self, model: str, drawn: Sequence[DrawnSample] = ()) -> float:
        """Return the most that a sample can cost, with an assumed length if it has no limit."""
        return self.sample_usd(model, self.limit(model) or self.settings.default_max_output_tokens, drawn)

    def least_usd(self, model: str, drawn: Sequence[DrawnSample] = (), *, fewest: int = 1) -> float:
        """Return what must be left in the budget before a sample is begun: what earlier ones cost, else an estimate."""
        costs = [s.cost_usd for s in drawn if s.model == model and s.is_sound]
        if costs:
            return max(costs)
        predicted = self.decision.output_tokens(model)
        predicted = self.pool.endpoint(model).default_output_tokens if predicted is None else predicted
        tokens = max(fewest, predicted or 0)
        return self.sample_usd(model, min(tokens, self.limit(model) or tokens), drawn)

    def piece(
        self, draw: Draw, call: RunContext, drawn: Sequence[DrawnSample]
    ) -> Generator[Reserve, bool, Draw | None]:
        """Return the part of a draw that may be made now, with its money reserved; ``None`` if nothing may.

        If the budget is large enough that is the whole draw. Otherwise it is one sample, limited to the tokens that
        are left, so that no reply can exceed the budget, and its actual cost decides on the next sample.
        """
        n = draw.n if call.samples_left is None else min(draw.n, call.samples_left)
        if n < 1 or call.is_late:
            return None
        if call.budgets is None:
            return draw if n == draw.n else draw._replace(n=n)
        known_limit, assumed_limit = self.limit(draw.model), self.settings.default_max_output_tokens
        assumed = [(_PLENTY * assumed_limit, None), (assumed_limit, assumed_limit)]
        for tokens, limit in [(known_limit, None)] if known_limit else assumed:
            usd = self.sample_usd(draw.model, tokens, drawn)
            ids = call.attempt_ids(n)
            if (yield Reserve(n * usd, ids)):
                return draw._replace(n=n, max_tokens=limit, reserved_usd=usd, reservations=ids)
        left = call.budgets.left_usd
        tokens = min(self._affordable_tokens(draw.model, left, drawn), known_limit or assumed_limit)
        usd = min(left, self.sample_usd(draw.model, tokens, drawn))
        ids = call.attempt_ids(1)
        if left < self.least_usd(draw.model, drawn) or tokens < 1 or not (yield Reserve(usd, ids)):
            return None
        return draw._replace(n=1, max_tokens=tokens, reserved_usd=usd, reservations=ids)

    def _affordable_tokens(self, model: str, usd: float, drawn: Sequence[DrawnSample]) -> int:
        price = self.pool.prices[model]
        per_token = self._choices * max(price.output, price.reasoning or 0.0) / PER_MILLION
        rest = usd - self.sample_usd(model, 0, drawn)
        if rest < 0:
            return 0
        return int(rest / per_token) if per_token else self.settings.default_max_output_tokens

    def check_whole_plan(self, steps: Sequence[Step], call: RunContext) -> None:
        """Refuse a plan that could exceed a budget if every draw were made.

        Raises:
            BudgetError: Names what it could cost and what is left.
        """
        assert call.budgets is not None
        most = sum(step.n * self.most_usd(step.model) for step in steps)
        if most > call.budgets.left_usd:
            raise BudgetError(
                f"the plan could cost {most:.6g} USD and {call.budgets.left_usd:.6g} USD is left; raise the budget, "
                'limit max_tokens, or let it draw less with Settings(over_budget="degrade")'
            )

    def fits(self, model: str, call: RunContext, *, fewest: int) -> bool:
        """Whether the budget allows a first sample of a model with at least ``fewest`` output tokens."""
        return call.budgets is None or self.least_usd(model, fewest=fewest) <= call.budgets.left_usd


def with_token_limit(params: Mapping[str, Any], max_tokens: int | None) -> Mapping[str, Any]:
    """Return call parameters with a token limit, under the name that the call uses already, if it does."""
    if max_tokens is None:
        return params
    name = next((name for name in TOKEN_LIMITS if isinstance(params.get(name), int)), TOKEN_LIMITS[0])
    return {**params, name: max_tokens}
