"""What every fixed (model, n) gives on recorded samples, when a majority vote chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.demo.tasks import normalise
from bestroute.labels import match_probability, vote_weights
from bestroute.plans import Candidate
from bestroute.pool import Pool
from bestroute.protocols import FloatArray
from bestroute.records import Record
from bestroute.usage import Usage


@dataclass(frozen=True)
class Arms:
    """Exact expectations over the recorded samples, ``Q`` records by ``A`` candidates."""

    candidates: tuple[Candidate, ...]
    quality: FloatArray
    match_probability: FloatArray
    cost_usd: FloatArray
    output_tokens: FloatArray
    """Mean tokens of a sample of each model, shape ``(Q, K)``."""


def every_candidate(pool: Pool) -> tuple[Candidate, ...]:
    """List every fixed (model, n), the reference's best-of-n too: what a user without a router could choose."""
    return tuple(Candidate(model, n) for model in pool.models for n in range(1, pool.max_n + 1))


def arms_of(records: Sequence[Record], pool: Pool, candidates: tuple[Candidate, ...]) -> Arms:
    """Compute what candidates give on every record.

    The cost of a candidate is its mean over the subsets that may be drawn, the prompt billed as the pool says.
    """
    shape = (len(records), len(candidates))
    quality, match, cost = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    tokens = np.zeros((len(records), len(pool.models)))
    for q, record in enumerate(records):
        reference = np.array(record.samples[pool.reference].quality)
        for a, candidate in enumerate(candidates):
            samples = record.samples[candidate.model]
            truth = np.array(samples.quality)
            weights = vote_weights([normalise(text) for text in samples.text or ()], candidate.n)
            quality[q, a] = weights @ truth
            match[q, a] = match_probability(weights, truth, reference)
            prompts = 1 if pool.bills(candidate.model) == "once" else candidate.n
            price = pool.prices[candidate.model]
            inp = price.cost_usd(Usage(input=int(samples.input_tokens or 0)))
            mean_out = float(np.mean(samples.output_tokens or (0.0,)))
            cost[q, a] = prompts * inp + candidate.n * mean_out * price.output / 1e6
        for k, model in enumerate(pool.models):
            tokens[q, k] = np.mean(record.samples[model].output_tokens or (0.0,))
    return Arms(candidates, quality, match, cost, tokens)
