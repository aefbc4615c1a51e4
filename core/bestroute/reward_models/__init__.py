"""Reward models that are trained: distilled from quality on records, calibrated, judged on what they had not seen."""

from typing import TYPE_CHECKING

from bestroute._utils.public import on_demand

if TYPE_CHECKING:
    from bestroute.reward_models.proxy import ProxyRewardModel

__all__ = ["ProxyRewardModel"]

# With the trained reward model come records, features and samples.
__getattr__ = on_demand(__name__, globals(), {"ProxyRewardModel": "proxy"})
