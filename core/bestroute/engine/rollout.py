"""How much of the traffic is decided on: all of it, a share that stays the same, in the shadow, or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bestroute._utils.amounts import is_number, plain
from bestroute._utils.text import brief
from bestroute.engine.call_context import Options
from bestroute.errors import ConfigError, named
from bestroute.types.query import Query

Mode = Literal["on", "shadow", "off"]
"""Run what is decided; decide and write it, but let the reference answer; let the reference answer."""


@dataclass(frozen=True)
class Rollout:
    """Which calls are decided on. What is left out is answered by the reference, as it would be alone.

    A tool turn stays with the model that made the call, and a call that names its model gets it.
    """

    mode: Mode = "on"
    share: float = 1.0
    """Of conversations, by a hash that is the same everywhere: those of a smaller share are in each larger one."""

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            ConfigError: Names what is wrong.
        """
        if self.mode not in get_args(Mode):
            raise ConfigError(f"mode must be one of {named(get_args(Mode))}, got {brief(self.mode)}")
        object.__setattr__(self, "share", check_share(self.share, "share"))

    @property
    def is_whole(self) -> bool:
        """Whether every call is decided on."""
        return self.mode == "on" and self.share == 1.0

    def mode_of(self, query: Query, options: Options, reference: str) -> tuple[Mode, str]:
        """Return how one call is treated, and in words why, where it is not ``"on"``."""
        if self.is_whole or _is_settled(options, reference):
            return "on", ""
        if self.mode == "off":
            return "off", "mode 'off': the reference answers"
        name, key = conversation_key(query, options)
        if self.share < 1.0 and share_of(key) >= self.share:
            return "off", f"share {self.share:g}: this {name} is not in it, so the reference answers"
        if self.mode == "shadow":
            return "shadow", "mode 'shadow': the reference answers"
        return "on", ""


def check_share(value: Any, what: str) -> float:
    """Return a share, in [0, 1].

    Raises:
        ConfigError: Begins with ``what``.
    """
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{what} must be a number in [0, 1], a share of calls, got {brief(value)}")
    return plain(value)


def conversation_key(query: Query, options: Options) -> tuple[str, str]:
    """Return what a conversation is known by, its kind and its name; agents and tool turns keep theirs throughout.

    The session that the call names, else the tag ``user``, the framework's thread, the conversation's first message.
    """
    if options.session is not None:
        return "session", options.session
    if user := options.tags.get("user"):
        return "user", user
    if options.thread is not None:
        return "session", options.thread
    return "conversation", query.opening


def share_of(key: str) -> float:
    """Return the place of a key in [0, 1), the same everywhere and at all times.

    Example:
        >>> round(share_of("alice"), 4)
        0.1713
    """
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()[:7]) / 2**56


def _is_settled(options: Options, reference: str) -> bool:
    """Whether the call names its model; the reference of a tool turn answers as it would alone."""
    if options.limits.allow is not None and reference not in options.limits.allow:
        return True
    return options.model is not None and (options.reason is None or options.model != reference)
