"""Fakes whose every token a test controls; real objects rather than patches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bestroute.types.draw_params import wishes_greedy, wishes_logprobs
from bestroute.types.plans import Candidate, Plan, as_plan
from bestroute.types.prediction import Prediction
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Delta, Sample
from bestroute.types.signals import Signals
from bestroute.types.usage import Usage


class FakeGenerator:
    """Draws from a list of answers, in order, repeatedly.

    Args:
        answers: Texts, samples, or exceptions to raise.
        native_n: Draw all ``n`` in one call; the prompt is then billed to the first.
        usage: Of each text; default: a token a word.
        delay_s: How long a call takes.
        logprob: Of every word of an answer, where the engine asks for log-probabilities.
        tells_until: From so many samples on the field is not sent any more; ``None``: it always is.
        greedy: The answer at temperature 0; without one its temperature cannot be set.

    ``calls`` holds ``(query text, n)`` of every call.
    """

    def __init__(
        self,
        answers: Sequence[str | Sample | BaseException],
        *,
        native_n: bool = False,
        usage: Usage | None = None,
        delay_s: float = 0.0,
        logprob: float | None = None,
        tells_until: int | None = None,
        greedy: str | None = None,
    ) -> None:
        """Start at the first answer."""
        self.logprob, self.tells_until, self.greedy = logprob, tells_until, greedy
        self.answers, self.native_n, self.usage, self.delay_s = list(answers), native_n, usage, delay_s
        self.calls: list[tuple[str, int]] = []
        self.params: list[Mapping[str, Any]] = []
        self._next = self._drawn = 0
        self._lock = threading.Lock()

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Return the next ``n`` answers."""
        time.sleep(self.delay_s)
        return self._take(query, n, params)

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Return the next ``n`` answers."""
        await asyncio.sleep(self.delay_s)
        return self._take(query, n, params)

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the next answer word by word."""
        sample = self._take(query, 1, params)[0]
        for word in sample.text.split(" "):
            time.sleep(self.delay_s)
            yield Delta(word + " ")
        yield sample

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the next answer word by word."""
        sample = self._take(query, 1, params)[0]
        for word in sample.text.split(" "):
            await asyncio.sleep(self.delay_s)
            yield Delta(word + " ")
        yield sample

    def takes_greedy(self, query: Query) -> bool:
        """Return whether it has an answer at temperature 0."""
        return self.greedy is not None

    def _take(self, query: Query, n: int, params: Mapping[str, Any]) -> list[Sample]:
        with self._lock:
            self.calls.append((query.text, n))
            self.params.append(params)
            first, self._drawn = self._drawn, self._drawn + n
            if wishes_greedy(params) and self.greedy is not None:
                taken: list[str | Sample | BaseException] = [self.greedy] * n
            else:
                taken = [self.answers[(self._next + i) % len(self.answers)] for i in range(n)]
                self._next += n
        samples = [self._sample(query, answer, is_first=i == 0) for i, answer in enumerate(taken)]
        if self.logprob is None and self.greedy is None:
            return samples
        return [replace(s, signals=self._signals(s.text, first + i, params)) for i, s in enumerate(samples)]

    def _signals(self, text: str, at: int, params: Mapping[str, Any]) -> Signals:
        words, is_greedy = len(text.split()), wishes_greedy(params) and self.greedy is not None
        tells = wishes_logprobs(params) and (self.tells_until is None or at < self.tells_until)
        known = Signals.from_logprobs([self.logprob] * words) if tells else Signals(tokens=words)
        return replace(known, mode="greedy" if is_greedy else "sampled")

    def _sample(self, query: Query, answer: str | Sample | BaseException, *, is_first: bool) -> Sample:
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Sample):
            return answer
        words = Usage(len(query.text.split()) if is_first else 0, len(answer.split()))
        return Sample(answer, usage=self.usage or words, finish_reason="stop")


class FakeRouter:
    """Predicts the same for every query.

    Args:
        plans: Each plan (or candidate, or ``(model, n)``) with its match probability, or with
            ``(match probability, expected quality)``.
        output_tokens: Of each model of the pool, in pool order.
        expected_draws: Of each step of each plan; needed if a plan is more than a candidate.
    """

    def __init__(
        self,
        plans: Mapping[Plan | Candidate | tuple[str, int], float | tuple[float, float]],
        output_tokens: Sequence[float],
        expected_draws: Sequence[Sequence[float]] | None = None,
    ) -> None:
        """Store the table."""
        self.plans = tuple(as_plan(plan) for plan in plans)
        table = [value if isinstance(value, tuple) else (value, value) for value in plans.values()]
        self._table = np.array(table, dtype=np.float64)
        self._output_tokens = np.array(output_tokens, dtype=np.float64)
        self._draws = None if expected_draws is None else np.array(expected_draws, dtype=np.float64)

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Repeat the table for each query."""
        size = len(queries)
        return Prediction(
            self.plans,
            np.tile(self._table[:, 0], (size, 1)),
            np.tile(self._table[:, 1], (size, 1)),
            np.tile(self._output_tokens, (size, 1)),
            None if self._draws is None else np.tile(self._draws, (size, 1, 1)),  # type: ignore[arg-type]
        )


class FakeReward:
    """Rewards each text by a function of the text alone.

    Args:
        fn: ``fn(text)`` -> reward.
        is_probability: Declare the range [0, 1], so that plans may accept on it.

    ``scored`` holds the texts of every call.
    """

    def __init__(self, fn: Callable[[str], float], *, is_probability: bool = False) -> None:
        """Store the function."""
        self.fn = fn
        self.scored: list[list[str]] = []
        if is_probability:
            self.range = (0.0, 1.0)

    def score(self, query: Query, texts: Sequence[str]) -> list[float]:
        """Apply the function to each text."""
        self.scored.append(list(texts))
        return [self.fn(text) for text in texts]
