"""Reward models that are trained: distilled from quality on records, calibrated, judged on what they had not seen."""

from bestroute.reward_models.proxy import ProxyRewardModel

__all__ = ["ProxyRewardModel"]
