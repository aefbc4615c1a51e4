"""Judges, which assess the quality of answers where no test can, and checks of their reliability."""

from bestroute.judges.judge import FunctionJudge, Judge, JudgeTask, MemberJudge, Verdict
from bestroute.judges.labelling import Labelled, label

__all__ = ["FunctionJudge", "Judge", "JudgeTask", "Labelled", "MemberJudge", "Verdict", "label"]
