"""Which members a decision without a router tries; made by ``bestroute.engine.day_one``."""

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
    """The members that a decision tries before the reference, so that the outcome can be learnt from."""

    kind: AnswerKind
    members: tuple[str, ...]
    """Empty if only the reference is asked."""
    reads_logprobs: bool = False
    """Whether members are asked for log-probabilities, because these are the answer's and members may report them."""

    @property
    def reward_model(self) -> FirstEvidence:
        """The reward model that accepts samples."""
        from bestroute.reward_models.first_evidence import AGREEMENT_ALONE, WITH_LOGPROBS

        return WITH_LOGPROBS if self.reads_logprobs else AGREEMENT_ALONE
