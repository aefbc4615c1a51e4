"""Policies, which choose a plan for each query from predictions and costs, and the promises that they rest on."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
