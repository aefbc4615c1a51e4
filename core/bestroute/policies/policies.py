"""Policies: choose one plan for each query from predictions and expected costs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from bestroute._utils.amounts import is_amount, is_number
from bestroute._utils.renamed import renamed_field
from bestroute._utils.text import brief
from bestroute.errors import ConfigError, NotTunedError
from bestroute.monitoring.audits import Audit
from bestroute.monitoring.steering import Steering, best_value
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.bases import PolicyBase, RouterBase, completed
from bestroute.types.plans import find_plan
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction
from bestroute.types.settings import check_count

if TYPE_CHECKING:
    from bestroute.policies.promises import Kind, Promise

logger = logging.getLogger(__name__)

UNFAMILIAR, NO_SAY = 0.05, 0.01
"""Below the first familiarity a query is unlike those of training (of those like them one in twenty is), and its
predictions are drawn towards the training means; below the second its text has no say."""


def check_threshold(threshold: float) -> float:
    """Check and return a threshold, a probability.

    Raises:
        ConfigError: If it is not a number in [0, 1].
    """
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must be in [0, 1], a match probability, got {brief(threshold)}")
    return float(threshold)


def reference_column(prediction: Prediction, pool: Pool) -> int:
    """Return the index of the plan with one sample of the reference.

    Raises:
        ConfigError: If the router does not offer it.
    """
    column = find_plan(prediction.plans, pool.reference_plan)
    if column is None:
        raise ConfigError(
            f"the router must offer the plan '{pool.reference_plan}', the fallback of every decision; "
            "add it to its plans"
        )
    return column


def where_known(prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> FloatArray:
    """Return costs, infinite where a query is too unlike those of training for its text to say anything of a plan.

    What is left to it are the plans that the reference answers unless draws show enough, and the reference.
    """
    if prediction.familiarity is None or (prediction.familiarity >= NO_SAY).all():
        return cost_usd
    if pool.reference_plan not in prediction.plans:  # it cannot be asked, so something else has to answer
        return cost_usd
    own = pool.reference_plan
    blind = np.array([plan != own and not plan.falls_back_on(pool.reference) for plan in prediction.plans])
    return np.where((prediction.familiarity < NO_SAY)[:, None] & blind, np.inf, cost_usd)


@dataclass(frozen=True)
class ThresholdPolicy(PolicyBase):
    """The cheapest candidate whose match probability reaches the threshold, else one sample of the reference.

    Plans that are more than a candidate are not considered. Ties in cost go to the smaller n, then to pool order.

    Source:
        BEST-Route (arXiv:2506.22716), Algorithm 1.
    """

    threshold: float

    is_light = True

    def __post_init__(self) -> None:
        """Check the range."""
        check_threshold(self.threshold)

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query; see ``Policy.choose``."""
        reference = reference_column(prediction, pool)
        order = {model: k for k, model in enumerate(pool.models)}
        candidates = [(plan.candidate, i) for i, plan in enumerate(prediction.plans)]
        columns = [i for _, _, i in sorted((c.n, order[c.model], i) for c, i in candidates if c is not None)]
        valid = prediction.match_probability[:, columns] >= self.threshold
        cost = np.where(valid, cost_usd[:, columns], np.inf)
        cheapest = np.asarray(columns, dtype=np.intp)[np.argmin(cost, axis=1)]
        return np.where(valid.any(axis=1), cheapest, reference)

    def verdicts(self, prediction: Prediction, cost_usd: FloatArray, chosen: int, pool: Pool) -> list[str]:
        """Explain for each plan of a single query why it was chosen or not, and what would change that."""
        p = prediction.match_probability[0]
        says = []
        for i, plan in enumerate(prediction.plans):
            if plan.candidate is None:
                says.append("not a candidate; Algorithm 1 considers only those")
            elif i == chosen and p[i] >= self.threshold:
                says.append(f"taken: the cheapest that reaches {self.threshold:g}; out at a threshold above {p[i]:.3f}")
            elif i == chosen:
                says.append(f"taken: nothing reaches {self.threshold:g}, so the reference answers")
            elif p[i] < self.threshold:
                says.append(f"below the threshold {self.threshold:g}; valid at {p[i]:.3f} or less")
            else:
                says.append(f"reaches {self.threshold:g}, but costs more; taken if it were the cheapest")
        return says

    def __str__(self) -> str:
        """Render as ``threshold 0.8``."""
        return f"threshold {self.threshold:g}"


