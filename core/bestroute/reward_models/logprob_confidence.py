"""An untrained reward: the probability of a short answer's tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bestroute._utils.amounts import is_number
from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from bestroute.selection.agreement import CUT
from bestroute.types.bases import RewardModelBase
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.signals import answer_probability


class LogprobConfidence(RewardModelBase):
    """Rewards an answer with the probability of all its tokens, ``exp(sum_logprob)``.

    Only short answers of at most 16 tokens get a reward, since it was calibrated on those. Longer ones,
    truncated ones, and answers with a token without log-probability get NaN, and
    are not accepted.

    Args:
        accept: The probability from which an answer is accepted, unless a plan sets its own level.

    Example:
        >>> from bestroute.types.signals import Signals
        >>> known, unknown = Sample("84", signals=Signals.from_logprobs([-0.1, -0.1])), Sample("84")
        >>> [round(p, 3) for p in LogprobConfidence().score_samples(Query("12 * 7?"), [known, unknown])]
        [0.819, nan]
    """

    range = (0.0, 1.0)
    needs_training = False
    needs_logprobs = True
    is_light = True
    kind = "logprobs"

    def __init__(self, accept: float = 0.7) -> None:
        """Check the level."""
        self.default_accept = checked_level(accept, "LogprobConfidence")

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return NaN for each text: a text without its tokens has no known probability."""
        return [math.nan] * len(texts)

    def score_samples(self, query: Query, samples: Sequence[Sample | DrawnSample]) -> list[float]:
        """Return the probability of each answer; NaN if unknown, or if the answer is not short."""
        return [_probability(s.sample if isinstance(s, DrawnSample) else s) for s in samples]


def checked_level(accept: float, owner: str) -> float:
    """Check and return an acceptance level.

    Raises:
        ConfigError: If it is not in [0, 1].
    """
    if not is_number(accept) or not 0 <= accept <= 1:
        raise ConfigError(f"{owner}: accept must be in [0, 1], a probability, got {brief(accept)}")
    return float(accept)


def _probability(sample: Sample) -> float:
    return math.nan if sample.finish_reason in CUT else answer_probability(sample.signals)
