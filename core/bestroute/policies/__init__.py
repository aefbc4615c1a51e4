"""From predictions and costs to one plan for each query, and what was promised of it."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
