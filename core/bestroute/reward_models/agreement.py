"""A reward that needs no training: how many samples, of one member or of several, give the same answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from bestroute._utils.public import name_home
from bestroute.reward_models.logprob_confidence import checked_level
from bestroute.selection.agreement import CUT
from bestroute.selection.answer_form import answer_form, options_in
from bestroute.stats.vote_posterior import beta_exceeds_half
from bestroute.types.bases import RewardModelBase
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample

NO_CALL = "[]"
"""The form of a reply that calls no tool where there are some."""


class Agreement(RewardModelBase):
    """Rewards an answer that several samples give, whatever stands around it and whichever member gave it.

    Answers are compared by their forms: numbers, units, dates, lists, JSON and choices however they are written
    (``bestroute.selection.answer_form``), tool calls by their schema. The reward is the posterior probability that an
    answer is likelier than its strongest rival, ``Pr[Beta(a + 1, b + 1) > 1/2]`` for ``a`` votes against ``b``: .875
    for two that agree. A lone vote is no agreement, so its reward is NaN, and so is that of an answer without a form.
    That no tool is called is an answer of its own kind: it takes a vote more than a call, since what is said in place
    of a call is not compared.

    Args:
        across: Whether samples of different members vote together; else each member's own.
        accept: The posterior from which an answer is accepted where no plan says another.

    Example:
        >>> drawn = [DrawnSample(Sample(t), m, 0) for t, m in (("84", "a"), ("**84.0**", "b"), ("85", "c"))]
        >>> Agreement().score_samples(Query("12 * 7?"), drawn)
        [0.6875, 0.6875, nan]
        >>> Agreement(across=False).score_samples(Query("12 * 7?"), drawn)
        [nan, nan, nan]
    """

    range = (0.0, 1.0)
    needs_training = False
    is_joint = True
    is_light = True
    kind = "agreement"

    def __init__(self, across: bool = True, accept: float = 0.85) -> None:
        """Check the level."""
        self.across = across
        self.default_accept = checked_level(accept, "Agreement")

    @staticmethod
    def least_samples(accept: float) -> int | None:
        """Return how many samples that all agree are accepted; ``None`` if no number of them is.

        Example:
            >>> Agreement.least_samples(0.85), Agreement.least_samples(0.5)
            (2, 2)
        """
        return next((n for n in range(2, 50) if beta_exceeds_half(n, 0) >= accept), None)

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return the posterior of each text's answer among all of them, as if one member had given them."""
        return self.score_samples(query, [Sample(text) for text in texts])

    def score_samples(self, query: Query, samples: Sequence[Sample | DrawnSample]) -> list[float]:
        """Return the posterior of each sample's answer among all of them; NaN where it has no second vote."""
        return [
            beta_exceeds_half(own - extra, rival) if own > 1 else math.nan
            for own, rival, extra in self._votes(query, samples)
        ]

    def evidence(self, query: Query, samples: Sequence[Sample | DrawnSample]) -> list[float]:
        """Return the same, but where an answer stands alone against others, how little it is to be believed.

        Example:
            >>> Agreement().evidence(Query("12 * 7?"), [Sample("84"), Sample("85")])
            [0.25, 0.25]
        """
        return [
            beta_exceeds_half(own - extra if own > 1 else own - 1, rival) if own > 1 or (own and rival) else math.nan
            for own, rival, extra in self._votes(query, samples)
        ]

    def _votes(self, query: Query, samples: Sequence[Sample | DrawnSample]) -> list[tuple[int, int, int]]:
        """Return the votes for each answer, those for its strongest rival, and how many more it has to have."""
        forms = forms_of(query, samples)
        voters = [s.model if isinstance(s, DrawnSample) and not self.across else "" for s in samples]
        votes = {voter: Counter(f for f, v in zip(forms, voters, strict=True) if f and v == voter) for voter in voters}
        has_tools, counted = bool(query.tools), []
        for form, voter in zip(forms, voters, strict=True):
            own = votes[voter][form]
            rival = max((count for other, count in votes[voter].items() if other != form), default=0)
            counted.append((own, rival, int(has_tools and form == NO_CALL)))
        return counted


def forms_of(query: Query, samples: Sequence[Sample | DrawnSample]) -> list[str]:
    """Return the form of each sample's answer; ``""`` for what agrees with nothing, as what was cut short does."""
    plain = [s.sample if isinstance(s, DrawnSample) else s for s in samples]
    options = options_in(query.text) if any(sample.form is None for sample in plain) else {}
    return [
        ""
        if sample.finish_reason in CUT
        else sample.form
        if sample.form is not None
        else answer_form(sample.text, options)
        for sample in plain
    ]


name_home("bestroute", globals(), ["Agreement"])
