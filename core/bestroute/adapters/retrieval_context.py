"""Telling a question from the context it is asked about, where both came in one text."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^[ \t]*+([-=*_~#])\1{4,}+[ \t]*+$", re.MULTILINE)
_TAG = re.compile(r"<(context|documents?|sources?|passages?|search_results?)(?=[\s>])")


def split_context(text: str) -> tuple[str, str]:
    r"""Split a prompt into what is asked and the material that was put in for it.

    The material is what stands between the first and the last of lines that are nothing but a rule of five or more
    equal marks, or inside a tag like ``<context>``: layout, which does not depend on a language or a wording. A text
    that is all material, or has none, is all question.

    Args:
        text: One message, as it is sent.

    Returns:
        ``(question, context)``, stripped; where there is no context the text as it is, and ``""``.

    Example:
        >>> split_context("Voici le contexte :\n-----\nMars est rouge.\n-----\nQuelle couleur ?")
        ('Voici le contexte :\nQuelle couleur ?', 'Mars est rouge.')
        >>> split_context("<documents>a b c</documents> Which letter is first?")
        ('Which letter is first?', 'a b c')
        >>> split_context("What is 12 * 7?")
        ('What is 12 * 7?', '')
    """
    if (tagged := _tagged(text)) is not None:
        before, inside, after = tagged
    else:
        fences = _FENCE.finditer(text)
        first = last = next(fences, None)
        for last in fences:  # noqa: B007
            pass
        if first is None or last is None or last is first:
            return text, ""
        before, inside, after = text[: first.start()], text[first.end() : last.start()], text[last.end() :]
    question = "\n".join(part.strip() for part in (before, after) if part.strip())
    return (question, inside.strip()) if question else (text, "")


def _tagged(text: str) -> tuple[str, str, str] | None:
    """Return what stands before, inside and after the first tag that is closed again, up to where it is closed last.

    Each search goes on where the one before it ended, so that no text is read more often than there are tags' names.
    """
    last: dict[str, int] = {}
    bracket = -1
    for tag in _TAG.finditer(text):
        name = tag[1]
        if bracket < tag.end():
            bracket = text.find(">", tag.end())
        if bracket < 0:
            return None
        if name not in last:
            last[name] = text.rfind(f"</{name}>")
        if last[name] > bracket:
            return text[: tag.start()], text[bracket + 1 : last[name]], text[last[name] + len(name) + 3 :]
    return None
