"""Labels: the expected quality, cost, draws and match probability of plans, computed from the samples of records."""

from bestroute.labels.candidates import match_probability, vote_weights, winner_weights
from bestroute.labels.plan_labels import PlanLabels, label_plans
from bestroute.labels.sample_arrays import SampleArrays

__all__ = ["PlanLabels", "SampleArrays", "label_plans", "match_probability", "vote_weights", "winner_weights"]
