"""Authentication: callers need a key; without keys, only local programs are admitted, but no web pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from bestroute.server.api_errors import RequestError
from bestroute.server.keys import ApiKey, KeyRing

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable only from this machine.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    return host in LOOPBACK or host.startswith("127.")


def admit(request: Request, keys: KeyRing, host: str) -> ApiKey | None:
    """Return the caller's key; ``None`` if no key is required.

    Args:
        request: The request, of which only headers are used.
        keys: The valid keys.
        host: The address that the server listens on.

    Raises:
        RequestError: Status 401 without a valid key; 403 for a browser's request on behalf of another site.
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
    """Refuse requests from web pages, and host names that a page's owner may point here (DNS rebinding)."""
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
