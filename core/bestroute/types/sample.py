"""Samples: one draw of a member, a streamed piece of it, a draw within a plan, and the flag that cancels draws."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bestroute.types.signals import Signals
from bestroute.types.usage import Usage


@dataclass(frozen=True)
class Sample:
    """One draw of one model."""

    text: str
    """What the reward model reads."""
    payload: Any = None
    """The framework's own object (a message, a completion); handed to the caller if the sample is chosen."""
    usage: Usage | None = None
    """The billed tokens; ``None`` if the provider reported none."""
    finish_reason: str | None = None
    error: BaseException | None = None
    """The error, if the draw failed; such a sample is never the answer, but it is billed."""
    latency_s: float | None = None
    flaw: str | None = None
    """Why a sample must not compete: it is empty, a tool call does not parse, or JSON violates its schema, for example.
    Such a sample is billed but not scored, and is the answer only if there is nothing better
    (``bestroute.selection``)."""
    form: str | None = None
    """Canonical form of the answer; samples with equal forms agree. ``None``: the answer has no such form."""
    unchecked: str | None = None
    """Why its form could not be checked in time; it ranks behind all samples that were checked."""
    request: int = 0
    """Which request of the draw returned it, if the member needed several requests for ``n`` samples."""
    notes: Any = None
    """Additional information of the framework about the draw, for traces."""
    signals: Signals | None = None
    """How certain the model was, by its log-probabilities; ``None`` if they were not requested."""


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed sample."""

    text: str
    payload: Any = None
    usage: Usage | None = None
    """Billed tokens of the stream so far, including this piece, if reported; a piece may carry nothing but usage."""


class Cancel:
    """A flag that asks running draws to stop; generators check it where they can.

    Args:
        deadline: The call's deadline, as ``time.monotonic`` counts; ``None`` if it has none.
    """

    def __init__(self, deadline: float | None = None) -> None:
        """Start open."""
        self.deadline = deadline
        self._is_set = False
        self._events: list[threading.Event] = []
        """One event for each sleeping draw; most calls have none."""
        self._unsent: list[object] = []
        """One object for each draw that waits for its member's rate limiter."""

    @property
    def seconds_left(self) -> float | None:
        """Time to the call's deadline, never below 0; ``None`` without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def is_set(self) -> bool:
        """Whether draws are asked to stop."""
        return self._is_set

    def set(self) -> None:
        """Ask all draws with this flag to stop."""
        self._is_set = True
        for event in tuple(self._events):
            event.set()

    def wait(self, seconds: float) -> bool:
        """Sleep until draws are asked to stop, at most so many seconds; returns whether they are."""
        event = threading.Event()
        self._events.append(event)
        try:
            return self._is_set or event.wait(seconds)  # in this order: ``set`` either sees the event or is seen here
        finally:
            self._events.remove(event)

    @property
    def is_unsent(self) -> bool:
        """Whether a draw still waits for its rate limiter; once the flag is set, it is never sent."""
        return bool(self._unsent)

    @contextmanager
    def before_sending(self) -> Iterator[None]:
        """Return a context to wait for a rate limiter in; after it, check ``is_set`` before anything is sent."""
        turn = object()
        self._unsent.append(turn)
        try:
            yield
        finally:
            self._unsent.remove(turn)


@dataclass(frozen=True)
class DrawnSample:
    """A sample with its place in the plan."""

    sample: Sample
    model: str
    """Pool name."""
    step: int
    cost_usd: float = 0.0
    reward: float | None = None
    """``None`` if it was not scored."""
    accepted: bool = False
    """Whether it reached its step's ``accept`` and so ended the plan."""
    missing: str | None = None
    """Which evidence it lacks that the reward model needs (log-probabilities); it is then not accepted on that."""

    @property
    def text(self) -> str:
        """The sample's text."""
        return self.sample.text

    @property
    def error(self) -> BaseException | None:
        """The error, if the draw failed."""
        return self.sample.error

    @property
    def flaw(self) -> str | None:
        """Why the sample must not compete, if so."""
        return self.sample.flaw

    @property
    def usage(self) -> Usage | None:
        """The billed tokens."""
        return self.sample.usage

    @property
    def signals(self) -> Signals | None:
        """How certain the model was."""
        return self.sample.signals

    @property
    def is_sound(self) -> bool:
        """Whether it has neither an error nor a flaw."""
        return self.sample.error is None and self.sample.flaw is None
