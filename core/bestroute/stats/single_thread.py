"""Single-threaded linear algebra: our matrices are many and small, and threads would mostly wait."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from bestroute._utils.extras import need

P = ParamSpec("P")
R = TypeVar("R")


def on_one_core(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with single-threaded linear algebra, so that results do not depend on the number of cores.

    Raises:
        ImportError: When it is called, if what learning needs is not installed.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        need("learning on a CPU", "scipy", "sklearn", "threadpoolctl", extra="learn")
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):
            return function(*args, **kwargs)

    return run
