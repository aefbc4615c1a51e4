"""Judges: a member of a pool, asked pointwise or pairwise, or a function."""

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
    """The distinct answers to one query, to be judged."""

    id: str
    query: str
    answers: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The record's line, with its turns and its known answer."""
    reference: str | None = None
    """The reference's answer, for comparison by a pairwise judge."""


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on the answers of a task."""

    qualities: tuple[float | None, ...]
    """Quality of each answer, in [0, 1]; ``None`` if the judge did not give one."""
    cost_usd: float = 0.0
    replies: tuple[str, ...] = ()
    """The judge's replies."""
    first_wins: tuple[int, int] = (0, 0)
    """Pairwise: how often the answer shown first was preferred, and how often the second."""


@dataclass(frozen=True)
class JudgeReply:
    """A judge's reply and its cost."""

    text: str
    cost_usd: float


class Judge(Protocol):
    """Assesses the quality of answers."""

    name: str

    def __call__(self, task: JudgeTask) -> Verdict:
        """Judge the answers of one query; called from several threads."""
        ...


class FunctionJudge:
    """A user's function ``fn(fields, text)`` -> a quality in [0, 1], like a checker of ``collect``."""

    def __init__(self, fn: Callable[[Mapping[str, Any], str], float | None], name: str = "function") -> None:
        """Store the function."""
        self.fn, self.name = fn, name

    def __call__(self, task: JudgeTask) -> Verdict:
        """Judge each answer separately.

        Raises:
            ConfigError: If the function fails, or does not return a quality.
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
            raise ConfigError(f"the judge failed on {brief(task.id)} ({why}); fix it and resume") from error
        if quality is not None and not (math.isfinite(quality) and 0 <= quality <= 1):
            raise ConfigError(f"the judge must return a quality in [0, 1] or None, got {quality} for {brief(task.id)}")
        return quality


class MemberJudge:
    """A model that is asked about the quality of answers, at temperature 0 if it takes one.

    Args:
        name: Its pool name.
        generator: Its generator.
        pool: The pool, for its price.
        rubric: Criteria of a good answer; used as the system prompt.
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
        """Store the settings."""
        pool.check_model(name)
        self.name, self.generator, self.pool = name, generator, pool
        self.rubric, self.is_pairwise = rubric, is_pairwise

    def __call__(self, task: JudgeTask) -> Verdict:
        """Ask the judge and parse its replies."""
        return self.verdict(task, [self.ask(query) for query in self.queries(task)])

    def queries(self, task: JudgeTask) -> list[Query]:
        """Return its questions about a task; an answer equal to the reference's is not asked about."""
        if not self.is_pairwise:
            asks = [questions.pointwise(task.fields, task.query, task.answers)]
        else:
            asks = [questions.pairwise(task.fields, task.query, *pair) for pair in _pairs(task)]
        return [Query(text, system=self.rubric) for text in asks]

    def reply(self, query: Query, sample: Sample) -> JudgeReply:
        """Return its reply with its bill.

        Raises:
            BaseException: The sample's error.
        """
        if sample.error is not None:
            raise sample.error
        return JudgeReply(sample.text, bill(sample, model=self.name, step=0, query=query, pool=self.pool).cost_usd)

    def verdict(self, task: JudgeTask, replies: Sequence[JudgeReply]) -> Verdict:
        """Parse its replies to the questions of a task, in order."""
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
        """Ask one question by a single call."""
        return self.reply(query, self.generator.generate(query, 1, params={"temperature": 0.0}, cancel=Cancel())[0])


def _pairs(task: JudgeTask) -> list[tuple[str, str]]:
    """Return each answer paired with the reference's, in both orders."""
    reference = task.reference
    others = [] if reference is None else [text for text in task.answers if text != reference]
    return [pair for text in others for pair in ((text, str(reference)), (str(reference), text))]


def _quality(text: str, reference: str | None, orders: Iterator[tuple[float | None, float | None]]) -> float | None:
    """Return how often an answer is preferred to the reference's; ``None`` if undecided."""
    if reference is None or text == reference:
        return None if reference is None else 0.5
    ahead, behind = next(orders)
    return None if ahead is None or behind is None else (ahead + 1 - behind) / 2


def tasks_answers(texts: Sequence[str]) -> tuple[str, ...]:
    """Return distinct texts in order."""
    return tuple(dict.fromkeys(texts))
