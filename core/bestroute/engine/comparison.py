"""How an answer compares with the reference's: by a judge, by a reward that reads texts, by the form of both."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bestroute._utils.interruptions import is_interruption
from bestroute.billing.outcomes import Method
from bestroute.errors.redaction import describe
from bestroute.reward_models.untrained import calibrated, is_calibrated, reads_samples
from bestroute.selection.checks import IN_PLACE
from bestroute.types.bases import RewardModelBase, completed
from bestroute.types.protocols import RewardModel
from bestroute.types.query import Query
from bestroute.types.sample import Sample

logger = logging.getLogger("bestroute.engine")


@dataclass(frozen=True)
class WithReference:
    """What two answers to one query show."""

    drop: float
    """The reference's quality less the other's, in [-1, 1]."""
    reference_quality: float
    """1 where only the difference is known."""
    method: Method
    differs: bool | None = None
    """Whether their forms do; ``None`` where they have none."""


class Comparer:
    """Compares answers with the reference's.

    Args:
        judge: Scores both in [0, 1]; it goes before everything else.
        reward_model: Of the engine. One that reads texts scores both: the chances that its rewards stand for, or
            which of the two it prefers. Votes and log-probabilities are no verdict on one answer.
    """

    def __init__(self, judge: RewardModel | None, reward_model: RewardModel | None) -> None:
        """Choose the verdict."""
        whole = None if reward_model is None else completed(reward_model, RewardModelBase)
        reads_texts = whole is not None and not (whole.is_joint or reads_samples(whole))
        self.judge = None if judge is None else completed(judge, RewardModelBase)
        self.reward_model = whole if reads_texts else None

    @property
    def knows_open_text(self) -> bool:
        """Whether it compares any two texts, not those alone that have a form."""
        return self.judge is not None or self.reward_model is not None

    def may_compare(self, query: Query, answer: Sample) -> bool:
        """Whether another answer to the query could be compared with this one; if not, none need be drawn.

        A call waits for it, so that a very long answer is looked at only where the two are compared.
        """
        if self.knows_open_text:
            return True
        if len(answer.text) <= IN_PLACE:
            return _form(query, answer) is not None
        from bestroute.selection.answer_kind import answer_kind

        return answer.form is not None or answer_kind(query) is not None

    def compare(self, query: Query, answer: Sample, reference: Sample) -> WithReference | None:
        """Return what the two show; ``None`` where nothing can compare them."""
        one, other = _form(query, answer), _form(query, reference)
        differs = None if one is None or other is None else one != other
        texts = (answer.text, reference.text)
        if self.judge is not None:
            if (scores := _scores(self.judge, query, texts)) is not None and all(0 <= s <= 1 for s in scores):
                return WithReference(scores[1] - scores[0], scores[1], "judge", differs)
            logger.warning("the judge of audits gave no two numbers in [0, 1]; they are compared without it")
        if self.reward_model is not None and (scores := _scores(self.reward_model, query, texts)) is not None:
            if is_calibrated(self.reward_model):
                chances = calibrated(self.reward_model, scores)
                if len(chances) == 2 and all(0 <= p <= 1 for p in chances):
                    return WithReference(chances[1] - chances[0], chances[1], "reward", differs)
            else:
                return WithReference(float((scores[1] > scores[0]) - (scores[1] < scores[0])), 1.0, "reward", differs)
        return None if differs is None else WithReference(float(differs), 1.0, "agreement", differs)


def _scores(judge: RewardModelBase, query: Query, texts: Sequence[str]) -> list[float] | None:
    """Return what a judge gives two texts; ``None`` if it fails, or gives no two numbers."""
    try:
        scores = [float(score) for score in judge.score(query, list(texts))]
    except BaseException as error:
        if is_interruption(error):
            raise
        logger.warning("%s could not compare two answers: %s", type(judge).__name__, describe(error, query))
        return None
    return scores if len(scores) == 2 and all(map(math.isfinite, scores)) else None


def _form(query: Query, sample: Sample) -> str | None:
    """Return the form by which a sample can be compared; ``None`` for open text, and for what is said beside tools."""
    from bestroute.reward_models.agreement import NO_CALL, forms_of
    from bestroute.selection.answer_form import marked_answer
    from bestroute.selection.answer_kind import answer_kind

    if sample.form is None and answer_kind(query) is None and marked_answer(sample.text) is None:
        return None
    (form,) = forms_of(query, [sample])
    return form if form and form != NO_CALL else None
