"""Evaluation of routers on held-out records: cost-quality curves with intervals, compared with baselines."""

from bestroute.evaluation.evaluate import Evaluation, cross_fit, evaluate

__all__ = ["Evaluation", "cross_fit", "evaluate"]
