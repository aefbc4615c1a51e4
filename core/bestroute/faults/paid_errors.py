"""Errors that carry a paid reply: its usage, and the sample made of it."""

from __future__ import annotations

from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

from bestroute.errors.facts import bodies, causes, field
from bestroute.types.sample import Sample
from bestroute.types.usage import Usage, read_usage

CUT_OFF = "the reply was cut off at its limit of length"
_REPLIES = ("completion", "last_completion", "reply", "response")
"""Attributes in which clients store the reply that an error is about."""
_USAGES = ("usage", "usage_metadata")
_LENGTHS = ("length", "max_tokens", "max_output_tokens")


def usage_of_error(error: BaseException) -> Usage | None:
    """Return the usage of a reply that ended in an error; ``None`` if the error has no valid usage.

    OpenAI's ``LengthFinishReasonError`` and its kin carry the completion; others its usage, or a body with it. Where
    a client could not read a reply that came, its code still holds that.

    Args:
        error: The member's error.
    """
    for holder in _holders(error):
        for name in _USAGES:
            try:
                usage = read_usage(field(holder, name))
            except Exception:  # attributes of third-party objects may raise anything
                continue
            if usage is not None:
                return usage
    return None


def sample_of_error(error: BaseException) -> Sample:
    """Return the sample that an error stands for, with its bill.

    A reply that was cut off at its limit of length is kept as it came, with a flaw; its payload is the client's own
    message. Anything else is a failed sample, which is never the answer.

    Args:
        error: The member's error.
    """
    usage = usage_of_error(error)
    for e in causes(error):
        for name in _REPLIES:
            choices = field(field(e, name), "choices")
            if not (isinstance(choices, list) and choices):
                continue
            reason, message = field(choices[0], "finish_reason"), field(choices[0], "message")
            if isinstance(reason, str) and reason.lower() in _LENGTHS:
                content = field(message, "content")
                text = content if isinstance(content, str) else ""
                return Sample(text, message, usage, reason, flaw=CUT_OFF)
    return Sample("", usage=usage, error=error)


def _holders(error: BaseException) -> Iterator[Any]:
    for e in causes(error):
        yield from (field(e, name) for name in _REPLIES)
        yield e
        yield from bodies(e)
    for e in causes(error):
        yield from _held_where_raised(e)


def _held_where_raised(error: BaseException) -> Iterator[Any]:
    """Yield the replies that functions were at work on when an error was last raised, the innermost first.

    An error that is raised again keeps the frames of the times before, which begin where the catching function does.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    again = next((i for i, frame in enumerate(frames) if i and frame.f_code is frames[0].f_code), len(frames))
    for frame in reversed(frames[:again]):
        yield from (frame.f_locals[name] for name in _REPLIES if name in frame.f_locals)
