"""What somebody else's code raised: a failure of that code, or an interruption of the program."""

from __future__ import annotations

import sys


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