@renamed_field("because", "reason")
@dataclass(frozen=True)
class QualityPolicy(PolicyBase):
    """The plan with the largest expected quality, valued at ``price_usd`` per unit, minus cost.

    Args:
        price_usd: The value of one unit of quality for one query, USD, >= 0. Ties go to the cheaper plan, then
            to the earlier.
        max_drop: Instead of a price: a promised relative drop in quality, looked up in a tuned router; with
            ``follow`` a target that the price is steered to by audits of live calls, which promises nothing.
        reason: Where the price comes from, for the reasons of decisions.
        follow: Whether the price is adjusted to audits, starting from the one that training froze.
        window: Number of latest decisions that the adjustment takes into account.
    """

    price_usd: float | None = None
    max_drop: float | None = None
    reason: str | None = None
    follow: bool = False
    window: int = 200
    steering: Steering | None = field(default=None, compare=False, repr=False)
    """Holds the price once the policy is resolved to follow audits."""

    is_light = True

    def __post_init__(self) -> None:
        """Check that exactly one of price and drop is given, and its range."""
        if (self.price_usd is None) == (self.max_drop is None):
            raise ConfigError("QualityPolicy: give either price_usd or max_drop")
        price, drop = self.price_usd, self.max_drop
        if price is not None and not is_amount(price):
            raise ConfigError(f"QualityPolicy: price_usd must be >= 0 USD a unit of quality, got {brief(price)}")
        if drop is not None and not (is_number(drop) and 0 <= drop < 1):
            raise ConfigError(f"QualityPolicy: max_drop must be in [0, 1), a relative drop, got {brief(drop)}")
        if self.follow and self.max_drop is None:
            raise ConfigError("QualityPolicy: follow=True needs max_drop, the drop that the price is steered to")
        check_count(self.window, "QualityPolicy: window")

    def resolve(self, router: object, pool: Pool | None = None, reward_model: object = None) -> QualityPolicy:
        """Return the policy with the price tuned for its promise, or one that follows audits.

        Args:
            router: The router in use.
            pool: The pool it is used with; default: the router's.
            reward_model: The reward model in use. At other prices, or by another reward, it chooses otherwise than
                when the promise was shown: that is logged as a warning and told in every decision.

        Raises:
            NotTunedError: If it was never tuned for it; names the command.
        """
        if self.max_drop is None:
            return self
        if self.follow:
            return (
                self
                if self.steering is not None
                else replace(self, steering=_steering(router, self.max_drop, self.window))
            )
        promise = _promised(router, "max_drop", self.max_drop)
        reason = f"{promise}"
        if changed := _changes(promise, pool, reward_model):
            reason = f"{promise}, but shown {changed}, so no promise"
            logger.warning("max_drop %g: %s; train and tune the router as it is used", self.max_drop, reason)
        return QualityPolicy(promise.price_usd, reason=reason)

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query; see ``Policy.choose``."""
        cost_usd = where_known(prediction, cost_usd, pool)
        if self.steering is not None:
            return self.steering.choose(prediction.expected_quality, cost_usd, reference_column(prediction, pool))
        return best_value(prediction.expected_quality, cost_usd, self._price())

    def verdicts(self, prediction: Prediction, cost_usd: FloatArray, chosen: int, pool: Pool) -> list[str]:
        """Explain for each plan of a single query why it was chosen or not, and what would change that."""
        price = self._price()
        quality, cost = prediction.expected_quality[0], cost_usd[0]
        out = np.isinf(where_known(prediction, cost_usd, pool)[0])
        says = []
        for i in range(len(prediction.plans)):
            more_quality, more_cost = quality[i] - quality[chosen], cost[i] - cost[chosen]
            if i == chosen:
                says.append(f"taken: the best value at {price:g} USD a unit of quality")
            elif out[i]:
                says.append("not considered: the query is unlike those of training, and no evidence would be needed")
            elif more_quality > 0 and more_cost > 0:
                says.append(f"better but dearer; taken at a price above {more_cost / more_quality:.3g} USD")
            elif more_quality < 0 and more_cost < 0:
                says.append(f"cheaper but worse; taken at a price below {more_cost / more_quality:.3g} USD")
            else:
                says.append("no better and no cheaper than the plan taken")
        return says

    def _price(self) -> float:
        if self.steering is not None:
            return self.steering.price_usd
        if self.price_usd is None:
            raise NotTunedError(not_tuned(f"--max-drop {self.max_drop:g}"))
        return self.price_usd

    def observe(self, audit: Audit) -> None:
        """Adjust the price to an audit, if the policy follows audits."""
        if self.steering is not None:
            self.steering.observe(audit)

    def observe_certain(self, calls: int, probability: float) -> None:
        """Adjust the price to calls whose drop is known to be zero, if the policy follows audits."""
        if self.steering is not None:
            self.steering.observe_certain(calls, probability)

    def observe_failed(self) -> None:
        """Undo provisional adjustments, because an audit failed."""
        if self.steering is not None:
            self.steering.observe_failed()

    def __str__(self) -> str:
        """Render as ``quality at 0.02 USD``."""
        if self.steering is not None:
            return f"following drop {self.max_drop:g}, quality at {self.steering.price_usd:.3g} USD now"
        if self.price_usd is None:
            return f"{'following' if self.follow else 'max'} drop {self.max_drop:g}"
        return f"quality at {self.price_usd:g} USD" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class BudgetPolicy(PolicyBase):
    """The best quality with a promised mean cost within a budget, looked up in a tuned router.

    Args:
        usd_per_1k: The budget, USD per 1,000 queries, > 0.
    """

    usd_per_1k: float

    is_light = True

    def __post_init__(self) -> None:
        """Check the range."""
        usd = self.usd_per_1k
        if not (is_amount(usd) and usd > 0):
            raise ConfigError(f"BudgetPolicy: usd_per_1k must be > 0 USD per 1,000 queries, got {brief(usd)}")

    def resolve(self, router: object, pool: Pool | None = None, reward_model: object = None) -> QualityPolicy:
        """Return the policy with the price tuned for the budget.

        Args:
            router: The router in use.
            pool: The pool it is used with; default: the router's.
            reward_model: The reward model in use.

        Raises:
            NotTunedError: If it was never tuned for it, or at other prices than the pool's, or for another reward;
                names the command.
        """
        promise = _promised(router, "budget", self.usd_per_1k)
        if changed := _changes(promise, pool, reward_model):
            raise NotTunedError(
                f"the budget of {self.usd_per_1k:g} USD per 1,000 queries was shown {changed}, so it promises nothing "
                f"now; train the router as it is used, then run: bestroute tune DIR TUNE --budget {self.usd_per_1k:g}"
            )
        return QualityPolicy(promise.price_usd, reason=str(promise))

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Raise: the price that keeps the budget is only known after ``resolve``.

        Raises:
            NotTunedError: Always.
        """
        raise NotTunedError(not_tuned(f"--budget {self.usd_per_1k:g}"))

    def __str__(self) -> str:
        """Render as ``budget 2 USD per 1,000 queries``."""
        return f"budget {self.usd_per_1k:g} USD per 1,000 queries"


