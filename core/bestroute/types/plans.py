"""What may be drawn for a query: candidates, steps and plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Integral, Real
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import ConfigError


def _checked_draws(owner: str, model: object, n: Any) -> int:
    """Return ``n`` as Python's own number; one of numpy's would not be plain JSON."""
    if not isinstance(model, str) or not model:
        raise ConfigError(f"{owner}: model must be the name of a pool member, got {brief(model)}")
    if type(n) is not int and (isinstance(n, bool) or not isinstance(n, Integral)):
        raise ConfigError(f"{owner} {model!r}: n must be a whole number >= 1, got {brief(n)}")
    if n < 1:
        raise ConfigError(f"{owner} {model!r}: n must be >= 1, got {brief(n)}")
    return int(n)


@dataclass(frozen=True, order=True)
class Candidate:
    """A model together with how many samples to draw from it; the best by the reward is kept."""

    model: str
    n: int = 1

    def __post_init__(self) -> None:
        """Check the name and ``n >= 1``."""
        object.__setattr__(self, "n", _checked_draws("Candidate", self.model, self.n))

    def __str__(self) -> str:
        """Render as ``small x 3``."""
        return f"{self.model} x {self.n}"


@dataclass(frozen=True)
class Step:
    """One model's part of a plan.

    With ``accept`` samples are drawn one at a time (or in waves) and the first whose calibrated reward reaches
    ``accept`` is the answer. ``accept=None`` draws all ``n`` and answers with the best of them; it ends a plan.
    """

    model: str
    n: int = 1
    accept: float | None = None

    def __post_init__(self) -> None:
        """Check the name, ``n >= 1`` and ``accept`` in [0, 1]."""
        object.__setattr__(self, "n", _checked_draws("Step", self.model, self.n))
        if self.accept is None:
            return
        if not (isinstance(self.accept, Real) and 0 <= self.accept <= 1):
            raise ConfigError(
                f"Step {self.model!r}: accept must be in [0, 1], a calibrated reward, got {brief(self.accept)}"
            )
        object.__setattr__(self, "accept", float(self.accept))

    @property
    def is_scored(self) -> bool:
        """Whether its samples need a reward: there is a choice to make, or an acceptance to test."""
        return self.accept is not None or self.n > 1

    def __str__(self) -> str:
        """Render as ``small x 3 until 0.9``."""
        return f"{self.model} x {self.n}" + ("" if self.accept is None else f" until {self.accept:g}")


@dataclass(frozen=True)
class Plan:
    """Steps in order; a step that accepts nothing gives way to the next, after the last the best seen answers."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Check that there is a step and that only the last one may do without ``accept``."""
        if not isinstance(self.steps, Iterable):
            raise ConfigError(f"Plan: steps must be Step objects, got {brief(self.steps)}")
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            raise ConfigError("Plan: needs at least one step, got none")
        for step in self.steps:
            if not isinstance(step, Step):
                raise ConfigError(f"Plan: steps must be Step objects, got {brief(step)}")
        for i, step in enumerate(self.steps[:-1]):
            if step.accept is None:
                raise ConfigError(
                    f"Plan: step {i + 1} of {len(self.steps)} ({step}) has no accept, so the steps after it "
                    "could never run; give it an accept in [0, 1] or put it last"
                )

    @classmethod
    def of(cls, candidate: Candidate) -> Plan:
        """Return the plan of one step without acceptance that a candidate is."""
        return _plan_of(candidate.model, candidate.n) if cls is Plan else cls((Step(candidate.model, candidate.n),))

    @cached_property
    def candidate(self) -> Candidate | None:
        """The candidate this plan is, or ``None`` if it has acceptance or several steps."""
        step = self.steps[0]
        return Candidate(step.model, step.n) if len(self.steps) == 1 and step.accept is None else None

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models it may ask, each once, in order."""
        return tuple(dict.fromkeys(step.model for step in self.steps))

    @cached_property
    def is_scored(self) -> bool:
        """Whether running it needs a reward model."""
        return any(step.is_scored for step in self.steps)

    @cached_property
    def has_accept(self) -> bool:
        """Whether it needs a *calibrated* reward."""
        return any(step.accept is not None for step in self.steps)

    def falls_back_on(self, reference: str) -> bool:
        """Whether samples answer only if they are accepted, and one of the reference if none is.

        Example:
            >>> Plan((Step("small", 2, 0.75), Step("large"))).falls_back_on("large")
            True
        """
        *tried, last = self.steps
        return last == Step(reference) and bool(tried) and all(step.accept is not None for step in tried)

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain JSON: ``[{"model", "n", "accept"}]``."""
        return [{"model": s.model, "n": s.n, "accept": s.accept} for s in self.steps]

    def __str__(self) -> str:
        """Render as ``small x 3 until 0.9, then large x 1``."""
        return self._in_words

    @cached_property
    def _in_words(self) -> str:
        return ", then ".join(map(str, self.steps))


@lru_cache(maxsize=1024)
def _plan_of(model: str, n: int) -> Plan:
    return Plan((Step(model, n),))


def as_plan(value: object) -> Plan:
    """Read what a callable router may return: a plan, a candidate, ``(model, n)``, or the name of a pool member.

    Raises:
        ConfigError: If it is none of the four.
    """
    match value:
        case Plan():
            return value
        case Candidate():
            return Plan.of(value)
        case str() as model:
            return Plan.of(Candidate(model))
        case (str() as model, Integral() as n):
            return Plan.of(Candidate(model, n))  # type: ignore[arg-type]  # which takes numbers of numpy, too
        case _:
            raise ConfigError(
                "a router must return the name of a pool member, (model, n), a Candidate or a Plan, "
                f"got {brief(value)}; for example Candidate('small', 3)"
            )


def find_plan(plans: Sequence[Plan], wanted: Plan) -> int | None:
    """Return where a plan stands, or ``None``; whole plans are compared only where their beginnings agree."""
    first = wanted.steps[0]
    for i, plan in enumerate(plans):
        if len(plan.steps) == len(wanted.steps) and plan.steps[0].model == first.model and plan == wanted:
            return i
    return None
