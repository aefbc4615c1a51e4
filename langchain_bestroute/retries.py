"""A member whose own retries are off: the engine retries by its rules, and retries of retries would multiply."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel

_TIMEOUTS = ("request_timeout", "default_request_timeout", "timeout")


class Quiet:
    """Hands out a copy of a member that does not retry; the member itself is never changed.

    The copy shares the member's connections. It is made once, and again if the member's fields have changed since.

    Args:
        member: The caller's chat model.
        timeout: Seconds for one request, where the caller wants another one than the member's own.
    """

    def __init__(self, member: BaseChatModel, timeout: float | None = None) -> None:
        """Keep the member; the copy is made at the first call."""
        self.member, self.timeout = member, timeout
        self._seen: dict[str, Any] = {}
        self._copy: BaseChatModel | None = None

    def get(self) -> BaseChatModel:
        """Return the copy, or the member itself where there is nothing to switch off."""
        if self._copy is None or self._seen != self.member.__dict__:
            self._seen = dict(self.member.__dict__)
            self._copy = without_retries(self.member, self.timeout)
        return self._copy


def without_retries(member: BaseChatModel, timeout: float | None = None) -> BaseChatModel:
    """Return a copy of a chat model whose clients send every request once.

    A client of OpenAI's or Anthropic's kind is replaced by a sister on the same connections (``with_options``);
    what the copy can build anew from its fields (cached properties) it builds anew, when it is first used.
    """
    known = type(member).model_fields
    changed: dict[str, Any] = {"max_retries": 0} if "max_retries" in known else {}
    if timeout is not None:
        changed |= {name: timeout for name in _TIMEOUTS if name in known}
    if not changed:
        return member
    options = {"max_retries": 0, **({} if timeout is None else {"timeout": timeout})}
    copied = member.model_copy()  # without ``update``: what the user has set stays what the user has set
    for name, value in member.__dict__.items():
        if name in known:
            copied.__dict__[name] = changed.get(name, _with_options(value, options))
        else:
            del copied.__dict__[name]  # a cached property, made from the old fields
    return copied


def _with_options(value: Any, options: dict[str, Any]) -> Any:
    """Return a client, or a resource of one, with other options; anything else as it is."""
    if _is_client(value):
        return value.with_options(**options)
    client: Any = getattr(value, "_client", None)
    return type(value)(client.with_options(**options)) if _is_client(client) else value


def _is_client(value: Any) -> bool:
    return callable(getattr(value, "with_options", None)) and hasattr(value, "max_retries")
