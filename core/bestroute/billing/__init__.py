"""Money: what a plan is expected to cost, what a sample cost, the ledger of both, and shared budgets."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
