"""A reward that combines several rewards into one probability, by fixed weights or weights fitted on records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bestroute._utils.public import name_home
from bestroute.errors import ConfigError
from bestroute.reward_models.evidence_curve import LEAST, FittedWeights, features, probabilities
from bestroute.reward_models.logprob_confidence import checked_level
from bestroute.reward_models.untrained import is_calibrated
from bestroute.types.arrays import FloatArray
from bestroute.types.bases import RewardModelBase, completed
from bestroute.types.protocols import RewardModel
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample

if TYPE_CHECKING:
    from bestroute.records.records import Record
    from bestroute.types.plans import Plan

FIXED_WEIGHTS = {"logprobs": 2.0}
"""Weight of a reward's log-odds without fitting, by kind; 1 for every other. On short answers of two local models
agreement improved the token probability by less than .015 of AUROC, so the token probability counts twice.
"""


class Confidence(RewardModelBase):
    """The probability that an answer is right, combined from several rewards.

    Unfitted, the known log-odds are averaged, and log-probabilities count twice. ``fitted`` chooses
    weights and the acceptance level on records. If nothing is known, the reward is NaN, which is never accepted.
    Features of the query are not used, since they mislead on new tasks.

    Example:
        >>> from bestroute import Agreement, LogprobConfidence
        >>> both = Confidence.of(LogprobConfidence(), Agreement())
        >>> drawn = [DrawnSample(Sample("84"), "a", 0), DrawnSample(Sample("84."), "b", 1)]
        >>> [round(p, 3) for p in both.score_samples(Query("12 * 7?"), drawn)]
        [0.875, 0.875]
    """

    range = (0.0, 1.0)
    needs_training = False
    kind = "confidence"

    def __init__(
        self, rewards: Sequence[RewardModel], *, accept: float = 0.7, weights: FittedWeights | None = None
    ) -> None:
        """Check that every reward is a probability; ``of`` is the shorter constructor."""
        if not rewards:
            raise ConfigError("Confidence: needs at least one reward model, for example LogprobConfidence()")
        for reward in rewards:
            if not is_calibrated(reward):
                raise ConfigError(
                    f"Confidence: {type(reward).__name__} gives no probability; declare range = (0.0, 1.0), or give it "
                    "a method calibrated(rewards)"
                )
        self.rewards = tuple(completed(reward, RewardModelBase) for reward in rewards)
        self.default_accept = checked_level(accept, "Confidence")
        self.weights = weights
        self.is_joint = any(reward.is_joint for reward in self.rewards)
        self.needs_logprobs = any(reward.needs_logprobs for reward in self.rewards)
        self.is_light = all(reward.is_light for reward in self.rewards)

    @classmethod
    def of(cls, *rewards: RewardModel, accept: float = 0.7) -> Confidence:
        """Combine reward models whose rewards are probabilities.

        Raises:
            ConfigError: If there is none, or one gives no probability.
        """
        return cls(rewards, accept=accept)

    def fitted(
        self,
        records: Sequence[Record],
        plan: Plan,
        *,
        max_drop: float = 0.01,
        deals: int = 3,
        folds: int = 5,
        group_of: Callable[[Record], str] | None = None,
        seed: int = 0,
    ) -> Confidence:
        """Return a confidence with weights and an acceptance level for a plan, both chosen by held-out folds.

        Args:
            records: Records with texts, and signals if available, of every model of the plan; quality in [0, 1].
            plan: The plan; its last step is the reference, the steps before it accept.
            max_drop: Largest relative loss of quality on held-out folds.
            deals: How often folds are dealt, at least 3.
            folds: Number of folds by group.
            group_of: Returns what folds keep together; default: the record's group. Use the task if tasks will be new.
            seed: Seed of orders and folds.

        Raises:
            ConfigError: If there are too few groups or deals, or the plan does not end with another model.
            RecordError: If texts or qualities are missing.
        """
        from bestroute.reward_models.confidence_fit import fit

        weights, accept = fit(
            self.evidence_table,
            records,
            plan,
            max_drop=max_drop,
            deals=deals,
            folds=folds,
            group_of=group_of,
            seed=seed,
        )
        return Confidence(self.rewards, accept=accept, weights=weights)

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return the probability of each text, as if one model had given them."""
        return self.score_samples(query, [DrawnSample(Sample(text), "", 0) for text in texts])

    def score_samples(self, query: Query, samples: Sequence[DrawnSample]) -> list[float]:
        """Return the probability of each sample; NaN if nothing is known about it."""
        evidence = self.evidence_table(query, samples)
        if self.weights is None:
            return [self._averaged(row) for row in evidence]
        lengths = [len(sample.text) for sample in samples]
        return [float(p) for p in probabilities(self.weights.weights, features(evidence, lengths))]

    def evidence_table(self, query: Query, samples: Sequence[DrawnSample]) -> FloatArray:
        """Return each reward's evidence about each sample, NaN if it has none; shape ``(samples, K)``."""
        return np.array([list(reward.evidence(query, samples)) for reward in self.rewards], dtype=np.float64).T.reshape(
            len(samples), len(self.rewards)
        )

    def _averaged(self, row: FloatArray) -> float:
        weighted = [
            (FIXED_WEIGHTS.get(reward.kind or "", 1.0), _log_odds(p))
            for reward, p in zip(self.rewards, row.tolist(), strict=True)
            if not math.isnan(p)
        ]
        if not weighted:
            return math.nan
        mean = sum(w * x for w, x in weighted) / sum(w for w, _ in weighted)
        return 1 / (1 + math.exp(-mean))


def _log_odds(p: float) -> float:
    clipped = min(max(p, LEAST), 1 - LEAST)
    return math.log(clipped / (1 - clipped))


name_home("bestroute", globals(), ["Confidence"])
