"""A reward for pools without a router: the probability of a sample's tokens if known, else agreement of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bestroute.reward_models.agreement import Agreement
from bestroute.reward_models.logprob_confidence import LogprobConfidence
from bestroute.types.bases import RewardModelBase
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample

EARNED = 0.7
"""The acceptance level of both."""
_AGREED = 0.85
"""The posterior of two samples that agree is .875, of two that call no tool .75."""


class FirstEvidence(RewardModelBase):
    """Rewards a short answer with its token probability, and an answer that samples agree on with their posterior.

    A probability accepts from .7, agreement from .85 on (two calls, answers or choices that are the same; three times
    "no call"); agreement below that is unknown. So one level, .7, serves both.

    Args:
        needs_logprobs: Whether to request log-probabilities; otherwise agreement alone counts.

    Example:
        >>> from bestroute.types.sample import Sample
        >>> drawn = [DrawnSample(Sample("84"), "a", 0), DrawnSample(Sample("84."), "b", 1)]
        >>> FirstEvidence().score_samples(Query("12 * 7?"), drawn)
        [0.875, 0.875]
    """

    range = (0.0, 1.0)
    needs_training = False
    default_accept = EARNED
    is_joint = True
    is_light = True
    kind = "evidence"

    def __init__(self, *, needs_logprobs: bool = True) -> None:
        """Set up both rewards at their acceptance levels."""
        self.needs_logprobs = needs_logprobs
        self._confidence, self._agreement = LogprobConfidence(EARNED), Agreement(accept=_AGREED)

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return the agreement of the texts."""
        return [self._earned(math.nan, agreed) for agreed in self._agreement.score(query, texts)]

    def score_samples(self, query: Query, samples: Sequence[DrawnSample]) -> list[float]:
        """Return the reward of each sample; NaN if neither is known."""
        probabilities = self._confidence.score_samples(query, samples)
        agreed = self._agreement.score_samples(query, samples)
        return [self._earned(*both) for both in zip(probabilities, agreed, strict=True)]

    @staticmethod
    def _earned(probability: float, agreed: float) -> float:
        known = [p for p in (probability, agreed if agreed >= _AGREED else math.nan) if p == p]
        return max(known, default=math.nan)


WITH_LOGPROBS, AGREEMENT_ALONE = FirstEvidence(), FirstEvidence(needs_logprobs=False)
"""With and without log-probabilities."""
