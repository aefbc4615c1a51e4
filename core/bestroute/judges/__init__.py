"""Judges: who tells how good an answer is, where no test does, and how far they can be believed."""

from bestroute.judges.judge import FunctionJudge, Judge, JudgeTask, MemberJudge, Verdict
from bestroute.judges.labelling import Labelled, label

__all__ = ["FunctionJudge", "Judge", "JudgeTask", "Labelled", "MemberJudge", "Verdict", "label"]
