"""What somebody else's code raised: a failure of that code, or an interruption of the program, and what came before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_SAMPLES = "_bestroute_samples"


def is_interruption(error: BaseException) -> bool:
    """Whether an error has to go on up: Ctrl-C, a closed generator, or the cancellation of the running task.

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
    """Note on an interruption which samples had come when a draw was called off: they are paid."""
    with suppress(Exception):  # a class may take no attributes
        setattr(interruption, _SAMPLES, tuple(samples))


def samples_of(interruption: BaseException) -> tuple[Any, ...]:
    """Return the samples that had come when a draw was called off."""
    samples: tuple[Any, ...] = getattr(interruption, _SAMPLES, ())
    return samples
