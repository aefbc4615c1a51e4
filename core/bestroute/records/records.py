"""Records: the samples of each model for a query, and their quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import RecordError, named
from bestroute.records.chats import last_user_text
from bestroute.records.exports import export_named
from bestroute.records.jsonl import read_jsonl, write_jsonl
from bestroute.records.recorded_signals import parse_greedy_signals, parse_signals, signals_columns, signals_fields
from bestroute.types.pool import Pool
from bestroute.types.signals import Signals

_PER_SAMPLE_NUMBERS = ("reward", "output_tokens", "cost_usd")
_COLUMNS = ("text", "quality", *_PER_SAMPLE_NUMBERS, "signals")
_PLAIN_NUMBERS = {int, float}
_EXPECTED = 'a line of ours is {"id": "q1", "query": "What is 12 * 7?", ...}'
_LARGEST = 1e15
"""Largest magnitude of a number in a record; sums and squares of larger ones would overflow."""


@dataclass(frozen=True)
class GreedySample:
    """The answer of a model at temperature 0; it is deterministic and not one of the samples."""

    text: str | None = None
    quality: float | None = None
    """Ground truth, in [0, 1]; ``None`` if not judged."""
    reward: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cost_usd: float | None = None
    """Cost including the prompt, USD."""
    signals: Signals | None = None


@dataclass(frozen=True)
class ModelSamples:
    """The samples of one model for one query; the lists are aligned, and their order carries no information."""

    quality: tuple[float | None, ...]
    """Ground truth of each sample, in [0, 1]; ``None`` if not judged."""
    text: tuple[str, ...] | None = None
    reward: tuple[float, ...] | None = None
    """The reward of each sample."""
    input_tokens: float | None = None
    output_tokens: tuple[float, ...] | None = None
    cost_usd: tuple[float, ...] | None = None
    """Cost of each sample including the prompt, USD."""
    signals: tuple[Signals, ...] | None = None
    """Token probabilities of each sample; ``None`` if not recorded."""
    greedy: GreedySample | None = None
    """The answer at temperature 0, if it was drawn as well."""

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.quality)

    @property
    def unjudged(self) -> int:
        """Number of samples without a quality."""
        return self.quality.count(None)

    @property
    def known_quality(self) -> tuple[float, ...]:
        """The quality of each sample, NaN if not judged."""
        return tuple(math.nan if quality is None else quality for quality in self.quality)

    def judged(self) -> ModelSamples:
        """Return only the samples that have a quality."""
        if not self.unjudged:
            return self
        keep = [i for i, quality in enumerate(self.quality) if quality is not None]
        columns = {name: getattr(self, name) for name in _COLUMNS}
        taken: dict[str, Any] = {name: None if c is None else tuple(c[i] for i in keep) for name, c in columns.items()}
        return replace(self, **taken)


@dataclass(frozen=True)
class Record:
    """One query and its samples by model."""

    id: str
    query: str
    samples: Mapping[str, ModelSamples]
    group: str
    """Records of one group are never on both sides of a split."""
    task: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Unknown fields, kept unchanged."""

    def to_json(self) -> dict[str, Any]:
        """Return the record's line in the file."""
        head = {"id": self.id, "query": self.query, "group": self.group, "task": self.task, **self.extra}
        return {**head, "samples": {model: _samples_to_json(s) for model, s in self.samples.items()}}


@dataclass(frozen=True)
class Judged:
    """Records reduced to judged samples, and what was left out."""

    records: tuple[Record, ...]
    """The records in which every model has at least one judged sample."""
    samples: int
    """Number of samples, judged or not."""
    unjudged: int
    """Number of samples without a quality."""
    left_out: tuple[str, ...]
    """Ids of the records in which a model has no judged sample."""


