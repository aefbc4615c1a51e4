"""Money: what a plan is expected to cost, what a sample cost, the ledger of both, and shared budgets."""
