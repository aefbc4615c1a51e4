"""Reward models: trained on the quality of recorded samples, calibrated and evaluated on held-out records."""

from typing import TYPE_CHECKING

from bestroute._utils.public import on_demand

if TYPE_CHECKING:
    from bestroute.reward_models.proxy import ProxyRewardModel

__all__ = ["ProxyRewardModel"]

# The trained reward model imports records, features and samples.
__getattr__ = on_demand(__name__, globals(), {"ProxyRewardModel": "proxy"})
