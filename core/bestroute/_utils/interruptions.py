"""Tell failures of third-party code from interruptions of the program, and keep samples that arrived before one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_SAMPLES = "_bestroute_samples"


def is_interruption(error: BaseException) -> bool:
    """Return whether an error must propagate: Ctrl-C, a closed generator, or cancellation of the running task.

    All else that a router, a policy, a reward model or a member raises is its failure, ``SystemExit`` and a
    cancellation of its own making among it.
    """
    if isinstance(error, Exception):
        return False
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return True
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return False
    return task is not None and task.cancelling() > 0


def keep_samples(interruption: BaseException, samples: Sequence[Any]) -> None:
    """Attach the samples that arrived before an interruption to it, since they are paid for."""
    with suppress(Exception):  # a class may take no attributes
        setattr(interruption, _SAMPLES, tuple(samples))


def samples_of(interruption: BaseException) -> tuple[Any, ...]:
    """Return the samples attached to an interruption."""
    samples: tuple[Any, ...] = getattr(interruption, _SAMPLES, ())
    return samples
