"""Samples: what a member drew, a piece of one, what it cost in a plan, and the flag that stops a draw."""

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
    """What it was billed for; ``None`` where nothing was told."""
    finish_reason: str | None = None
    error: BaseException | None = None
    """What went wrong; such a sample is never the answer, but it stays in the bill."""
    latency_s: float | None = None
    flaw: str | None = None
    """What is wrong with a sample that came but must not compete: it is empty, a tool call does not parse, JSON breaks
    its schema. It is billed and never scored, and is the answer only if nothing better came
    (``bestroute.selection``)."""
    form: str | None = None
    """What it says, in one canonical form; samples of the same form agree. ``None`` where only the reward tells."""
    unchecked: str | None = None
    """Why its form could not be checked in time; it competes behind all that were."""
    request: int = 0
    """Which of a draw's requests brought it, where a member needed several for what was asked of it at once."""
    notes: Any = None
    """What the framework notes of the draw beside its object, for traces."""
    signals: Signals | None = None
    """What the draw tells of how sure the model was; ``None`` where it was not looked for."""


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed sample."""

    text: str
    payload: Any = None
    usage: Usage | None = None
    """What the stream has been billed so far, this piece included, where it tells; with neither text nor payload a
    piece tells that alone."""


class Cancel:
    """A flag that asks running draws to stop. A generator looks at it where it can.

    Args:
        deadline: Of the call, by ``time.monotonic``; ``None`` if it has none.
    """

    def __init__(self, deadline: float | None = None) -> None:
        """Start open."""
        self.deadline = deadline
        self._is_set = False
        self._events: list[threading.Event] = []
        """What sleeping draws wait for, one each; most calls never wait."""
        self._unsent: list[object] = []
        """One for each draw that waits for its member's own turn."""

    @property
    def seconds_left(self) -> float | None:
        """Time to the call's deadline, never below 0; ``None`` without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def is_set(self) -> bool:
        """Whether draws are asked to stop."""
        return self._is_set

    def set(self) -> None:
        """Ask every draw that shares this flag to stop."""
        self._is_set = True
        for event in tuple(self._events):
            event.set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake up when draws are asked to stop; returns whether they are."""
        event = threading.Event()
        self._events.append(event)
        try:
            return self._is_set or event.wait(seconds)  # in this order: whoever sets it sees the event, or is seen
        finally:
            self._events.remove(event)

    @property
    def is_unsent(self) -> bool:
        """Whether a draw waits for its turn; once the flag is set, it is never sent."""
        return bool(self._unsent)

    @contextmanager
    def before_sending(self) -> Iterator[None]:
        """Wait inside of it for a member's own turn, and look at ``is_set`` behind it before anything is sent."""
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
    """``None`` where it was not scored."""
    accepted: bool = False
    """Whether it ended the plan by reaching its step's ``accept``."""
    missing: str | None = None
    """What of its evidence the plan's reward reads and it does not have; it is not accepted on that."""

    @property
    def text(self) -> str:
        """The sample's text."""
        return self.sample.text

    @property
    def error(self) -> BaseException | None:
        """What went wrong, if anything."""
        return self.sample.error

    @property
    def flaw(self) -> str | None:
        """Why it cannot be used though it came."""
        return self.sample.flaw

    @property
    def usage(self) -> Usage | None:
        """What it was billed for."""
        return self.sample.usage

    @property
    def signals(self) -> Signals | None:
        """What its draw tells of how sure the model was."""
        return self.sample.signals

    @property
    def is_sound(self) -> bool:
        """Whether it came and can be used."""
        return self.sample.error is None and self.sample.flaw is None
