"""The address of a database: parsed from a URL, fixed when opened, shown without its password."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode

from bestroute.billing.store_url import POSTGRES, SQLITE, Store, store_url
from bestroute.errors import ConfigError

_HIDDEN = "***"
_SQLITE_HEAD = b"SQLite format 3\0"
_SECRET_OPTIONS = ("password", "sslpassword", "passfile", "sslkey")


@dataclass(frozen=True)
class Address:
    """The address of a database, split at the last ``@`` so that a password may have any character."""

    url: str = field(repr=False)
    """The URL to connect with, including the password; a file's path is absolute."""
    shown: str
    """The URL to show, without the password."""
    path: str | None = None
    """Path, if it is a file."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    name: str | None = None
    options: dict[str, str] = field(default_factory=dict, repr=False)

    def hide(self, error: BaseException) -> str:
        """Return the first line of a driver's error without the password; for a file, the reason if recognisable."""
        if why := self._why_not():
            return why
        text = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        secrets = [self.password, *(self.options.get(name) for name in _SECRET_OPTIONS)]
        for secret in secrets:
            if secret:
                text = text.replace(secret, _HIDDEN)
        return text

    def _why_not(self) -> str | None:
        """Return why a file cannot be a database, if that is recognisable."""
        if self.path is None:
            return None
        path = Path(self.path)
        with suppress(OSError):
            if path.is_dir():
                return "it is a folder; give the file in it"
            if not path.parent.is_dir():
                return f"there is no folder {str(path.parent)!r}; create it first"
            if path.is_file() and path.stat().st_size:
                with path.open("rb") as stream:
                    if stream.read(len(_SQLITE_HEAD)) != _SQLITE_HEAD:
                        return "it is a file of another kind, and no SQLite database"
        return None


def read_address(store: Store, what: str) -> Address:
    """Parse the address of a database.

    Args:
        store: A file's path, ``"sqlite:///path"`` or ``"postgresql+psycopg://user:password@host:port/name"``.
        what: What is stored there, for error messages.

    Raises:
        ConfigError: If it is unsupported; the message has no password.
    """
    url = store_url(store, what)
    if url.startswith(POSTGRES):
        return _server(url, what)
    path = os.path.abspath(url.removeprefix(SQLITE))
    return Address(SQLITE + path, SQLITE + path, path)


def _server(url: str, what: str) -> Address:
    account, _, place = url.removeprefix(POSTGRES).rpartition("@")
    user, colon, password = account.partition(":")
    place, _, query = place.partition("?")
    host, _, name = place.partition("/")
    options = dict(parse_qsl(query))
    bare, _, port = host.rpartition(":") if re.search(r":[^\]:]*$", host) else (host, "", "")
    if port and not (port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ConfigError(f"{what}'s url has no port number after the host's ':'; a port is 1 to 65535")
    masked = {key: _HIDDEN if key in _SECRET_OPTIONS else value for key, value in options.items()}
    shown = "".join(
        [
            POSTGRES,
            user + (f":{_HIDDEN}" if colon else "") + "@" if account else "",
            place,
            "?" + urlencode(masked, safe="*/") if masked else "",
        ]
    )
    return Address(
        url=url,
        shown=shown,
        user=unquote(user) or None,
        password=unquote(password) or None,
        host=unquote(bare.strip("[]")) or None,
        port=int(port) if port else None,
        name=unquote(name) or None,
        options=options,
    )
