"""A generator that replays recorded samples, without a model."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bestroute.errors import GenerationError
from bestroute.records.records import GreedySample, ModelSamples, Record
from bestroute.types.bases import GeneratorBase
from bestroute.types.draw_params import wishes_greedy
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Sample
from bestroute.types.usage import Usage, estimate_tokens


class ReplayGenerator(GeneratorBase):
    """Draws one model's recorded samples, without replacement and in a seeded order.

    The prompt is billed once for the samples of one call, as a provider with native ``n`` does. If a greedy
    answer is requested and one was recorded, it is returned, every time.

    Args:
        records: Where the samples come from; queries are found by their text.
        model: The model whose samples are replayed.
        seed: Seed of the order in which samples are drawn.
    """

    native_n = True

    def __init__(self, records: Iterable[Record], model: str, *, seed: int = 0) -> None:
        """Shuffle each query's samples by the seed."""
        self.model_name = model
        self._recorded: dict[str, tuple[ModelSamples, list[int]]] = {}
        self._lock = threading.Lock()
        for record in records:
            samples = record.samples[model]
            order = list(range(samples.size))
            random.Random(f"{seed}:{model}:{record.id}").shuffle(order)
            self._recorded[record.query] = (samples, order)

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Take the next ``n`` recorded samples of the query.

        Raises:
            GenerationError: If the query was never recorded, or fewer than ``n`` samples are left.
        """
        if query.text not in self._recorded:
            raise GenerationError(f"{self.model_name!r} has no recorded answer for this query")
        samples, order = self._recorded[query.text]
        if samples.greedy is not None and wishes_greedy(params):
            return [_greedy_sample(query, samples, samples.greedy, is_first=place == 0) for place in range(n)]
        with self._lock:
            if len(order) < n:
                raise GenerationError(
                    f"{self.model_name!r} has {len(order)} recorded samples left for this query, {n} were asked for"
                )
            taken = [order.pop() for _ in range(n)]
        return [self._sample(query, samples, i, is_first=place == 0) for place, i in enumerate(taken)]

    def takes_greedy(self, query: Query) -> bool:
        """Return whether the query's record has a greedy answer."""
        return query.text in self._recorded and self._recorded[query.text][0].greedy is not None

    def _sample(self, query: Query, samples: ModelSamples, i: int, *, is_first: bool) -> Sample:
        text = f"[sample {i} of {self.model_name}]" if samples.text is None else samples.text[i]
        inp = query.prompt_tokens if samples.input_tokens is None else int(samples.input_tokens)
        out = estimate_tokens(text) if samples.output_tokens is None else int(samples.output_tokens[i])
        is_estimated = samples.input_tokens is None or samples.output_tokens is None
        signals = None if samples.signals is None else samples.signals[i]
        return Sample(text, usage=Usage(inp if is_first else 0, out, estimated=is_estimated), signals=signals)


def _greedy_sample(query: Query, samples: ModelSamples, greedy: GreedySample, *, is_first: bool) -> Sample:
    text = greedy.text or ""
    inputs = samples.input_tokens if greedy.input_tokens is None else greedy.input_tokens
    inp = query.prompt_tokens if inputs is None else int(inputs)
    out = estimate_tokens(text) if greedy.output_tokens is None else int(greedy.output_tokens)
    is_estimated = inputs is None or greedy.output_tokens is None
    return Sample(text, usage=Usage(inp if is_first else 0, out, estimated=is_estimated), signals=greedy.signals)
