"""Evaluation: curves with intervals against every baseline."""

from bestroute.evaluation.evaluate import Evaluation, cross_fit, evaluate

__all__ = ["Evaluation", "cross_fit", "evaluate"]
