"""API keys of the server's callers: stored as hashes, compared in constant time, revoked by removing their line."""

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
    """A caller's key in the configuration."""

    name: str
    sha256: str
    """SHA-256 of the key; a fast hash suffices, since keys are 256 random bits."""
    budget: float | None = None
    """What its calls together may spend, USD."""
    per: Literal["hour", "day", "month"] | None = None
    """Period of the budget; ``None`` is all time."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: If one is invalid; the message has only the key's name.
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
    """Return the stored hash of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(entries: Any, where: str) -> tuple[ApiKey, ...]:
    """Parse the keys of a configuration.

    Args:
        entries: A list of mappings.
        where: Beginning of error messages.

    Raises:
        ConfigError: If one is malformed, or a name is repeated.
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
    """The valid keys; those of a file are read again when it changes.

    Args:
        keys: The initial keys; without keys and without a file, no key is required.
        path: The file with the keys.
        read: Reads the file.
        store: URL of the budgets' database; ``None`` is memory.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey],
        path: Path | None = None,
        read: Callable[[Path], Sequence[ApiKey]] | None = None,
        store: str | None = None,
    ) -> None:
        """Store the keys."""
        self._path, self._read, self._store = path, read, store
        self._state = self._file_state()
        self._budgets: dict[tuple[str, float, str | None], Budget] = {}
        self._keys = tuple(keys)
        self.is_open = not keys and path is None
        """Whether no key is required, because none are configured. An empty list of keys admits nobody."""
        for key in keys:
            self.budget_of(key)

    def find(self, presented: str | None) -> ApiKey | None:
        """Return the key that a caller presents; ``None`` if it is invalid, in constant time."""
        self._refresh()
        digest = hash_of(presented or "")
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def budget_of(self, key: ApiKey) -> Budget | None:
        """Return the budget of a key, shared by all processes if there is a database."""
        if key.budget is None:
            return None
        known = (key.name, key.budget, key.per)
        if known not in self._budgets:
            self._budgets[known] = Budget(key.budget, per=key.per, store=self._store, name=f"key-{key.name}")
        return self._budgets[known]

    def is_ready(self, key: ApiKey) -> bool:
        """Return whether its budget is open, or it has none."""
        return key.budget is None or (key.name, key.budget, key.per) in self._budgets

    def close(self) -> None:
        """Write pending data of budgets."""
        for budget in self._budgets.values():
            budget.close()

    def _refresh(self) -> None:
        """Read the file again if it has changed; if that fails, the keys stay."""
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
