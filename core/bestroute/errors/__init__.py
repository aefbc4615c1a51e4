"""The tree of errors: configuration errors that users can fix, and failures that happened."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bestroute._utils.text import brief
from bestroute.errors.redaction import describe


class BestRouteError(Exception):
    """Base of all errors that this library raises on purpose."""


class ConfigError(BestRouteError, ValueError):
    """An invalid argument, pool or combination of settings; the message says what to change."""


class RecordError(BestRouteError):
    """An invalid line of a records or prompts file; names file, line and field."""


class PriceError(BestRouteError, KeyError):
    """The price of a model is unknown. It is never assumed to be 0."""

    def __str__(self) -> str:
        """Return the message itself (KeyError would quote it)."""
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True)
class Failure:
    """A draw without a usable sample."""

    model: str
    """Pool name of the member that was called."""
    error: BaseException
    """Its exception."""
    described: str | None = None
    """Redacted description of the error."""

    def __str__(self) -> str:
        """Render as ``'small': RateLimitError: slow down``."""
        return f"{self.model!r}: {describe(self.error) if self.described is None else self.described}"


class GenerationError(BestRouteError):
    """Every draw of a call failed. ``failures`` holds each one, in drawing order."""

    def __init__(self, message: str, failures: Sequence[Failure] = ()) -> None:
        """Store the failures and list them in the message."""
        self.failures: tuple[Failure, ...] = tuple(failures)
        super().__init__("; ".join([message, *map(str, self.failures)]))

    @property
    def members_own(self) -> BaseException:
        """The exception of the last member that failed, which callers may already handle; itself if there is none."""
        return self.failures[-1].error if self.failures else self


class EmptyReplyError(GenerationError):
    """A member's reply was empty."""

    usage: object = None
    """Usage that the reply reported, in the provider's format."""


class DrawCancelledError(GenerationError):
    """A draw was cancelled before its answer arrived; what was sent is billed."""


class DeadlineError(DrawCancelledError, TimeoutError):
    """A call's ``deadline_s`` passed before an answer arrived."""


class BudgetError(BestRouteError):
    """A call would exceed a budget; raised before anything is spent."""


class StoreError(BestRouteError):
    """A database cannot be reached at the moment; the call may be repeated."""


class UnreadableStoreError(StoreError, ConfigError):
    """A database that cannot be opened or read."""


class BudgetStoreError(StoreError, BudgetError):
    """A budget's database cannot be reached; nothing was spent."""


class NotTunedError(BestRouteError):
    """A promise (``max_drop``, a budget) was requested of a router that was not tuned for it."""


class ArtifactError(BestRouteError):
    """A saved router or reward model is damaged, of another version, or does not fit the pool."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or ``""``."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


_LONGEST_NAME, _MOST_NAMES = 500, 50
"""Most names in a message, and most characters of a name."""


def named(names: Iterable[str]) -> str:
    """Format names for a message: ``'a', 'b'``; many or long names are shortened."""
    every = list(names)
    shown = [repr(name) if len(str(name)) <= _LONGEST_NAME else brief(name) for name in every[:_MOST_NAMES]]
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return ", ".join(shown) + more
