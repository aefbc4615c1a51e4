"""Keys that callers of the server have: hashed at rest, compared in constant time, gone when their line is."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bestroute.billing.budget import Budget
from bestroute.errors import BestRouteError, ConfigError, did_you_mean, named

logger = logging.getLogger("bestroute.server")

_PREFIX = "sk-br-"
_BYTES = 32
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w.@-]{1,64}")
_FIELDS = ("name", "sha256", "budget", "per")


@dataclass(frozen=True)
class ApiKey:
    """A caller's key, as the configuration knows it."""

    name: str
    sha256: str
    """Of the key: it is 256 random bits, which no dictionary holds, so that a fast hash is enough."""
    budget: float | None = None
    """USD that its calls together may spend."""
    per: Literal["hour", "day", "month"] | None = None
    """The period that the budget is for; ``None`` is all time."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: Names the key, and never more of it than its name.
        """
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(f"keys: a name has 1 to 64 letters, digits and -_.@, got {self.name!r:.80}")
        if not isinstance(self.sha256, str) or not _HASH.fullmatch(self.sha256):
            raise ConfigError(
                f"keys: sha256 of {self.name!r} must be 64 hexadecimal digits; bestroute serve --new-key makes a key"
            )
        if self.budget is not None:
            Budget(self.budget, per=self.per)
        elif self.per is not None:
            raise ConfigError(f"keys: {self.name!r} has per={self.per!r} and no budget")


def new_key() -> str:
    """Return a new key."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def hash_of(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(entries: Any, where: str) -> tuple[ApiKey, ...]:
    """Read the keys of a configuration.

    Args:
        entries: A list of mappings.
        where: Begins the sentence of an error.

    Raises:
        ConfigError: If one is malformed, or a name is there twice.
    """
    if not isinstance(entries, list):
        raise ConfigError(f"{where}: keys must be a list of name and sha256, or the name of a file that holds one")
    keys = []
    for entry in entries:
        if not isinstance(entry, Mapping) or not {"name", "sha256"} <= set(entry):
            raise ConfigError(f"{where}: each of keys needs a name and its sha256 (bestroute serve --new-key NAME)")
        if unknown := [str(name) for name in entry if name not in _FIELDS]:
            raise ConfigError(
                f"{where}: unknown field {named(unknown[:1])} of a key; known fields are {named(_FIELDS)}."
                f"{did_you_mean(unknown[0], _FIELDS)}"
            )
        keys.append(ApiKey(**entry))
    names = [key.name for key in keys]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return tuple(keys)


class KeyRing:
    """The keys that are valid now: those of a file, which is read again when it changes.

    Args:
        keys: To begin with; none, and no file that may hold some, lets everybody in.
        path: The file that holds them.
        read: Reads it.
        store: Of budgets, a database's URL; ``None`` is memory.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey],
        path: Path | None = None,
        read: Callable[[Path], Sequence[ApiKey]] | None = None,
        store: str | None = None,
    ) -> None:
        """Take the keys as they are."""
        self._path, self._read, self._store = path, read, store
        self._state = self._file_state()
        self._budgets: dict[tuple[str, float, str | None], Budget] = {}
        self._keys = tuple(keys)
        self.is_open = not keys and path is None
        """Whether there are no keys, so that none is asked for. A list that is empty lets nobody in."""
        for key in keys:
            self.budget_of(key)

    def find(self, presented: str | None) -> ApiKey | None:
        """Return the key that a caller presents; ``None`` if it is none, after the same time."""
        self._refresh()
        digest = hash_of(presented or "")
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def budget_of(self, key: ApiKey) -> Budget | None:
        """Return what the key's calls may spend, shared by all processes where there is a database."""
        if key.budget is None:
            return None
        known = (key.name, key.budget, key.per)
        if known not in self._budgets:
            self._budgets[known] = Budget(key.budget, per=key.per, store=self._store, name=f"key-{key.name}")
        return self._budgets[known]

    def is_ready(self, key: ApiKey) -> bool:
        """Whether its budget is open, or it has none."""
        return key.budget is None or (key.name, key.budget, key.per) in self._budgets

    def close(self) -> None:
        """Write what budgets have noted."""
        for budget in self._budgets.values():
            budget.close()

    def _refresh(self) -> None:
        """Read the file again if it is another one; one that cannot be read changes nothing."""
        if self._path is None or self._read is None or (state := self._file_state()) == self._state:
            return
        self._state = state
        try:
            self._keys = tuple(self._read(self._path))
        except BestRouteError as error:
            logger.error("the keys stay as they were: %s", error)
            return
        logger.warning("the keys were read again: %d are valid", len(self._keys))

    def _file_state(self) -> tuple[int, int, int] | None:
        try:
            stat = None if self._path is None else self._path.stat()
        except OSError:
            return None
        return None if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ino)
