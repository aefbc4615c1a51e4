"""Who may ask: callers with a key; without keys, programs of this machine, but no web page that they show."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from bestroute.server.api_errors import RequestError
from bestroute.server.keys import ApiKey, KeyRing

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    return host in LOOPBACK or host.startswith("127.")


def admit(request: Request, keys: KeyRing, host: str) -> ApiKey | None:
    """Return the caller's key; ``None`` where none is asked for.

    Args:
        request: Its headers are looked at.
        keys: Those that are valid.
        host: The address that the server listens on.

    Raises:
        RequestError: Status 401 without a valid key; 403 for what a browser sends on another site's behalf.
    """
    if keys.is_open:
        _refuse_other_sites(request, host)
        return None
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    key = keys.find(presented.strip() if scheme.lower() == "bearer" else None)
    if key is None:
        raise RequestError(
            401,
            "a valid key is needed: Authorization: Bearer KEY",
            code="invalid_api_key",
            type="invalid_request_error",
        )
    return key


def _refuse_other_sites(request: Request, host: str) -> None:
    """Refuse what a web page sends, and names that a web page's owner lets point here."""
    wanted_host = _host_of(f"//{request.headers.get('host', '')}")
    if is_loopback(host) and not is_loopback(wanted_host) and wanted_host != host:
        raise RequestError(403, f"the server is for this machine; ask for it as {host}", code="wrong_host")
    origin = request.headers.get("origin")
    if origin is not None and (from_host := _host_of(origin)) != wanted_host and not is_loopback(from_host):
        raise RequestError(403, "web pages of other sites may not ask; give the server keys", code="wrong_origin")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
