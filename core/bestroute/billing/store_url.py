"""Addresses of ledgers and budgets: a URL, or the path of an SQLite file."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path

from bestroute.errors import ConfigError

Store = str | Path
"""A path or a URL."""
SQLITE = "sqlite:///"
MEMORY = "sqlite:///:memory:"
POSTGRES = "postgresql+psycopg://"
_IN_MEMORY = (":memory:", MEMORY)
_PREFIX, _FIRST_TABLE = "bestroute_", "samples"
"""Names of our tables, now and in the first release."""
_SCHEME = re.compile(r"(sqlite|file|postgres|postgresql|mysql|mariadb)(\+\w*)?:", re.IGNORECASE)
"""Beginning of a URL that lost its slashes."""


def store_url(store: Store, what: str) -> str:
    """Return the URL of a store; a path becomes that of an SQLite file, and a relative one stays relative.

    Args:
        store: ``"bills.db"``, ``Path("bills.db")``, ``"sqlite:///bills.db"``, ``"postgresql+psycopg://..."``.
        what: What is stored there, for error messages.

    Raises:
        ConfigError: If it is none of these; the message has no password.

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
    """Return the URL of an existing store, for readers, which must not create an empty one.

    Raises:
        ConfigError: If it is neither a path nor a URL, or another application's database.
        FileNotFoundError: If the file does not exist.
    """
    url = store_url(store, what)
    if url.startswith(SQLITE):
        path = Path(url.removeprefix(SQLITE))
        path.stat()
        if _is_of_others(path):
            raise ConfigError(f"{path}: is a database without a table of ours, not {what}")
    return url


def _is_of_others(path: Path) -> bool:
    """Return whether a file is an SQLite database without tables of ours; unreadable files are reported when opened."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    except (sqlite3.Error, ValueError):
        return False
    return bool(names) and not any(name == _FIRST_TABLE or name.startswith(_PREFIX) for name in names)


def _is_file_name(path: str) -> bool:
    try:
        return bool(path) and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half a character
        return False


def _shown(store: object) -> str:
    if not isinstance(store, str):
        return repr(store) if isinstance(store, os.PathLike | int | float) else f"a {type(store).__name__}"
    return repr(re.sub(r"(?<=:)(//)?.*@", r"\g<1>***@", store, flags=re.DOTALL).split("?")[0])
