"""Where bills and budgets are kept: a URL, or the path of an SQLite file as commands take it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bestroute.errors import ConfigError

Store = str | Path
"""A file, or a URL."""
SQLITE = "sqlite:///"
MEMORY = "sqlite:///:memory:"
POSTGRES = "postgresql+psycopg://"
_IN_MEMORY = (":memory:", MEMORY)
_SCHEME = re.compile(r"(sqlite|file|postgres|postgresql|mysql|mariadb)(\+\w*)?:", re.IGNORECASE)
"""How a URL begins that lost its slashes."""


def store_url(store: Store, what: str) -> str:
    """Return the URL of a store; a path is that of an SQLite file, and stays as relative as it is.

    Args:
        store: ``"bills.db"``, ``Path("bills.db")``, ``"sqlite:///bills.db"``, ``"postgresql+psycopg://..."``.
        what: What is kept there, for the error.

    Raises:
        ConfigError: If it is none of these; never with a password.

    Example:
        >>> store_url("bills.db", "a ledger"), store_url(":memory:", "a ledger")
        ('sqlite:///bills.db', 'sqlite:///:memory:')
    """
    if isinstance(store, os.PathLike):
        path = os.fspath(store)
        if isinstance(path, str) and _is_file_name(path):
            return SQLITE + path
    elif isinstance(store, str):
        if store in _IN_MEMORY:
            return MEMORY
        if store.startswith(POSTGRES):
            return store
        is_url = "://" in store or _SCHEME.match(store) is not None
        path = store.removeprefix(SQLITE)
        if (not is_url or path != store) and _is_file_name(path):
            return SQLITE + path
    raise ConfigError(
        f"{what} is kept in a file, given by its path ('bills.db') or as 'sqlite:///bills.db', in PostgreSQL "
        f"('{POSTGRES}user@host/name'), or in memory (None); got {_shown(store)}"
    )


def existing_store(store: Store, what: str) -> str:
    """Return the URL of a store that is there, for those who read alone and must not make an empty one.

    Raises:
        ConfigError: If it is neither a path nor a URL.
        FileNotFoundError: If it is a file that is not there.
    """
    url = store_url(store, what)
    if url.startswith(SQLITE):
        Path(url.removeprefix(SQLITE)).stat()
    return url


def _is_file_name(path: str) -> bool:
    try:
        return bool(path) and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half a character
        return False


def _shown(store: object) -> str:
    if not isinstance(store, str):
        return repr(store) if isinstance(store, os.PathLike | int | float) else f"a {type(store).__name__}"
    return repr(re.sub(r"(?<=:)(//)?.*@", r"\g<1>***@", store, flags=re.DOTALL).split("?")[0])
