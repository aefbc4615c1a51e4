"""Records as a flat table of the samples that have a text, for training and evaluating a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.errors import ConfigError, RecordError, did_you_mean, named
from bestroute.records.records import ModelSamples, Record, judged_only
from bestroute.types.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class SampleTable:
    """``N`` samples of ``Q`` queries."""

    ids: tuple[str, ...]
    """Id of each query, ``Q`` of them."""
    groups: tuple[str, ...]
    queries: tuple[str, ...]
    models: tuple[str, ...]
    texts: tuple[str, ...]
    """Text of each sample, ``N`` of them."""
    query_of: IntArray
    """Index of each sample's query, shape ``(N,)``, non-decreasing."""
    model_of: IntArray
    """Index of the model that drew each sample, shape ``(N,)``."""
    quality: FloatArray
    """Shape ``(N,)``."""
    match: FloatArray
    """Share of the reference's (other) samples that it is at least as good as, shape ``(N,)``; NaN if there are
    none."""
    without_text: int
    """Number of samples left out because they have no text."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.texts)

    def of_queries(self, is_wanted: BoolArray) -> BoolArray:
        """Return which samples answer the wanted queries; from a mask ``(Q,)`` to a mask ``(N,)``."""
        return np.asarray(is_wanted[self.query_of])

    @classmethod
    def of(cls, records: Sequence[Record], *, reference: str | None = None) -> SampleTable:
        """Read records into a table; samples without a quality are left out.

        Args:
            records: Records; some of their samples must have a text.
            reference: The model to be matched. ``None`` stands for an ideal model: then quality must lie
                in [0, 1] and is the probability of a match.

        Raises:
            RecordError: If no sample has a text.
            ConfigError: If no record has the reference, or there is none and quality is no probability.
        """
        models = tuple(dict.fromkeys(model for record in records for model in record.samples))
        if reference is not None and reference not in models:
            hint = did_you_mean(reference, models)
            raise ConfigError(f"no record has samples of the reference {reference!r}; they have {named(models)}.{hint}")
        records = judged_only(records).records
        texts: list[str] = []
        query_of: list[int] = []
        model_of: list[int] = []
        quality: list[float] = []
        match: list[float] = []
        without_text = 0
        for q, record in enumerate(records):
            for model, samples in record.samples.items():
                if samples.text is None:
                    without_text += samples.size
                    continue
                texts += samples.text
                query_of += [q] * samples.size
                model_of += [models.index(model)] * samples.size
                quality += samples.known_quality
                match += _matches(record, model, samples, reference)
        if not texts:
            raise RecordError("no sample has a 'text', and a reward model reads texts; collect records with texts")
        if reference is None and not all(0 <= x <= 1 for x in quality):
            raise ConfigError(
                "quality is not in [0, 1], so a probability needs a model to be matched; name it by reference "
                "(--reference, or --pool)"
            )
        return cls(
            tuple(record.id for record in records),
            tuple(record.group for record in records),
            tuple(record.query for record in records),
            models,
            tuple(texts),
            np.array(query_of, dtype=np.intp),
            np.array(model_of, dtype=np.intp),
            np.array(quality, dtype=np.float64),
            np.array(match, dtype=np.float64),
            without_text,
        )


def _matches(record: Record, model: str, samples: ModelSamples, reference: str | None) -> list[float]:
    """Return the share of the reference's (other) samples that each sample is at least as good as."""
    if reference is None:
        return list(samples.known_quality)
    if reference not in record.samples:
        return [float("nan")] * samples.size
    own = np.array(samples.known_quality)
    reached = own[:, None] >= np.array(record.samples[reference].known_quality)[None, :]
    if model != reference:
        return [float(x) for x in reached.mean(axis=1)]
    if samples.size == 1:
        return [float("nan")]  # it would be compared with itself
    return [float(x) for x in (reached.sum(axis=1) - 1) / (samples.size - 1)]