def judged_only(records: Iterable[Record]) -> Judged:
    """Keep only the samples that have a quality."""
    kept: list[Record] = []
    left_out: list[str] = []
    total = unjudged = 0
    for record in records:
        waiting = sum(samples.unjudged for samples in record.samples.values())
        total += sum(samples.size for samples in record.samples.values())
        unjudged += waiting
        if waiting:
            record = replace(record, samples={model: s.judged() for model, s in record.samples.items()})
        if all(samples.size for samples in record.samples.values()):
            kept.append(record)
        else:
            left_out.append(record.id)
    return Judged(tuple(kept), total, unjudged, tuple(left_out))


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
        allow_missing: Whether to leave out records that lack a model of the pool, instead of raising.
        on_left_out: Called with the id of each record left out.

    Raises:
        RecordError: At the first bad line; names file, line and field.
    """
    records: list[Record] = []
    first_lines: dict[str, str] = {}
    for path in [paths] if isinstance(paths, Path | str) else paths:
        for number, value in read_jsonl(Path(path)):
            where = f"{path} line {number}"
            record = parse_record(value, where)
            if record.id in first_lines:
                raise RecordError(f"{where}: 'id' {brief(record.id)} was used before, in {first_lines[record.id]}")
            first_lines[record.id] = where
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


def write_records(path: Path | str, records: Iterable[Record]) -> None:
    """Write records, all or nothing."""
    write_jsonl(path, (record.to_json() for record in records))


def parse_record(value: Mapping[str, Any], where: str) -> Record:
    """Check one line of a records file, and return the record.

    Raises:
        RecordError: Begins with ``where`` and names the field.
    """
    samples = value.get("samples")
    if samples is None:
        parse_head(value, where)  # this recognises other tools' formats
    if not isinstance(samples, dict) or not samples:
        raise RecordError(f"{where}: 'samples' must map models to their samples, got {brief(samples)}")
    return Record(
        **parse_head(value, where),
        samples={model: _parse_samples(model, s, where) for model, s in samples.items()},
        extra=extra_fields(value),
    )


def parse_head(value: Mapping[str, Any], where: str) -> dict[str, str]:
    """Check ``id``, ``query``, ``group`` and ``task``, the fields that records and prompts share.

    ``prompt`` is used if there is no ``query``, and the last user turn of ``messages`` if there is neither. ``null``
    counts as absent, since tables are exported so.
    """
    if value.get("messages") and value.get("query") is None and value.get("prompt") is None:
        value = {**value, "query": last_user_text(value["messages"], where)}
    query = "query" if value.get("query") is not None or value.get("prompt") is None else "prompt"
    if value.get(query) is None and (export := export_named(value)):
        raise RecordError(f"{where}: has no 'query'; this looks like {export}; {_EXPECTED}")
    if isinstance(value.get(query), list):
        raise RecordError(
            f"{where}: '{query}' must be a text, got a list; give a conversation as 'messages', with what the system "
            "is told as its first turn or as 'system'"
        )
    for name in ("id", query):
        if value.get(name) is None:
            raise RecordError(f"{where}: '{name}' is missing; {_EXPECTED}")
        if not isinstance(value.get(name), str) or not value[name].strip():
            raise RecordError(f"{where}: '{name}' must be a text that is not empty, got {brief(value.get(name))}")
    head = {"id": value["id"], "query": value[query]}
    for name, default in (("group", head["id"]), ("task", "")):
        text = default if value.get(name) is None else value[name]
        if not isinstance(text, str):
            raise RecordError(f"{where}: '{name}' must be a text, got {brief(text)}")
        head[name] = text
    return head


def extra_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the unknown fields of a line, without a ``prompt`` that is used as the query."""
    known = {"id", "query", "group", "task", "samples"}
    if value.get("query") is None:
        known.add("prompt")
    return {name: v for name, v in value.items() if name not in known}


