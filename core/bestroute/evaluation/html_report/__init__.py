"""The HTML report of a ledger or an evaluation: spending and saving, quality of answers, and promises."""
