"""Labels: what candidates and plans give in expectation, from the samples of records."""

from bestroute.labels.arrays import SampleArrays
from bestroute.labels.candidates import match_probability, vote_weights, winner_weights
from bestroute.labels.table import PlanLabels, label_plans

__all__ = ["PlanLabels", "SampleArrays", "label_plans", "match_probability", "vote_weights", "winner_weights"]