@dataclass(frozen=True)
class ReferencePolicy(PolicyBase):
    """Always one sample of the reference."""

    is_light = True

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query; see ``Policy.choose``."""
        return np.full(len(prediction), reference_column(prediction, pool), dtype=np.intp)

    def verdicts(self, prediction: Prediction, cost_usd: FloatArray, chosen: int, pool: Pool) -> list[str]:
        """Explain for each plan of a single query why it was chosen or not."""
        return ["taken: the reference" if i == chosen else "not considered" for i in range(len(prediction.plans))]

    def __str__(self) -> str:
        """Render as ``always the reference``."""
        return "always the reference"


def _steering(router: object, drop: float, window: int) -> Steering:
    """Return a steering that starts from the price that a router froze for a drop.

    Raises:
        ConfigError: If it knows none.
    """
    prices = completed(router, RouterBase).steering_prices(drop)
    if prices is None:
        raise ConfigError(
            f"follow=True starts from a price that training froze, and {type(router).__name__} has none; "
            "give a router of `bestroute train`"
        )
    lowest, frozen, highest = prices
    return Steering(drop, frozen, lowest=lowest, highest=highest, window=window)


def _changes(promise: Promise, pool: Pool | None, reward_model: object) -> str:
    """Return how prices or the reward differ from those of a promise; empty if they do not."""
    prices = promise.price_changes(pool) if pool is not None else []
    changes = [f"at other prices ({', '.join(prices)})"] if prices else []
    if (reward := promise.reward_change(reward_model)) is not None:
        changes.append(f"for another reward ({reward})")
    return " and ".join(changes)


def not_tuned(flag: str) -> str:
    """Return the message that a promise needs tuning first."""
    return f"this router was never tuned for that promise; run: bestroute tune DIR TUNE {flag}"


def promise_of(policy: object, router: object) -> Promise | None:
    """Return the promise that a policy rests on; ``None`` if there is none.

    Raises:
        NotTunedError: If the router was never tuned for it; names the command.
    """
    if isinstance(policy, QualityPolicy) and policy.max_drop is not None and not policy.follow:
        return _promised(router, "max_drop", policy.max_drop)
    return _promised(router, "budget", policy.usd_per_1k) if isinstance(policy, BudgetPolicy) else None


def _promised(router: object, kind: Kind, value: float) -> Promise:
    """Return a promise of a router."""
    from bestroute.policies.promises import FLAGS, find_promise

    known: Sequence[Promise] = completed(router, RouterBase).promises
    promise = find_promise(known, kind, value)
    if promise is None:
        others = ", ".join(f"{p.value:g}" for p in known if p.kind == kind)
        raise NotTunedError(not_tuned(f"{FLAGS[kind]} {value:g}") + (f" (it was tuned for {others})" if others else ""))
    return promise
