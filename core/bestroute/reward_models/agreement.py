"""A reward that needs no training: how many samples, of one member or of several, give the same answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

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
        forms = forms_of(query, samples)
        if self.across:
            return _posteriors(forms, bool(query.tools))
        rewards = [math.nan] * len(forms)
        models = [s.model if isinstance(s, DrawnSample) else "" for s in samples]
        for model in dict.fromkeys(models):
            own = [i for i, name in enumerate(models) if name == model]
            for i, reward in zip(own, _posteriors([forms[i] for i in own], bool(query.tools)), strict=True):
                rewards[i] = reward
        return rewards


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


def _posteriors(forms: Sequence[str], has_tools: bool) -> list[float]:
    votes = Counter(form for form in forms if form)
    leading = [count for _, count in votes.most_common(2)] + [0, 0]

    def posterior(form: str) -> float:
        own = votes[form]
        if own < 2:
            return math.nan
        rival = leading[1] if own == leading[0] else leading[0]
        return beta_exceeds_half(own - 1 if has_tools and form == NO_CALL else own, rival)

    return [posterior(form) for form in forms]
