"""The one tree of errors: what you can fix, and what happened."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bestroute._utils.text import brief
from bestroute.errors.redaction import describe


class BestRouteError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigError(BestRouteError, ValueError):
    """An argument, a pool or a combination of settings that cannot work; the message says what to change."""


class RecordError(BestRouteError):
    """A line of a records or prompts file that breaks the format; names file, line and field."""


class PriceError(BestRouteError, KeyError):
    """No price is known for a model. Never read as 0."""

    def __str__(self) -> str:
        """Return the sentence itself (KeyError would put it in quotes)."""
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True)
class Failure:
    """One draw that gave no usable sample."""

    model: str
    """Pool name of the member that was asked."""
    error: BaseException
    """What it raised, with its own type."""
    described: str | None = None
    """What is told of it, without what it quotes."""

    def __str__(self) -> str:
        """Render as ``'small': RateLimitError: slow down``."""
        return f"{self.model!r}: {describe(self.error) if self.described is None else self.described}"


class GenerationError(BestRouteError):
    """Every draw of a call failed. ``failures`` holds each one, in drawing order."""

    def __init__(self, message: str, failures: Sequence[Failure] = ()) -> None:
        """Keep the failures and list them in the message."""
        self.failures: tuple[Failure, ...] = tuple(failures)
        super().__init__("; ".join([message, *map(str, self.failures)]))

    @property
    def members_own(self) -> BaseException:
        """The last failed member's own exception, which callers already know how to catch; itself if none failed."""
        return self.failures[-1].error if self.failures else self


class EmptyReplyError(GenerationError):
    """A member answered, but with nothing in it."""

    usage: object = None
    """What the reply said it was billed for, in the provider's words."""


class DrawCancelledError(GenerationError):
    """A draw was called off before its answer came; it is billed for what was sent."""


class DeadlineError(DrawCancelledError, TimeoutError):
    """A call's ``deadline_s`` passed before an answer came."""


class BudgetError(BestRouteError):
    """A call would pass a budget; raised before anything is spent."""


class StoreError(BestRouteError):
    """A database that cannot be asked now: nothing is wrong with the call, which may be repeated."""


class UnreadableStoreError(StoreError, ConfigError):
    """A database that cannot be opened or read."""


class BudgetStoreError(StoreError, BudgetError):
    """A budget's database that cannot be asked what is left; nothing was spent."""


class NotTunedError(BestRouteError):
    """A promise (``max_drop``, a budget) was asked of a router that was never tuned for it."""


class ArtifactError(BestRouteError):
    """A saved router or reward model that is damaged, of another version, or does not fit the pool."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or ``""``."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


_LONGEST_NAME, _MOST_NAMES = 500, 50
"""Of names that are shown whole, and in one sentence."""


def named(names: Iterable[str]) -> str:
    """Render names for a message: ``'a', 'b'``; of very many, or very long ones, what fits a sentence."""
    every = list(names)
    shown = [repr(name) if len(str(name)) <= _LONGEST_NAME else brief(name) for name in every[:_MOST_NAMES]]
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return ", ".join(shown) + more
