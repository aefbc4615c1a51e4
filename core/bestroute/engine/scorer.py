"""Asking the reward model, no longer than a call may take; whatever it raises is handed on as a value."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from bestroute._utils.interruptions import is_interruption
from bestroute._utils.threads import Outcome, arun_in_thread, run_in_thread
from bestroute.engine.call_context import RunContext
from bestroute.engine.plan_executor import Score
from bestroute.errors import ConfigError, DeadlineError
from bestroute.reward_models.untrained import reads_samples
from bestroute.selection.checks import IN_PLACE
from bestroute.types.bases import RewardModelBase, has_own
from bestroute.types.query import Query

_GRACE_S = 0.05
"""What came just before the deadline may still be scored, if that is quick."""


def score(query: Query, command: Score, call: RunContext) -> Any:
    """Return the rewards, or the error that there were none; where there is a deadline a thread asks for them.

    Raises:
        ConfigError: If the reward model says that it is set up wrongly.
    """
    reward = _scorer(command)
    work = partial(_read, reward, query, command)
    if call.deadline is None or _is_quick(reward, command):
        return _rewards(Outcome.of(work), call)
    try:
        seconds = call.seconds_left(grace_s=_GRACE_S)
        return _rewards(run_in_thread(work, name="bestroute-reward", seconds=seconds), call)
    except RuntimeError as error:  # the system gives no more threads
        return error


async def ascore(query: Query, command: Score, call: RunContext) -> Any:
    """Return the rewards, or the error that there were none, without blocking the loop; see ``score``."""
    seconds, reward = call.seconds_left(grace_s=_GRACE_S), _scorer(command)
    if _is_quick(reward, command):
        return _rewards(Outcome.of(partial(_read, reward, query, command)), call)
    if has_own(reward, RewardModelBase.ascore) and inspect.iscoroutinefunction(reward.ascore):
        return _rewards(await _awaited(reward, query, command.texts, seconds), call)
    try:
        outcome = await arun_in_thread(partial(_read, reward, query, command), name="bestroute-reward", seconds=seconds)
    except RuntimeError as error:  # the system gives no more threads
        return error
    return _rewards(outcome, call)


def _scorer(command: Score) -> RewardModelBase:
    assert command.reward_model is not None  # plans that score are refused without one
    return command.reward_model


def _is_quick(reward: RewardModelBase, command: Score) -> bool:
    """Whether scoring is a matter of a millisecond; of very long texts nothing is."""
    return reward.is_light and sum(map(len, command.texts)) <= IN_PLACE


def _read(reward: RewardModelBase, query: Query, command: Score) -> list[Any]:
    """Return the rewards, those of a generator read here; more than there are texts are as wrong as too few."""
    if reads_samples(reward):
        rewards = reward.score_samples(query, command.samples)
    else:
        rewards = reward.score(query, command.texts)
    return list(islice(rewards, len(command.texts) + 1))


async def _awaited(
    reward: RewardModelBase, query: Query, texts: Sequence[str], seconds: float | None
) -> Outcome[Any] | None:
    """Return what a coroutine brings; ``None`` if it takes longer than that, and is left to itself."""
    import asyncio

    from bestroute._utils.tasks import leave

    async def ask() -> Outcome[Any]:
        try:
            return Outcome(list(islice(await reward.ascore(query, texts), len(texts) + 1)))
        except BaseException as error:
            if is_interruption(error):
                raise
            return Outcome(error=error)  # a task would raise SystemExit at whoever runs the loop

    asking = asyncio.ensure_future(ask())
    try:
        done, _ = await asyncio.wait([asking], timeout=seconds)
    except BaseException:  # the caller is cancelled
        await leave([asking])
        raise
    if not done:
        await leave([asking])
        return None
    return asking.result()


def _rewards(outcome: Outcome[Any] | None, call: RunContext) -> Any:
    if outcome is None:
        return DeadlineError(f"no rewards within {call.limits.deadline_s:g} s")
    error = outcome.error
    if error is None:
        return outcome.value
    if isinstance(error, ConfigError) or is_interruption(error):
        raise error
    return error  # the run has a rule for it