def _parse_samples(model: str, value: Any, where: str) -> ModelSamples:
    field_of = f"{where}: 'samples.{model}"
    if not isinstance(value, dict):
        raise RecordError(f"{field_of}' must be an object with 'quality', got {brief(value)}")
    numbers = {name: _numbers(value.get(name), f"{field_of}.{name}'") for name in _PER_SAMPLE_NUMBERS}
    quality = _qualities(value.get("quality"), f"{field_of}.quality'")
    text = value.get("text")
    if text is not None and not (isinstance(text, list) and all(isinstance(t, str) for t in text)):
        raise RecordError(f"{field_of}.text' must be a list of texts, got {brief(text)}")
    for name, column in (("text", text), *numbers.items()):
        if column is not None and len(column) != len(quality):
            raise RecordError(f"{field_of}.quality' has {len(quality)} entries but '{name}' has {len(column)}")
    for name in ("output_tokens", "cost_usd"):
        if min(numbers[name] or (0,)) < 0:
            raise RecordError(f"{field_of}.{name}' must be >= 0")
    tokens = value.get("input_tokens")
    if tokens is not None and not (_is_number(tokens) and tokens >= 0):
        raise RecordError(f"{field_of}.input_tokens' must be a number >= 0, at most {_LARGEST:g}, got {brief(tokens)}")
    return ModelSamples(
        quality,
        None if text is None else tuple(text),
        input_tokens=tokens,
        signals=parse_signals(
            value.get("signals"), numbers["output_tokens"] or [None] * len(quality), f"{field_of}.signals"
        ),
        greedy=_parse_greedy(value.get("greedy"), f"{field_of}.greedy"),
        **numbers,
    )


def _parse_greedy(value: Any, field_of: str) -> GreedySample | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RecordError(f"{field_of}' must be an object, the one answer at temperature 0, got {brief(value)}")
    text = value.get("text")
    if text is not None and not isinstance(text, str):
        raise RecordError(f"{field_of}.text' must be a text, got {brief(text)}")
    numbers = {name: value.get(name) for name in (*_PER_SAMPLE_NUMBERS, "input_tokens")}
    for name, number in numbers.items():
        if number is not None and not (_is_number(number) and (number >= 0 or name == "reward")):
            at_least = "" if name == "reward" else " >= 0"
            raise RecordError(f"{field_of}.{name}' must be a number{at_least}, got {brief(number)}")
    (quality,) = _qualities([value.get("quality")], f"{field_of}.quality'")
    signals = parse_greedy_signals(value.get("signals"), numbers["output_tokens"], f"{field_of}.signals")
    return GreedySample(text, quality, signals=signals, **numbers)


def _qualities(value: Any, field_of: str) -> tuple[float | None, ...]:
    """Check qualities: numbers in [0, 1], ``true``, ``false``, or ``null`` for samples that are not judged."""
    what = "a list of numbers (null: not judged) that is not empty"
    if value is None:
        raise RecordError(f"{field_of} is missing; it must be {what}")
    if not isinstance(value, list) or not value:
        raise RecordError(f"{field_of} must be {what}, got {brief(value)}")
    if not set(map(type, value)) <= _PLAIN_NUMBERS:
        value = [float(q) if isinstance(q, bool) else q for q in value]
    known = [q for q in value if q is not None]
    if not _are_numbers(known):
        raise RecordError(f"{field_of} must be a list of finite numbers or null, got {brief(value)}")
    if known and not (min(known) >= 0 and max(known) <= 1):
        outside = next(q for q in known if not 0 <= q <= 1)
        raise RecordError(f"{field_of} must be in [0, 1], got {outside:g}; bring qualities to that range")
    return tuple(value)


def _numbers(value: Any, field_of: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not _are_numbers(value):
        raise RecordError(f"{field_of} must be a list of finite numbers, none beyond {_LARGEST:g}, got {brief(value)}")
    return tuple(value)


def _are_numbers(values: list[Any]) -> bool:
    """Return whether all are numbers within range; fast for the types that JSON yields."""
    if set(map(type, values)) <= _PLAIN_NUMBERS:
        return not values or (-_LARGEST <= min(values) and max(values) <= _LARGEST and not any(map(_is_nan, values)))
    return all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def _is_nan(value: float) -> bool:
    return value != value


def _samples_to_json(samples: ModelSamples) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(samples).items()
        if value is not None
    }
    if samples.signals is not None:
        columns["signals"] = signals_columns(samples.signals)
    if samples.greedy is not None:
        columns["greedy"] = _greedy_to_json(samples.greedy)
    return columns


def _greedy_to_json(greedy: GreedySample) -> dict[str, Any]:
    fields = {name: value for name, value in vars(greedy).items() if value is not None or name == "quality"}
    if greedy.signals is not None:
        fields["signals"] = signals_fields(greedy.signals)
    return fields
