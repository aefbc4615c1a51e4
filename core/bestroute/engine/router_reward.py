"""The reward model that a router was trained with, from the router's folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.router import MultiHeadRouter

logger = logging.getLogger(__name__)


def router_and_reward(router: Any, reward_model: Any) -> tuple[Any, Any]:
    """Return both; where only a router's folder is given, the reward model that the router was trained with, too.

    Raises:
        ConfigError: If the router needs a reward model, and its folder does not tell which.
        ArtifactError: If the folder holds no router, or a damaged one.
    """
    if reward_model is not None or not isinstance(router, str | Path):
        return router, reward_model
    from bestroute.router import MultiHeadRouter

    loaded = MultiHeadRouter.from_pretrained(router)
    return loaded, trained_reward(loaded, Path(router))


def stored_reward(router: MultiHeadRouter, folder: Path) -> Any:
    """Return the reward model that a router's settings name, or that its folder holds; ``None`` if there is neither."""
    kind = router.settings.reward
    if (made := _untrained(kind)) is not None:
        return made
    from bestroute.reward_models import ProxyRewardModel
    from bestroute.router.trained_on import reward_of

    place = Path(reward_of(folder, kind))
    return ProxyRewardModel.from_pretrained(place) if (place / "reward.json").exists() else None


def trained_reward(router: MultiHeadRouter, folder: Path) -> Any:
    """Return the reward model that the router was trained with; ``None`` if its plans need none.

    Raises:
        ConfigError: If nothing says which, or it is not there.
    """
    kind = router.settings.reward
    if not router.needs_reward:
        return None
    if kind in ("recorded", "quality"):
        raise ConfigError(
            f"{folder}: the router was trained with {kind} rewards, which no folder holds; give reward_model=, what "
            "scores answers as those were scored (a Verifier, or the folder of a trained one)"
        )
    model = stored_reward(router, folder)
    if model is None:
        raise ConfigError(f"{folder}: the reward model {kind!r} it was trained with is not there; give reward_model=")
    warn_of_reward(router, model)
    return model


def _untrained(kind: str) -> Any:
    """Return the reward model of a kind that needs no training; ``None`` for any other."""
    from bestroute.reward_models.by_name import REWARDS

    return REWARDS[kind]() if kind in REWARDS else None


def warn_of_reward(router: MultiHeadRouter, given: Any) -> None:
    """Warn if a reward model is known not to be the one that the router was trained with."""
    from bestroute.reward_models import ProxyRewardModel

    kind, trained = router.settings.reward, router.trained_on and router.trained_on.reward
    if isinstance(given, str | Path):
        given = ProxyRewardModel.from_pretrained(given)
    if trained is not None:
        if getattr(given, "fingerprint", None) != trained:
            logger.warning(
                "the reward model is not the one that the router was trained with (%s); plans that stop at a reward "
                "rest on that one: train the router again with it",
                trained,
            )
        return
    usual = _untrained(kind)
    if usual is not None and type(given) is not type(usual):
        logger.warning(
            "the reward model is a %s, but the router was trained with %r rewards", type(given).__name__, kind
        )
