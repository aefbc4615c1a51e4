"""Ledgers and budgets in a database. Only this package imports SQLAlchemy, and only once a URL is given."""

from bestroute._utils.extras import to_install
from bestroute.errors import ConfigError

try:
    import sqlalchemy  # noqa: F401
except ImportError as error:
    raise ConfigError(f"a ledger or budget in a database needs SQLAlchemy: {to_install('ledger')}") from error
