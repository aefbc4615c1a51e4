"""Rules for accepting an answer that samples vote on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VoteRule:
    """What an accepted answer needs besides the posterior probability."""

    least_votes: int = 0
    """Fewest votes of an accepted answer; a single vote is no agreement."""


MAJORITY, AGREEMENT = VoteRule(), VoteRule(2)
