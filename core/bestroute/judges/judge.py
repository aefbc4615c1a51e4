"""Judges: a member of a pool that is asked, pointwise or pairwise, or a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bestroute._utils.interruptions import is_interruption
from bestroute._utils.text import brief
from bestroute.billing.sample_bills import bill
from bestroute.errors import ConfigError
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.judges import questions
from bestroute.judges.replies import read_preference, read_scores
from bestroute.types.pool import Pool
from bestroute.types.protocols import Generator
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Sample


@dataclass(frozen=True)
class JudgeTask:
    """What is to be judged: the answers to one query, no text twice."""

    id: str
    query: str
    answers: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The whole line of the record: its turns, its known answer, whatever a judge may want."""
    reference: str | None = None
    """The reference's answer, with which a pairwise judge compares."""


@dataclass(frozen=True)
class Verdict:
    """What a judge said of the answers of a task."""

    qualities: tuple[float | None, ...]
    """Of each answer, in [0, 1]; ``None`` where the judge did not tell."""
    cost_usd: float = 0.0
    replies: tuple[str, ...] = ()
    """In the judge's words."""
    first_wins: tuple[int, int] = (0, 0)
    """How often, pairwise, the answer shown first was called the better one, and how often the other."""


@dataclass(frozen=True)
class JudgeReply:
    """A judge's words, and what they cost."""

    text: str
    cost_usd: float


class Judge(Protocol):
    """Tells how good answers are."""

    name: str

    def __call__(self, task: JudgeTask) -> Verdict:
        """Judge the answers of one query; called from several threads."""
        ...


class FunctionJudge:
    """A function of the user's: ``fn(fields, text)`` -> a quality in [0, 1], as a checker of ``collect``."""

    def __init__(self, fn: Callable[[Mapping[str, Any], str], float | None], name: str = "function") -> None:
        """Keep the function."""
        self.fn, self.name = fn, name

    def __call__(self, task: JudgeTask) -> Verdict:
        """Judge each answer by itself.

        Raises:
            ConfigError: If the function fails, or says what is no quality.
        """
        return Verdict(tuple(self._quality(task, text) for text in task.answers))

    def _quality(self, task: JudgeTask, text: str) -> float | None:
        try:
            score = self.fn(task.fields, text)
            quality = None if score is None else float(score)
        except BaseException as error:
            if is_interruption(error):
                raise
            why = " ".join(describe(hide_quotations(error, Query(task.query))).split())
            raise ConfigError(f"the judge failed on {brief(task.id)} ({why}); mend it and resume") from error
        if quality is not None and not (math.isfinite(quality) and 0 <= quality <= 1):
            raise ConfigError(f"the judge must return a quality in [0, 1] or None, got {quality} for {brief(task.id)}")
        return quality


class MemberJudge:
    """A model that is asked how good answers are, at temperature 0 where it takes one.

    Args:
        name: Its name in the pool.
        generator: How it is asked.
        pool: For its price.
        rubric: What makes an answer good; its system prompt.
        is_pairwise: Compare each answer with the reference's, in both orders, so that a liking for the place of an
            answer cancels out; a quality is then the chance to be preferred, 0.5 for equals. Otherwise all answers
            are scored in one call.
    """

    def __init__(
        self,
        name: str,
        generator: Generator,
        pool: Pool,
        *,
        rubric: str = questions.RUBRIC,
        is_pairwise: bool = False,
    ) -> None:
        """Keep who is asked."""
        pool.check_model(name)
        self.name, self.generator, self.pool = name, generator, pool
        self.rubric, self.is_pairwise = rubric, is_pairwise

    def __call__(self, task: JudgeTask) -> Verdict:
        """Ask, and read what it says."""
        return self.verdict(task, [self.ask(query) for query in self.queries(task)])

    def queries(self, task: JudgeTask) -> list[Query]:
        """Return what it is asked about a task; an answer that equals the reference's is not asked about."""
        if not self.is_pairwise:
            asks = [questions.pointwise(task.fields, task.query, task.answers)]
        else:
            asks = [questions.pairwise(task.fields, task.query, *pair) for pair in _pairs(task)]
        return [Query(text, system=self.rubric) for text in asks]

    def reply(self, query: Query, sample: Sample) -> JudgeReply:
        """Return what it says, with its bill.

        Raises:
            BaseException: What came instead of an answer.
        """
        if sample.error is not None:
            raise sample.error
        return JudgeReply(sample.text, bill(sample, model=self.name, step=0, query=query, pool=self.pool).cost_usd)

    def verdict(self, task: JudgeTask, replies: Sequence[JudgeReply]) -> Verdict:
        """Read its replies to the queries of a task, in their order."""
        texts = tuple(reply.text for reply in replies)
        cost_usd = sum(reply.cost_usd for reply in replies)
        if not self.is_pairwise:
            scores = read_scores(texts[0], len(task.answers))
            return Verdict(tuple(scores) if scores else (None,) * len(task.answers), cost_usd, texts)
        preferred = [read_preference(text) for text in texts]
        orders = iter(zip(preferred[::2], preferred[1::2], strict=True))
        return Verdict(
            tuple(_quality(text, task.reference, orders) for text in task.answers),
            cost_usd,
            texts,
            (preferred.count(1.0), preferred.count(0.0)),
        )

    def ask(self, query: Query) -> JudgeReply:
        """Ask one question by a call."""
        return self.reply(query, self.generator.generate(query, 1, params={"temperature": 0.0}, cancel=Cancel())[0])


def _pairs(task: JudgeTask) -> list[tuple[str, str]]:
    """Return each answer beside the reference's, in both orders."""
    reference = task.reference
    others = [] if reference is None else [text for text in task.answers if text != reference]
    return [pair for text in others for pair in ((text, str(reference)), (str(reference), text))]


def _quality(text: str, reference: str | None, orders: Iterator[tuple[float | None, float | None]]) -> float | None:
    """Return how often an answer is preferred to the reference's; ``None`` where the judge did not tell."""
    if reference is None or text == reference:
        return None if reference is None else 0.5
    ahead, behind = next(orders)
    return None if ahead is None or behind is None else (ahead + 1 - behind) / 2


def tasks_answers(texts: Sequence[str]) -> tuple[str, ...]:
    """Return texts, each once, in their order."""
    return tuple(dict.fromkeys(texts))
