"""Running one plan, without doing anything: it says what to draw and what to score, and is told the outcome.

``execute`` is a generator of commands. A driver, sync or async, obeys them and sends back what came; so there is
one executor for both worlds, for candidates and for plans.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bestroute.selection.agreement import winner
from bestroute.types.bases import RewardModelBase
from bestroute.types.plans import Plan, Step
from bestroute.types.sample import DrawnSample


class Draw(NamedTuple):
    """Command: draw ``n`` samples of a model, all at the same time. The answer is a list of samples."""

    step: int
    model: str
    n: int
    max_tokens: int | None = None
    """Limit of each sample's length, where a budget asks for one."""
    reserved_usd: float = 0.0
    """What was set aside for each sample in the call's budgets."""
    reservations: tuple[str, ...] = ()
    """Under which id, one for each sample, that was set aside."""
    is_last_word: bool = False
    """Whether nothing can replace this one sample, so that it may be shown as it comes."""
    greedy: bool = False
    """Whether the first of them is to be at temperature 0."""
    logprobs: bool = False
    """Whether the log-probabilities of the tokens are asked for."""
    needs_logprobs: bool = False
    """Whether what scores the samples reads them."""


class Score(NamedTuple):
    """Command: score samples. The answer is a list of rewards."""

    texts: tuple[str, ...]
    samples: tuple[DrawnSample, ...] = ()
    """What the texts are of, for rewards that read more than texts."""
    reward_model: RewardModelBase | None = None
    """Who scores them; the run says it."""


class Reserve(NamedTuple):
    """Command: set a sum aside in the call's budgets. The answer is whether it was there; 0 asks what is left."""

    usd: float
    reservations: tuple[str, ...] = ()
    """Ids of the attempts that it is for, in equal parts."""


class PlanOutcome(NamedTuple):
    """All samples in drawing order and which one is the answer; ``None`` if every draw failed.

    A sample with a flaw is the answer only where no other came.
    """

    samples: tuple[DrawnSample, ...]
    chosen: int | None


@dataclass
class _State:
    samples: list[DrawnSample]

    def usable(self, step: int | None = None) -> list[int]:
        """Samples that may compete: they came, and without a flaw."""
        return [i for i, s in enumerate(self.samples) if (step is None or s.step == step) and s.is_sound]

    def best(self, among: Sequence[int]) -> int | None:
        """Most agreement, then the highest reward, a complete text, the earliest; unscored stands behind scored."""
        if len(among) < 2:
            return among[0] if among else None
        return winner({i: self.samples[i].sample for i in among}, {i: self.samples[i].reward for i in among})

    def last_resort(self) -> int | None:
        """The best of all that may compete; else the first of the last step that came, with a flaw as it is."""
        drawn = [i for i, s in enumerate(self.samples) if s.error is None]
        last = [i for i in drawn if self.samples[i].step == self.samples[drawn[-1]].step]
        return next((i for i in (self.best(self.usable()), *last) if i is not None), None)


def execute(
    plan: Plan,
    *,
    calibrated: Callable[[Sequence[float]], Sequence[float]],
    is_joint: bool = False,
    wave: int = 1,
) -> Generator[Draw | Score, list[DrawnSample] | Sequence[float], PlanOutcome]:
    """Run a plan.

    Args:
        plan: What to draw in what order.
        calibrated: From rewards to probabilities, for ``accept``.
        is_joint: Samples judge each other (votes): all drawn so far are scored again after each draw.
        wave: How many samples a step with ``accept`` draws at a time.

    Yields:
        ``Draw`` (answered by drawn samples) and ``Score`` (answered by rewards).

    Returns:
        The outcome. A step in which every draw failed or has a flaw gives way to the next; if the last step did,
        the best seen before it answers; if every sample has a flaw, the first of the last step that came, which is
        what that model alone would have answered.
    """
    state = _State([])
    for number, step in enumerate(plan.steps):
        left = step.n
        while left:
            size = left if step.accept is None else min(wave, left)
            left -= size
            drawn = yield Draw(number, step.model, size)
            state.samples += drawn  # type: ignore[arg-type]
            if not step.is_scored:
                continue
            if (accepted := (yield from _score(state, step, len(drawn), is_joint, calibrated))) is not None:
                return PlanOutcome(tuple(state.samples), accepted)
        if step.accept is None and (answer := state.best(state.usable(number))) is not None:
            return PlanOutcome(tuple(state.samples), answer)
    return PlanOutcome(tuple(state.samples), state.last_resort())


def _score(
    state: _State,
    step: Step,
    fresh: int,
    is_joint: bool,
    calibrated: Callable[[Sequence[float]], Sequence[float]],
) -> Generator[Draw | Score, list[DrawnSample] | Sequence[float], int | None]:
    """Score what is new (or everything, if samples judge each other); return the first accepted sample."""
    first_new = 0 if is_joint else len(state.samples) - fresh
    wanted = [i for i in state.usable() if i >= first_new]
    if not wanted:
        return None
    scored = tuple(state.samples[i] for i in wanted)
    rewards: Sequence[float] = yield Score(tuple(s.text for s in scored), scored)  # type: ignore[assignment]
    for i, reward in zip(wanted, rewards, strict=True):
        state.samples[i] = replace(state.samples[i], reward=float(reward))
    if step.accept is None:
        return None
    for i, probability in zip(wanted, calibrated(rewards), strict=True):
        if probability >= step.accept:
            state.samples[i] = replace(state.samples[i], accepted=True)
            return i
    return None
