"""Records: what was sampled from each model for a query, and how good it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestroute.errors import RecordError, named
from bestroute.jsonl import read_jsonl, write_jsonl
from bestroute.pool import Pool

_PER_SAMPLE_NUMBERS = ("quality", "reward", "output_tokens", "cost_usd")
_PLAIN_NUMBERS = {int, float}


@dataclass(frozen=True)
class ModelSamples:
    """The samples of one model for one query; the lists are aligned, their order means nothing."""

    quality: tuple[float, ...]
    """Ground truth of each sample."""
    text: tuple[str, ...] | None = None
    reward: tuple[float, ...] | None = None
    """The proxy's score of each sample."""
    input_tokens: float | None = None
    output_tokens: tuple[float, ...] | None = None
    cost_usd: tuple[float, ...] | None = None
    """Cost of each sample, input included."""

    @property
    def size(self) -> int:
        """How many samples there are."""
        return len(self.quality)


@dataclass(frozen=True)
class Record:
    """One query and its samples by model."""

    id: str
    query: str
    samples: Mapping[str, ModelSamples]
    group: str
    """Records of one group never stand on both sides of a split."""
    task: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields we do not know: kept, ignored."""

    def to_json(self) -> dict[str, Any]:
        """Return the line of the file."""
        head = {"id": self.id, "query": self.query, "group": self.group, "task": self.task, **self.extra}
        return {**head, "samples": {model: _samples_to_json(s) for model, s in self.samples.items()}}


def read_records(
    paths: Path | str | Sequence[Path | str],
    *,
    pool: Pool | None = None,
    allow_missing: bool = False,
    on_left_out: Callable[[str], object] | None = None,
) -> list[Record]:
    """Read records files.

    Args:
        paths: One or more ``.jsonl`` or ``.jsonl.gz`` files.
        pool: If given, every record must hold samples of all its models; other models are dropped.
        allow_missing: Leave out records that lack a model of the pool, instead of refusing them.
        on_left_out: Told the id of each record left out.

    Raises:
        RecordError: At the first bad line; names file, line and field.
    """
    records: list[Record] = []
    seen: dict[str, str] = {}
    for path in [paths] if isinstance(paths, Path | str) else paths:
        for number, value in read_jsonl(Path(path)):
            where = f"{path} line {number}"
            record = parse_record(value, where)
            if record.id in seen:
                raise RecordError(f"{where}: 'id' {record.id!r} was used before, in {seen[record.id]}")
            seen[record.id] = where
            if pool is not None:
                missing = [m for m in pool.models if m not in record.samples]
                if missing and allow_missing:
                    if on_left_out is not None:
                        on_left_out(record.id)
                    continue
                if missing:
                    raise RecordError(
                        f"{where}: 'samples' has no {named(missing)}, which the pool has; "
                        "collect them, or pass --allow-missing to leave such records out"
                    )
                record = Record(**{**vars(record), "samples": {model: record.samples[model] for model in pool.models}})
            records.append(record)
    if not records:
        names = paths if isinstance(paths, Path | str) else ", ".join(map(str, paths))
        raise RecordError(f"{names}: holds no records")
    return records


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, all or nothing."""
    write_jsonl(path, (record.to_json() for record in records))


def parse_record(value: Mapping[str, Any], where: str) -> Record:
    """Check one line of a records file.

    Raises:
        RecordError: Begins with ``where`` and names the field.
    """
    samples = value.get("samples")
    if not isinstance(samples, dict) or not samples:
        raise RecordError(f"{where}: 'samples' must map models to their samples, got {_short(samples)}")
    known = ("id", "query", "group", "task", "samples")
    head = parse_head(value, where)
    return Record(
        **head,
        samples={model: _parse_samples(model, s, where) for model, s in samples.items()},
        extra={name: v for name, v in value.items() if name not in known},
    )


def parse_head(value: Mapping[str, Any], where: str) -> dict[str, str]:
    """Check ``id``, ``query``, ``group`` and ``task``: the part records and prompts share."""
    head: dict[str, str] = {}
    for name in ("id", "query"):
        if not isinstance(value.get(name), str) or not value[name].strip():
            raise RecordError(f"{where}: '{name}' must be a text that is not empty, got {_short(value.get(name))}")
        head[name] = value[name]
    for name, default in (("group", head["id"]), ("task", "")):
        text = value.get(name, default)
        if not isinstance(text, str):
            raise RecordError(f"{where}: '{name}' must be a text, got {_short(text)}")
        head[name] = text
    return head


def _parse_samples(model: str, value: Any, where: str) -> ModelSamples:
    field_of = f"{where}: 'samples.{model}"
    if not isinstance(value, dict):
        raise RecordError(f"{field_of}' must be an object with 'quality', got {_short(value)}")
    numbers = {name: _numbers(value.get(name), f"{field_of}.{name}'") for name in _PER_SAMPLE_NUMBERS}
    quality = numbers.pop("quality")
    if not quality:
        raise RecordError(f"{field_of}.quality' must be a list of numbers that is not empty")
    text = value.get("text")
    if text is not None and not (isinstance(text, list) and all(isinstance(t, str) for t in text)):
        raise RecordError(f"{field_of}.text' must be a list of texts, got {_short(text)}")
    for name, column in (("text", text), *numbers.items()):
        if column is not None and len(column) != len(quality):
            raise RecordError(f"{field_of}.quality' has {len(quality)} entries but '{name}' has {len(column)}")
    for name in ("output_tokens", "cost_usd"):
        if min(numbers[name] or (0,)) < 0:
            raise RecordError(f"{field_of}.{name}' must be >= 0")
    tokens = value.get("input_tokens")
    if tokens is not None and not (_is_number(tokens) and tokens >= 0):
        raise RecordError(f"{field_of}.input_tokens' must be a number >= 0, got {_short(tokens)}")
    return ModelSamples(quality, None if text is None else tuple(text), input_tokens=tokens, **numbers)


def _numbers(value: Any, field_of: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not _are_numbers(value):
        raise RecordError(f"{field_of} must be a list of finite numbers, got {_short(value)}")
    return tuple(value)


def _are_numbers(values: list[Any]) -> bool:
    """Whether all are finite numbers: what JSON gives is told at once, by its types."""
    if set(map(type, values)) <= _PLAIN_NUMBERS:
        return all(map(math.isfinite, values))
    return all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _samples_to_json(samples: ModelSamples) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(samples).items()
        if value is not None
    }


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
