"""An untrained reward: how many samples, of one or several models, give the same answer."""

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
"""The canonical form of a reply that calls no tool although tools are available."""


class Agreement(RewardModelBase):
    """Rewards an answer by how many samples give it, regardless of its wording and of the model.

    Answers are compared by their forms: numbers, units, dates, lists, JSON and choices however they are written
    (``bestroute.selection.answer_form``), tool calls by their schema. The reward is the posterior probability that an
    answer is more likely than its strongest rival, ``Pr[Beta(a + 1, b + 1) > 1/2]`` for ``a`` votes against ``b``: .875
    for two that agree. A lone vote is no agreement, so its reward is NaN, and so is that of an answer without a form. A
    reply without a tool call needs one vote more than a call, since the text given in place of a call is not compared.
    of a call is not compared.

    Args:
        across: Whether samples of all models vote together; otherwise each model's samples vote among themselves.
        accept: The posterior from which an answer is accepted, unless a plan sets its own level.

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
        """Return the fewest unanimous samples that are accepted; ``None`` if no number of them is.

        Example:
            >>> Agreement.least_samples(0.85), Agreement.least_samples(0.5)
            (2, 2)
        """
        return next((n for n in range(2, 50) if beta_exceeds_half(n, 0) >= accept), None)

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Return the posterior of each text's answer among all of them, as if one model had given them."""
        return self.score_samples(query, [Sample(text) for text in texts])

    def score_samples(self, query: Query, samples: Sequence[Sample | DrawnSample]) -> list[float]:
        """Return the posterior of each sample's answer among all of them; NaN for an answer with a single vote."""
        return [
            beta_exceeds_half(own - extra, rival) if own > 1 else math.nan
            for own, rival, extra in self._votes(query, samples)
        ]

    def evidence(self, query: Query, samples: Sequence[Sample | DrawnSample]) -> list[float]:
        """Return the posteriors, with low values instead of NaN for single votes that others contradict.

        Example:
            >>> Agreement().evidence(Query("12 * 7?"), [Sample("84"), Sample("85")])
            [0.25, 0.25]
        """
        return [
            beta_exceeds_half(own - extra if own > 1 else own - 1, rival) if own > 1 or (own and rival) else math.nan
            for own, rival, extra in self._votes(query, samples)
        ]

    def _votes(self, query: Query, samples: Sequence[Sample | DrawnSample]) -> list[tuple[int, int, int]]:
        """Return, for each answer, its votes, those of its strongest rival, and the additional votes it needs."""
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
    """Return the canonical form of each sample's answer; ``""``, which agrees with nothing, for truncated ones."""
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
