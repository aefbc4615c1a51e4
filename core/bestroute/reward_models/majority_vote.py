"""An untrained reward: the answer that most samples agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from bestroute.errors.plain_functions import check_plain
from bestroute.stats.vote_posterior import beta_exceeds_half
from bestroute.types.bases import RewardModelBase
from bestroute.types.query import Query


class MajorityVote(RewardModelBase):
    """Rewards the answer that most samples agree on.

    The reward of a sample is the posterior probability that its answer is the more likely one of the two that
    lead: with ``a`` votes for it and ``b`` for its strongest rival, the chance that a Beta(a + 1, b + 1) variable
    exceeds one half. It rises with every vote; ties score 0.5, a single sample 0.75.

    Args:
        normalise: Brings answers to canonical form; samples that become ``""`` have no vote and score 0.

    Source:
        The stopping rule of Adaptive-Consistency (arXiv:2305.11860), its Beta approximation.

    Example:
        >>> MajorityVote().score(Query("2 + 2?"), ["4", "4", "5"])
        [0.6875, 0.6875, 0.3125]
    """

    range = (0.0, 1.0)
    needs_training = False
    default_accept = 0.85
    is_joint = True
    kind = "majority"

    def __init__(self, normalise: Callable[[str], str] = str.strip) -> None:
        """Store the function.

        Raises:
            ConfigError: If it is async.
        """
        check_plain("MajorityVote: normalise", normalise)
        self.normalise = normalise

    @staticmethod
    def least_samples(accept: float) -> int | None:
        """Return the fewest unanimous samples that are accepted; ``None`` if no number of them is.

        Example:
            >>> MajorityVote.least_samples(0.85)
            2
        """
        return next((n for n in range(1, 50) if beta_exceeds_half(n, 0) >= accept), None)

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return the posterior of each text's answer among all of them."""
        answers = [self.normalise(text) for text in texts]
        votes = Counter(answer for answer in answers if answer)
        leading = [count for _, count in votes.most_common(2)] + [0, 0]

        def posterior(answer: str) -> float:
            own = votes[answer]
            is_only_leader = own == leading[0]
            return beta_exceeds_half(own, leading[1] if is_only_leader else leading[0])

        return [posterior(answer) if answer else 0.0 for answer in answers]
