r"""Any text is data: how a text that is no proper Unicode is written, and how a value is shown in a few words.

A Python string may hold lone surrogates: half an emoji that a length limit cut, or a byte of an argument or a file
that was no UTF-8. Inside they are left as they are. Wherever a text leaves as bytes, they leave as their escape,
``\ud83d``: JSON reads the same string back from that, and nothing else changes.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Any

from bestroute._utils.interruptions import is_interruption

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that end a line, control a terminal or change the text direction."""
_BRIEF = 60
"""Length to which values are shortened."""


def one_line(text: str) -> str:
    r"""Return a text on one line: line breaks and other control characters become escapes.

    Example:
        >>> print(one_line("a tag\nwith \x1b[31mcolour\u2028and caf\u00e9"))
        a tag\nwith \x1b[31mcolour\u2028and café
    """
    if text.isascii() and text.isprintable():
        return text
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def utf8(text: str) -> bytes:
    r"""Encode a text as UTF-8, with lone surrogates as escapes; used for everything that is written or hashed.

    Example:
        >>> utf8("caf\u00e9"), utf8("\ud83d")
        (b'caf\xc3\xa9', b'\\ud83d')
    """
    return text.encode("utf-8", "backslashreplace")


def encodable(text: str) -> str:
    r"""Return a text that any encoder accepts: lone surrogates become escapes.

    Example:
        >>> encodable("half \ud83d")
        'half \\ud83d'
    """
    return text if text.isascii() else utf8(text).decode()


def encodable_within(value: Any) -> Any:
    """Return plain JSON with encodable texts and keys; other objects are unchanged."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {encodable_within(key): encodable_within(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [encodable_within(part) for part in value]
    return value


def is_encodable(value: Any) -> bool:
    r"""Return whether all texts of plain JSON are encodable.

    Example:
        >>> is_encodable([{"caf\u00e9": 1}]), is_encodable([{"half \ud83d": 1}])
        (True, False)
    """
    if isinstance(value, str):
        return value.isascii() or encodable(value) == value
    if isinstance(value, Mapping):
        return all(is_encodable(key) and is_encodable(part) for key, part in value.items())
    return not isinstance(value, list | tuple) or all(map(is_encodable, value))


def brief(value: Any) -> str:
    """Render a value in at most 60 characters, without ever rendering it in full, however large or deep it is.

    Example:
        >>> brief([1, "a"]), brief("x" * 100)
        ("[1, 'a']", "'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'")
    """
    try:
        text = _SHOWN.repr(value)
    except Exception:  # a number of more digits than Python writes; an object of somebody else's
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _BRIEF else text[: _BRIEF - 3] + "..."


_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxstring, _SHOWN.maxother, _SHOWN.maxlong = 3, _BRIEF, _BRIEF, _BRIEF


def text_of(error: object) -> str:
    """Return the text of an error or a reply's body; ``""`` if rendering it fails."""
    try:
        return str(error)
    except BaseException as failure:
        if is_interruption(failure):
            raise
        return ""


def in_json_s_words(value: object) -> str:
    """Return the JSON or YAML name of a value's type.

    Example:
        >>> in_json_s_words(None), in_json_s_words([1])
        ('null', 'an array')
    """
    kinds = ((type(None), "null"), (bool, "a boolean"), (int | float, "a number"), (str, "a text"), (list, "an array"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "an object")
