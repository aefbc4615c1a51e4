"""Ledgers and budgets in a database; SQLAlchemy is imported here and nowhere else, once a URL is given."""
