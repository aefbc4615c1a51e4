"""When an answer on which samples vote is accepted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VoteRule:
    """What beside the posterior an answer needs."""

    least_votes: int = 0
    """Votes without which it is not accepted: a lone one is no agreement."""


MAJORITY, AGREEMENT = VoteRule(), VoteRule(2)
