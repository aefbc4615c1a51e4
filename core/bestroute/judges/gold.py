"""Agreement of a judge with people, and quality estimates that combine both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bestroute.errors import RecordError
from bestroute.records.jsonl import read_jsonl
from bestroute.records.records import ModelSamples, Record
from bestroute.records.schemas import check_line
from bestroute.stats.prediction_powered import CorrectedMean, corrected_mean

FEWEST = 10
"""Fewest groups with human verdicts on a model's samples for an estimate of its quality."""


@dataclass(frozen=True)
class HumanVerdict:
    """A person's verdict on one answer."""

    id: str
    text: str
    quality: float
    model: str | None = None


@dataclass(frozen=True)
class JudgeAgreement:
    """Agreement of a judge with people."""

    verdicts: int
    """Number of answers that both judged."""
    same: float
    """Share of them with both verdicts on the same side of 0.5."""
    bias: float
    """The judge's mean minus people's; positive if the judge is too lenient."""
    error: float
    """Mean absolute difference."""
    qualities: Mapping[str, CorrectedMean]
    """Each model's quality as judged by people, if enough was judged."""
    naive: Mapping[str, float]
    """Each model's quality according to the judge alone."""


def read_gold(path: Path | str) -> list[HumanVerdict]:
    """Read a file of human verdicts: ``{"id", "text", "quality"}`` per line, optionally ``"model"``.

    Raises:
        RecordError: At the first bad line; names file, line and field.
    """
    verdicts = []
    for number, value in read_jsonl(path):
        check_line(value, "gold", f"{path} line {number}")
        verdicts.append(HumanVerdict(value["id"], value["text"], float(value["quality"]), value.get("model")))
    return verdicts


def people_s_means(gold: Sequence[HumanVerdict]) -> dict[tuple[str, str], float]:
    """Return people's mean quality of each answer, by record and text."""
    found: dict[tuple[str, str], list[float]] = {}
    for verdict in gold:
        found.setdefault((verdict.id, verdict.text), []).append(verdict.quality)
    return {answer: sum(qualities) / len(qualities) for answer, qualities in found.items()}


def check_gold(records: Sequence[Record], gold: Sequence[HumanVerdict]) -> int:
    """Return how many verdicts do not match an answer of the records.

    Raises:
        RecordError: If none matches.
    """
    answers = {(r.id, text) for r in records for samples in r.samples.values() for text in samples.text or ()}
    strange = sum((verdict.id, verdict.text) not in answers for verdict in gold)
    if strange == len(gold):
        raise RecordError("no human verdict is about an answer of the records; 'id' and 'text' must be theirs")
    return strange


def judged_by_people(records: Sequence[Record], gold: Sequence[HumanVerdict]) -> dict[str, Record]:
    """Return the records whose samples people judged completely, with people's qualities, by id."""
    people = people_s_means(gold)
    whole: dict[str, Record] = {}
    for record in records:
        samples = {m: _by_people(record.id, of, people) for m, of in record.samples.items()}
        if all(of is not None for of in samples.values()):
            whole[record.id] = replace(record, samples={m: of for m, of in samples.items() if of is not None})
    return whole


def _by_people(id_: str, samples: ModelSamples, people: Mapping[tuple[str, str], float]) -> ModelSamples | None:
    found = [people.get((id_, text)) for text in samples.text or ()]
    if None in found or len(found) != samples.size:
        return None
    greedy = samples.greedy
    if greedy is not None:
        greedy = replace(greedy, quality=people.get((id_, greedy.text or "")))
    return replace(samples, quality=tuple(found), greedy=greedy)


def agreement(records: Sequence[Record], gold: Sequence[HumanVerdict]) -> JudgeAgreement:
    """Compare the judge's qualities in labelled records with people's.

    Raises:
        RecordError: If no verdict matches an answer of the records.
    """
    people = people_s_means(gold)
    pairs: dict[str, list[tuple[str, float, float]]] = {}
    rest: dict[str, list[float]] = {}
    for record in records:
        for model, samples in record.samples.items():
            for text, quality in zip(samples.text or (), samples.quality, strict=False):
                if quality is None:
                    continue
                human = people.get((record.id, text))
                if human is None:
                    rest.setdefault(model, []).append(quality)
                else:
                    pairs.setdefault(model, []).append((record.group, quality, human))
    both = [(judge, human) for of in pairs.values() for _, judge, human in of]
    if not both:
        raise RecordError("no human verdict is about an answer of the records; 'id' and 'text' must be theirs")
    judge, human = np.array(both).T
    corrected = {
        model: corrected_mean(
            np.array(rest.get(model, [])),
            np.array([quality for _, quality, _ in of]),
            np.array([quality for _, _, quality in of]),
            np.unique([group for group, _, _ in of], return_inverse=True)[1].astype(float),
        )
        for model, of in pairs.items()
        if len({group for group, _, _ in of}) >= FEWEST
    }
    naive = {
        model: float(np.mean([*rest.get(model, []), *(quality for _, quality, _ in pairs.get(model, ()))]))
        for model in dict.fromkeys([*rest, *pairs])
    }
    return JudgeAgreement(
        len(both),
        float(np.mean((judge >= 0.5) == (human >= 0.5))),
        float(np.mean(judge - human)),
        float(np.mean(np.abs(judge - human))),
        corrected,
        naive,
    )
