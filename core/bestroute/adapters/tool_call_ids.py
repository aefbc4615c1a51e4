"""Ids of tool calls where a conversation moves to another provider's model."""

from __future__ import annotations

import hashlib

from bestroute._utils.text import utf8


def portable_id(call_id: str, turn: int) -> str:
    """Return an id that every provider accepts, in place of another provider's.

    Nine letters and digits are the narrowest form asked for (Mistral); OpenAI takes up to 40 characters, Anthropic
    letters, digits, ``_`` and ``-``. The same call gets the same id each time the conversation is sent; calls of
    different turns differ, also where a provider numbers each turn anew.

    Args:
        call_id: The id as its provider gave it.
        turn: Place of the message that makes the call.

    Example:
        >>> portable_id("toolu_01", 1) == portable_id("toolu_01", 1) != portable_id("toolu_01", 3)
        True
    """
    return hashlib.sha256(utf8(f"{turn}:{call_id}")).hexdigest()[:9]
