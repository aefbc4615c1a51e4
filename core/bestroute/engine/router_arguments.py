"""Check an engine's router and policy arguments, and convert them to a router and a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import ConfigError, named
from bestroute.errors.plain_functions import check_plain
from bestroute.policies.parsing import parse_policy
from bestroute.policies.policies import QualityPolicy, ThresholdPolicy
from bestroute.types.bases import PolicyBase, RouterBase, completed, has_own
from bestroute.types.pool import Pool
from bestroute.types.protocols import Policy, RewardModel, Router

DEFAULT_THRESHOLD = 0.8
"""Threshold of the policy for a router that has none and was given none."""


def as_router(router: Any) -> Any:
    """Return the router of an argument: the value itself, or one read from a folder.

    Args:
        router: A ``Router``, the folder of a trained one, a function or ``None``.

    Raises:
        ConfigError: If it is none of these, or async.
        ArtifactError: If the folder has no valid router.
    """
    if isinstance(router, str | Path):
        from bestroute.router import MultiHeadRouter

        router = MultiHeadRouter.from_pretrained(router)
    if router is None or isinstance(router, Router) or callable(router):
        if isinstance(router, Router):
            check_plain("router.predict", router.predict)
        else:
            check_plain("router", router)
        return router
    raise ConfigError(
        f"router must be a Router (with predict), the folder of one, a function or None, got {type(router).__name__}"
    )


def policy_argument(
    policy: Policy | str | None, threshold: float | None, max_drop: float | None, follow: bool, window: int
) -> tuple[str, Policy | None]:
    """Return the name of the argument that gives a policy, and the policy; ``None`` if none is given.

    Raises:
        ConfigError: If several arguments give one, or an argument is invalid.
    """
    given = {"policy": policy, "threshold": threshold, "max_drop": max_drop}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ConfigError(f"give one of policy, threshold and max_drop, got {named(names)}")
    if not isinstance(follow, bool):
        raise ConfigError(f"follow must be True or False, got {brief(follow)}")
    if follow and max_drop is None:
        raise ConfigError("follow=True needs max_drop=, the drop that the price is steered to")
    if threshold is not None:
        return "threshold", ThresholdPolicy(threshold)
    if max_drop is not None:
        return "max_drop", QualityPolicy(max_drop=max_drop, follow=follow, window=window)
    return "policy", parse_policy(policy) if isinstance(policy, str) else policy


def as_policy(
    predictor: RouterBase | None,
    router: Any,
    pool: Pool,
    name: str,
    policy: Policy | None,
    reward_model: RewardModel | None,
) -> Policy | None:
    """Return the policy in use: the given one, resolved for the router, else the router's own or the default.

    Args:
        predictor: The completed router; ``None`` for a function or no router.
        router: The router as given.
        pool: The pool.
        name: Name of the argument that gives the policy, for error messages.
        policy: The policy given, if any.
        reward_model: The reward model in use.

    Raises:
        ConfigError: If a policy is given without a router that predicts, or is invalid.
        NotTunedError: If the router was not tuned for the policy's promise.
    """
    if predictor is None:
        if policy is not None:
            what = "there is no router" if router is None else "a router function decides alone"
            raise ConfigError(f"{name} chooses among a router's predictions, but {what}; leave it out")
        return None
    if policy is None:
        return predictor.default_policy or ThresholdPolicy(DEFAULT_THRESHOLD)
    if not callable(getattr(policy, "choose", None)):
        raise ConfigError(f"policy must have a method choose, got {type(policy).__name__}")
    check_plain("policy.choose", policy.choose)
    whole = completed(policy, PolicyBase)
    return whole.resolve(router, pool, reward_model) if has_own(whole, PolicyBase.resolve) else policy
