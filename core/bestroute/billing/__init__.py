"""Money: expected costs of plans, bills of samples, the ledger, and budgets."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
