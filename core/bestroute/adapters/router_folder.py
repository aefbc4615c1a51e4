"""A router's folder as all that a framework's model needs: its pool, where members are reached, and its reward."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestroute.engine.router_reward import trained_reward, warn_of_reward
from bestroute.errors import ConfigError, named

if TYPE_CHECKING:
    from bestroute.router import MultiHeadRouter
    from bestroute.types.endpoint import Endpoint

logger = logging.getLogger(__name__)

MemberArguments = Mapping[str, Any]
"""What a framework's class of OpenAI's protocol is made with: ``model``, ``api_key``, ``base_url``, ``temperature``,
``max_tokens``; those that the pool file tells."""


def folder_fields(
    folder: str | Path, overrides: Mapping[str, Any], member_of: Callable[[MemberArguments], Any]
) -> dict[str, Any]:
    """Return the fields of a model over a trained router, the caller's own first.

    Args:
        folder: Of ``bestroute train``; the reward model that it was trained with lies in it.
        overrides: The caller's; they win, and a warning says where they differ from what the router was trained with.
        member_of: Makes a framework's model of the arguments of a member.

    Raises:
        ConfigError: If a member's key is not set, or nothing says which reward model the router was trained with.
        ArtifactError: If the folder holds no router, or a damaged one.
    """
    from bestroute.router import MultiHeadRouter

    router = MultiHeadRouter.from_pretrained(folder)
    pool = router.pool
    fields: dict[str, Any] = {
        "router": router,
        "reference": pool.reference,
        "max_n": pool.max_n,
        "prices": dict(pool.prices),
        "bills_input": {model: pool.bills(model) for model in pool.models},
    }
    if "models" not in overrides:
        fields["models"] = {m: member_of(member_arguments(m, pool.endpoint(m))) for m in pool.models}
    if "reward_model" not in overrides:
        fields["reward_model"] = trained_reward(router, Path(folder))
    _warn(router, overrides)
    return {**fields, **overrides}


def member_arguments(name: str, endpoint: Endpoint) -> dict[str, Any]:
    """Return what a member is made with, as its pool file says it is reached.

    Raises:
        ConfigError: If the variable that should hold its key is not set.
    """
    key = os.environ.get(endpoint.api_key_env) if endpoint.api_key_env else None
    if endpoint.api_key_env and not key:
        raise ConfigError(
            f"{name!r}: the environment variable {endpoint.api_key_env} that should hold its key is not set"
        )
    if key is None and endpoint.base_url:
        key = "none"  # local servers ask for no key, the clients insist on one
    given = {
        "api_key": key,
        "base_url": endpoint.base_url,
        "temperature": endpoint.temperature,
        "max_tokens": endpoint.max_tokens,
    }
    return {"model": endpoint.api_model or name, **{n: value for n, value in given.items() if value is not None}}


def _warn(router: MultiHeadRouter, overrides: Mapping[str, Any]) -> None:
    """Say where what the caller gives is not what the router was trained with."""
    pool, prices = router.pool, overrides.get("prices") or {}
    other = [model for model, price in prices.items() if model in pool.prices and pool.prices[model] != price]
    if other:
        logger.warning(
            "the prices of %s differ from those the router was trained with; its prices of quality rest on those",
            named(other),
        )
    models = overrides.get("models")
    if isinstance(models, Mapping) and set(models) != set(pool.models):
        logger.warning("the models are %s, but the router was trained with %s", named(models), named(pool.models))
    if overrides.get("reward_model") is not None:
        warn_of_reward(router, overrides["reward_model"])
    reference = overrides.get("reference")
    if reference and reference != pool.reference:
        logger.warning("the reference is %r, but the router was trained against %r", reference, pool.reference)
