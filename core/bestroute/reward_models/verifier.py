"""An untrained reward: a check that decides whether an answer is right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bestroute.errors import ConfigError
from bestroute.errors.plain_functions import check_plain
from bestroute.types.bases import RewardModelBase
from bestroute.types.query import Query


class Verifier(RewardModelBase):
    """Rewards an answer by a check of its correctness: tests pass, the sum adds up, the JSON parses.

    Args:
        fn: ``fn(query, text)`` -> a truth value, or a number in [0, 1].
    """

    range = (0.0, 1.0)
    needs_training = False
    default_accept = 1.0

    def __init__(self, fn: Callable[[Query, str], float | bool]) -> None:
        """Store the function.

        Raises:
            ConfigError: If it is async.
        """
        check_plain("Verifier: fn", fn)
        self.fn = fn

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return the check's result for each text; NaN means unknown and ranks below every number.

        Raises:
            ConfigError: If a result is outside [0, 1].
        """
        rewards = [float(self.fn(query, text)) for text in texts]
        for reward in rewards:
            if not (0 <= reward <= 1 or math.isnan(reward)):
                raise ConfigError(f"Verifier: the function must return a number in [0, 1], got {reward}")
        return rewards
