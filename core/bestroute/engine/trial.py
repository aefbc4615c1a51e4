"""What a decision tried without a router. ``bestroute.engine.day_one`` makes it, where one is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bestroute.reward_models.first_evidence import FirstEvidence
    from bestroute.selection.answer_kind import AnswerKind

NO_ROUTER = (
    "no router: the reference answers open text, which saves nothing; give router= (a folder of `bestroute train`, or "
    "a function that returns a pool name), or a reward_model (MajorityVote(), Verifier(fn), a trained one)"
)


@dataclass(frozen=True)
class Trial:
    """What a decision tried, to be learnt from."""

    kind: AnswerKind
    members: tuple[str, ...]
    """None where the reference alone was asked."""
    reads_logprobs: bool = False
    """Whether members are asked for log-probabilities: where they are those of the answer, and may be told."""

    @property
    def reward_model(self) -> FirstEvidence:
        """What accepts the samples."""
        from bestroute.reward_models.first_evidence import AGREEMENT_ALONE, WITH_LOGPROBS

        return WITH_LOGPROBS if self.reads_logprobs else AGREEMENT_ALONE
