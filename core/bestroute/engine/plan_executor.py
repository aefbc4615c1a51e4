"""Running one plan as a generator of commands, without doing any I/O.

A driver, sync or async, executes the commands of ``execute`` and sends back the results, so that there is one executor
for both, and for candidates as for plans.
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
    """Command: draw ``n`` samples of a model in parallel. The reply is a list of samples."""

    step: int
    model: str
    n: int
    max_tokens: int | None = None
    """Token limit of each sample, if a budget requires one."""
    reserved_usd: float = 0.0
    """What is reserved for each sample in the call's budgets."""
    reservations: tuple[str, ...] = ()
    """Ids of these reservations, one for each sample."""
    is_last_word: bool = False
    """Whether no other sample can replace this one, so that it may be streamed to the caller."""
    greedy: bool = False
    """Whether the first of them is drawn at temperature 0."""
    logprobs: bool = False
    """Whether token log-probabilities are requested."""
    needs_logprobs: bool = False
    """Whether the reward model needs them."""


class Score(NamedTuple):
    """Command: score samples. The reply is a list of rewards."""

    texts: tuple[str, ...]
    samples: tuple[DrawnSample, ...] = ()
    """The samples that the texts belong to, for reward models that read more than texts."""
    reward_model: RewardModelBase | None = None
    """The reward model, filled in by the run."""


class Reserve(NamedTuple):
    """Command: reserve a sum in the call's budgets. The reply is whether that succeeded; 0 refreshes what is left."""

    usd: float
    reservations: tuple[str, ...] = ()
    """Ids of the attempts that share the sum equally."""


class PlanOutcome(NamedTuple):
    """All samples in drawing order, and the index of the answer; ``None`` if every draw failed.

    A sample with a flaw is the answer only if there is no other.
    """

    samples: tuple[DrawnSample, ...]
    chosen: int | None


@dataclass
class _State:
    samples: list[DrawnSample]

    def usable(self, step: int | None = None) -> list[int]:
        """Indices of the samples that may compete: those without error or flaw."""
        return [i for i, s in enumerate(self.samples) if (step is None or s.step == step) and s.is_sound]

    def best(self, among: Sequence[int]) -> int | None:
        """The best by agreement, then reward (unscored last), then completeness, then order."""
        if len(among) < 2:
            return among[0] if among else None
        return winner({i: self.samples[i].sample for i in among}, {i: self.samples[i].reward for i in among})

    def last_resort(self) -> int | None:
        """The best sample that may compete; else the first one of the last step, in spite of its flaw."""
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
        is_joint: Whether rewards depend on the other samples (votes): all are then scored again after each draw.
        wave: How many samples a step with ``accept`` draws at a time.

    Yields:
        ``Draw`` (answered by drawn samples) and ``Score`` (answered by rewards).

    Returns:
        The outcome. If every draw of a step failed or has a flaw, the next step runs; after the last step the best
        sample so far is the answer. If every sample has a flaw, it is the first one of the last step, which that
        model alone would have answered.
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
    """Score the new samples (all, if rewards are joint); return the index of the first accepted one."""
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
