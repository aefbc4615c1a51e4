"""Deciding: which plan one query gets. No model is called."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from bestroute._utils.interruptions import is_interruption
from bestroute._utils.text import brief
from bestroute.billing.expected_cost import plan_costs
from bestroute.engine.decision import Decision
from bestroute.engine.draw_wishes import drawn_apart
from bestroute.engine.prompt_cache import NOTHING_CACHED, CachedTokens
from bestroute.engine.router_arguments import as_policy, as_router, policy_argument
from bestroute.engine.trial import NO_ROUTER
from bestroute.errors import BestRouteError, ConfigError, named
from bestroute.errors.redaction import describe
from bestroute.policies.policies import QualityPolicy, reference_column
from bestroute.reward_models.untrained import is_calibrated
from bestroute.types.arrays import FloatArray
from bestroute.types.bases import (
    GeneratorBase,
    PolicyBase,
    RewardModelBase,
    RouterBase,
    completed,
    not_calibrated,
)
from bestroute.types.plans import Candidate, Plan, Step, as_plan, find_plan
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction
from bestroute.types.protocols import Policy, RewardModel, Router
from bestroute.types.query import Query
from bestroute.types.settings import Settings

if TYPE_CHECKING:
    from bestroute.engine.day_one import DayOne

Default = Literal["plan", "reference"]
"""What is done where there is neither a router nor a reward model: what ``DayOne`` plans, or ask the reference."""
WINDOW = QualityPolicy.window
"""Decisions that steering looks back on."""
logger = logging.getLogger("bestroute.engine")
_NOT_ALLOWED = "the call does not allow it"
REFERENCE_ONLY = (
    "no router: the reference answers every query, which saves nothing; give router= (a folder of `bestroute train`, "
    "or a function that returns a pool name), or a reward_model that needs no training (MajorityVote(), Verifier(fn))"
)


class Decider:
    """Applies a router and its policy, or the rules where there is none; see ``BestRoute`` for the arguments.

    Raises:
        ConfigError: If parts do not fit together.
        NotTunedError: If ``max_drop`` is asked of a router that was not tuned for it.
    """

    def __init__(
        self,
        pool: Pool,
        generators: Mapping[str, GeneratorBase],
        router: Router | str | Path | Callable[[Query], object] | None,
        reward_model: RewardModel | None,
        policy: Policy | str | None,
        *,
        threshold: float | None,
        max_drop: float | None,
        follow: bool = False,
        window: int = WINDOW,
        settings: Settings,
        default: Default = "plan",
    ) -> None:
        """Check every plan that is known before any call."""
        if default not in get_args(Default):
            raise ConfigError(f"default must be one of {named(get_args(Default))}, got {brief(default)}")
        self.pool, self.generators, self.settings = pool, generators, settings
        self.reward_model = None if reward_model is None else completed(reward_model, RewardModelBase)
        self.router = as_router(router)
        self._predictor = completed(self.router, RouterBase) if isinstance(self.router, Router) else None
        if self._predictor is not None:
            self._predictor.check_pool(pool)
        given = policy_argument(policy, threshold, max_drop, follow, window)
        self.policy = as_policy(self._predictor, self.router, pool, *given, reward_model)
        self._is_policy_light = self.policy is None or completed(self.policy, PolicyBase).is_light
        self._untrained = self._untrained_plan() if self.router is None else (pool.reference_plan, "")
        self.day_one: DayOne | None = None
        if self._untrained[1] == REFERENCE_ONLY and len(pool.models) > 1:
            if default == "plan":
                from bestroute.engine.day_one import DayOne

                self.day_one = DayOne(pool, generators)
            logger.warning("%s", REFERENCE_ONLY if self.day_one is None else NO_ROUTER)
        for plan in self._known_plans():
            self._check_plan(plan)

    @property
    def is_quick(self) -> bool:
        """Whether a decision is a matter of a millisecond, as the router and the policy say."""
        if self.router is None:
            return True
        return self._predictor is not None and bool(self._predictor.is_light) and self._is_policy_light

    def route(
        self,
        query: Query,
        *,
        model: str | None = None,
        n: int | None = None,
        reason: str | None = None,
        allow: Sequence[str] | None = None,
        cached_tokens: CachedTokens = NOTHING_CACHED,
        kept: str | None = None,
    ) -> Decision:
        """Decide on one query; ``model`` and ``n`` set the choice.

        With ``reason`` it is a wish, with its reason, that may give way; without, ``model`` is the caller's order.
        ``allow`` names the only members that may be asked. ``cached_tokens`` is what their caches hold of the prompt.
        ``kept`` is the member that plans have to begin with, where there are any that do.

        Raises:
            ConfigError: If a model is unknown or not allowed, or a router's answer cannot be run.
        """
        for name in (*(allow or ()), *([] if model is None else [model])):
            self.pool.check_model(name)
        left_out = self._left_out(query, allow)
        if model is not None and allow is not None and model not in allow:
            if reason is None:
                raise ConfigError(f"model={model!r} is not among the members this call allows, {named(allow)}")
            model = None
        if model is not None and n is not None and allow is None and self.router is None:  # nothing is left to decide
            return Decision(
                self._check_plan(Plan.of(Candidate(model, n))),
                reason or f"forced by the call: {_orders(model, n)}",
                self.pool,
                query.prompt_tokens,
                left_out=left_out,
                is_forced=reason is None,
            )
        decision = self._decide(query, left_out, cached_tokens, kept)
        if model is None and n is None:
            return decision
        return self._force(decision, model, n, reason)

    def route_all(self, queries: Sequence[Query]) -> list[Decision]:
        """Decide on many queries, each as ``route`` does: the router reads them together."""
        shared = self._shared(queries) if len(queries) > 1 and self._predictor is not None else None
        if shared is None:  # there is nothing to share, or something is the matter: each alone says what
            return [self.route(query) for query in queries]
        prediction, left_out, costs, picked = shared
        return [
            self._decided(prediction.row(i), costs[i], column, query, left_out[i])
            for i, (query, column) in enumerate(zip(queries, picked, strict=True))
        ]

    def _shared(
        self, queries: Sequence[Query]
    ) -> tuple[Prediction, list[dict[str, str]], FloatArray, list[int]] | None:
        """Return predictions, whom each query leaves out, costs and the plans taken; ``None`` where that fails.

        Queries that leave somebody out, or whose greedy draw is billed apart, are chosen for with others alike.
        """
        assert self._predictor is not None
        assert self.policy is not None
        try:
            prediction = self._predictor.predict(list(queries))
            left_out = [self._left_out(query, None) for query in queries]
            alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
            for i, query in enumerate(queries):
                alike.setdefault((tuple(left_out[i]), tuple(self._apart(query))), []).append(i)
            costs = np.empty((len(queries), len(prediction.plans)))
            picked = [0] * len(queries)
            for (without, apart), rows in alike.items():
                group = prediction if len(rows) == len(queries) else prediction.rows(rows)
                tokens = np.array([float(queries[i].prompt_tokens) for i in rows])
                costs[rows] = self._costs(group, tokens, apart)
                able = _able(prediction, dict.fromkeys(without, ""))
                if find_plan(prediction.plans, self.pool.reference_plan) not in able:
                    return None  # what then answers is a matter of each query
                offered, usd = group, costs[rows]
                if without:
                    offered, usd = group.take(able), usd[:, able]
                for i, column in zip(rows, np.asarray(self.policy.choose(offered, usd, self.pool)), strict=True):
                    picked[i] = able[_column(column, len(able))]
        except BaseException as error:  # somebody else's router or policy
            if is_interruption(error):
                raise
            return None
        return prediction, left_out, costs, picked

    def reference_alone(
        self, query: Query, reason: str, *, n: int | None = None, allow: Sequence[str] | None = None
    ) -> Decision:
        """Return the decision that the reference answers as it would alone: nothing takes its place."""
        plan = self.pool.reference_plan if n is None else self._check_plan(Plan.of(Candidate(self.pool.reference, n)))
        left_out = self._left_out(query, allow)
        return Decision(plan, reason, self.pool, query.prompt_tokens, left_out=left_out, is_forced=True)

    def after(
        self, decision: Decision, failed: Mapping[str, str], query: Query, *, wants_reference: bool, any_able: bool
    ) -> Decision | None:
        """Return what takes the place of a decision whose plan gave nothing.

        The router's next plan by the policy, without the members that failed; then the reference; where that
        failed too, the best plan that is left. Where no router predicts: the reference.

        Args:
            decision: What failed.
            failed: Members that must not be asked again, each with the reason.
            query: What is asked.
            wants_reference: Whether another plan was tried already, so that it is the reference's turn.
            any_able: Whether it is only this prompt that failed, so that any member that can take it may answer.
        """
        left_out = {**decision.left_out, **failed}
        reference = self.pool.reference
        if decision.prediction is not None and decision.costs_usd is not None:
            able = _able(decision.prediction, left_out)
            if not able:
                return None
            if wants_reference and self.pool.reference_plan in (decision.prediction.plans[i] for i in able):
                picked = decision.prediction.plans.index(self.pool.reference_plan)
            else:
                picked, _ = self._pick(decision.prediction, decision.costs_usd, able, query)
            return replace(
                decision,
                plan=decision.prediction.plans[picked],
                prediction=decision.prediction.take(able),
                costs_usd=decision.costs_usd[able],
                column=able.index(picked),
            )
        decision = replace(decision, trial=None)
        if reference not in left_out:
            return replace(decision, plan=self.pool.reference_plan)
        able_models = [m for m in reversed(self.pool.cheaper_models) if m not in left_out]
        if any_able and able_models:
            return replace(decision, plan=Plan.of(Candidate(able_models[0])))
        return None

    def _decide(
        self, query: Query, left_out: dict[str, str], cached_tokens: CachedTokens, kept: str | None
    ) -> Decision:
        tokens = query.prompt_tokens
        if self.router is None:
            if self.day_one is not None:
                plan, reason, trial = self.day_one.plan(query, left_out)
                plan, scorer = self._usable(plan, left_out), None if trial is None else trial.reward_model
                return Decision(plan, reason, self.pool, tokens, left_out=left_out, reward_model=scorer, trial=trial)
            plan, reason = self._untrained
            return Decision(self._usable(plan, left_out), reason, self.pool, tokens, left_out=left_out)
        try:
            routed = self.router(query) if self._predictor is None else self._predictor.predict([query])
        except BaseException as error:  # a router of somebody else's; its failure must not cost the answer
            if isinstance(error, BestRouteError) or is_interruption(error):
                raise
            reason = f"the router failed ({describe(error, query)}), so the reference"
            logger.warning(reason)
            plan = self._usable(self.pool.reference_plan, left_out)
            return Decision(plan, reason, self.pool, tokens, left_out=left_out)
        if self._predictor is None:
            return self._by_function(as_plan(routed), tokens, left_out)
        if not isinstance(routed, Prediction):
            raise ConfigError(f"router.predict must return a Prediction, got {type(routed).__name__}")
        prediction = routed
        for plan in () if self._predictor.plans else prediction.plans:
            self._check_plan(plan)
        reference = reference_column(prediction, self.pool)
        able = _able(prediction, left_out)
        if not able and _NOT_ALLOWED in left_out.values():
            raise ConfigError(f"no plan of the router can be run: {_in_a_row(left_out)}")
        able = able or [reference]  # the fallback stays, and says itself why it cannot
        saved = {m: cached_tokens.saved_usd(self.pool.prices[m], m, tokens) for m in cached_tokens.cached}
        costs = self._costs(prediction, np.array([float(tokens)]), self._apart(query), saved)[0]
        of_kept = [i for i in able if prediction.plans[i].steps[0].model == kept]
        picked, trouble = self._pick(prediction, costs, of_kept or able, query)
        stays = f", the conversation stays with {kept!r}" if of_kept else ""
        return self._decided(prediction, costs, picked, query, left_out, f"{trouble or self.policy}{stays}", able)

    def _decided(
        self,
        prediction: Prediction,
        costs: FloatArray,
        picked: int,
        query: Query,
        left_out: dict[str, str],
        why: str | None = None,
        able: Sequence[int] | None = None,
    ) -> Decision:
        """Return a decision over the plans that are able, with its reason."""
        able = able or _able(prediction, left_out)
        if len(able) < len(prediction.plans):
            prediction, costs, picked = prediction.take(able), costs[able], able.index(picked)
        return Decision(
            prediction.plans[picked],
            f"{why or self.policy}: {_in_words(prediction, costs, picked, self.pool)}",
            self.pool,
            query.prompt_tokens,
            prediction,
            costs,
            picked,
            self.policy,
            left_out,
        )

    def _by_function(self, plan: Plan, tokens: int, left_out: dict[str, str]) -> Decision:
        """Return the decision that a router function made."""
        self._check_plan(plan)
        if unable := [m for m in plan.models if m in left_out and left_out[m] != _NOT_ALLOWED]:
            raise ConfigError(f"the router chose {unable[0]!r}, but {left_out[unable[0]]}")
        usable = self._usable(plan, left_out)
        reason = "chosen by the router function"
        if usable != plan:
            reason += f" ({plan}), without the members that the call does not allow"
        return Decision(usable, reason, self.pool, tokens, left_out=left_out)

    def _pick(
        self, prediction: Prediction, costs: FloatArray, able: Sequence[int], query: Query
    ) -> tuple[int, str | None]:
        """Return the column that the policy takes among those able, and what was the matter with the policy, if any.

        If it wants a reference that is not able, or fails where the reference is not, it is the best.
        """
        quality = prediction.expected_quality[0]
        best = min(able, key=lambda i: (-quality[i], costs[i], i))
        if self.pool.reference_plan not in prediction.plans:  # it was left out before
            return best, None
        reference = prediction.plans.index(self.pool.reference_plan)
        columns = [*able] if reference in able else [*able, reference]
        offered, offered_costs = prediction, costs
        if len(columns) < len(costs):
            offered, offered_costs = prediction.take(columns), costs[columns]
        try:
            chosen = self.policy.choose(offered, offered_costs[None, :], self.pool)  # type: ignore[union-attr]
            place = _column(np.asarray(chosen)[0], len(offered.plans))
        except BaseException as error:  # a policy of somebody else's; its failure must not cost the answer
            if isinstance(error, BestRouteError) or is_interruption(error):
                raise
            trouble = f"the policy failed ({describe(error, query)}), so the reference"
            logger.warning(trouble)
            return (reference if reference in able else best), trouble
        picked = columns[place] if offered is not prediction else place
        return (picked if picked in able else best), None

    def _usable(self, plan: Plan, left_out: Mapping[str, str]) -> Plan:
        """Return the plan without the members left out; if none is left, the most expensive allowed one."""
        steps = tuple(s for s in plan.steps if s.model not in left_out)
        if steps:
            return Plan(steps)
        if _NOT_ALLOWED not in left_out.values():
            return plan  # what cannot be done says so itself
        most_expensive_first = (self.pool.reference, *reversed(self.pool.cheaper_models))
        able = [m for m in most_expensive_first if m not in left_out]
        if not able:
            raise ConfigError(f"no member can be asked: {_in_a_row(left_out)}")
        return Plan.of(Candidate(able[0]))

    def _force(self, decision: Decision, model: str | None, n: int | None, reason: str | None) -> Decision:
        """Replace the decided model, or its n, by what the call says."""
        decided = decision.plan.steps[0] if len(decision.plan.steps) == 1 else Step(decision.model)
        if decision.trial is not None:
            decided = self.pool.reference_plan.steps[0]
        candidate = Candidate(model or decided.model, decided.n if n is None else n)
        if self.reward_model is None and n is None:
            candidate = Candidate(candidate.model, 1)
        plan = self._check_plan(Plan.of(candidate))
        column = None
        if decision.prediction is not None and plan in decision.prediction.plans:
            column = decision.prediction.plans.index(plan)
        return replace(
            decision,
            plan=plan,
            reason=reason or f"forced by the call: {_orders(model, n)}",
            column=column,
            policy=None,
            reward_model=None,
            trial=None,
            is_forced=model is not None and reason is None,
        )

    def _untrained_plan(self) -> tuple[Plan, str]:
        """Return the plan where there is no router, and why; a step that nothing could end is not in it."""
        reward = self.reward_model
        if reward is None or reward.needs_training or reward.default_accept is None:
            return self.pool.reference_plan, REFERENCE_ONLY
        accept = reward.default_accept
        n = reward.least_samples(accept)
        if n is None or n > self.pool.max_n:
            why = f"no router, and {type(reward).__name__} accepts nothing before {n} samples of one model"
            return self.pool.reference_plan, f"{why}, more than max_n, so the reference"
        cheaper = [Step(model, n if i == 0 else 1, accept) for i, model in enumerate(self.pool.cheaper_models)]
        draws = "one draw of each cheaper model"
        if n > 1:
            draws = f"the cheapest model until {n} samples agree, then one draw of each other cheaper model"
        return (
            Plan((*cheaper, Step(self.pool.reference))),
            f"no router: {draws} until {type(reward).__name__} accepts, then the reference",
        )

    def _left_out(self, query: Query, allow: Sequence[str] | None) -> dict[str, str]:
        """Ask each generator whether it can do what the query needs; leave out whom the call does not allow."""
        reasons = {}
        for model, generator in self.generators.items():
            if allow is not None and model not in allow:
                reasons[model] = _NOT_ALLOWED
                continue
            if reason := generator.lacks(query):
                reasons[model] = reason
        return reasons

    def _apart(self, query: Query) -> list[str]:
        """Return the members that bill the prompt once more for the greedy draw among several of a query."""
        return drawn_apart(self._once, self.generators, query, self.settings)

    def _costs(
        self,
        prediction: Prediction,
        input_tokens: FloatArray,
        apart: Collection[str],
        saved_usd: Mapping[str, float] | None = None,
    ) -> FloatArray:
        return plan_costs(
            prediction.plans,
            prediction.expected_draws,
            prediction.output_tokens,
            input_tokens,
            self.pool,
            once=self._once,
            greedy_apart=apart,
            saved_usd=saved_usd,
        )

    @property
    def _once(self) -> list[str]:
        """Members that draw several samples by one call and bill the prompt once for it."""
        return [m for m in self.pool.models if self.pool.bills(m) == "once" and self.generators[m].native_n]

    def _known_plans(self) -> Sequence[Plan]:
        """Plans that may come up and are known before any call."""
        if self.router is None:
            return [self._untrained[0]]
        return () if self._predictor is None else self._predictor.plans

    def _check_plan(self, plan: Plan) -> Plan:
        self.pool.check_plan(plan)
        if plan.is_scored and self.reward_model is None:
            raise ConfigError(
                f"the plan '{plan}' has to choose among samples and there is no reward_model; "
                "give one (MajorityVote(), Verifier(fn), a function), or use n=1 only"
            )
        if plan.has_accept and self.reward_model is not None and not is_calibrated(self.reward_model):
            raise ConfigError(not_calibrated(self.reward_model))
        return plan


def _in_words(prediction: Prediction, costs: Any, column: int, pool: Pool) -> str:
    p, q = prediction.match_probability[0, column], prediction.expected_quality[0, column]
    return f"match probability {p:.3f}, expected quality {q:.3f}, {costs[column]:.3g} USD"


def _column(chosen: Any, plans: int) -> int:
    """Return what a policy chose as the index of a plan.

    Raises:
        IndexError: If there is no such plan.
    """
    place = operator.index(chosen)
    if not 0 <= place < plans:
        raise IndexError(f"{place} is the index of no plan; there are {plans}")
    return place


def _able(prediction: Prediction, left_out: Mapping[str, str]) -> list[int]:
    """Return the columns of the plans whose members are all there."""
    if not left_out:
        return list(range(len(prediction.plans)))
    return [i for i, plan in enumerate(prediction.plans) if not any(m in left_out for m in plan.models)]


def _orders(model: str | None, n: int | None) -> str:
    """Return what a call forces, in words."""
    if model is None or n is None:
        return f"n={n!r}" if model is None else f"model={model!r}"
    return f"model={model!r} and n={n!r}"


def _in_a_row(left_out: Mapping[str, str]) -> str:
    return ", ".join(f"{model!r}: {why}" for model, why in left_out.items())
