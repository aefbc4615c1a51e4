"""Reward models that are trained: distilled from quality on records, calibrated, judged on what they had not seen."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bestroute.reward_models.proxy import ProxyRewardModel

__all__ = ["ProxyRewardModel"]


def __getattr__(name: str) -> Any:
    """Import the trained reward model when it is asked for: with it come records, features and samples."""
    if name == "ProxyRewardModel":
        from bestroute.reward_models.proxy import ProxyRewardModel

        return ProxyRewardModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
