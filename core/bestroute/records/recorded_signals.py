"""Signals in records: a column per field, aligned with the samples; null if unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import RecordError
from bestroute.types.signals import Signals

FIELDS = ("sum_logprob", "mean_logprob", "min_logprob", "logprob_share")
"""The recorded fields of ``Signals``, its first ones in order."""
_SHARE = "logprob_share"
_ROUNDING = 1e-6
"""Rounding tolerance of a log-probability above 0."""
_LARGEST = 1e15


def signals_columns(signals: Sequence[Signals]) -> dict[str, list[float | None]]:
    """Return a column for each field.

    Example:
        >>> signals_columns([Signals(sum_logprob=-0.5, logprob_share=1.0), Signals()])["sum_logprob"]
        [-0.5, None]
    """
    return {name: [getattr(one, name) for one in signals] for name in FIELDS}


def signals_fields(signals: Signals) -> dict[str, float | None]:
    """Return the signals of one sample."""
    return {name: getattr(signals, name) for name in FIELDS}


def parse_signals(value: Any, tokens: Sequence[float | None], field_of: str) -> tuple[Signals, ...] | None:
    """Check the columns of samples; a missing column means that the field is unknown.

    Args:
        value: The columns, or ``None``.
        tokens: Output tokens of each sample; ``None`` if unknown.
        field_of: Beginning of an error message.

    Raises:
        RecordError: Begins with ``field_of``, the field's name without its closing quote.
    """
    if value is None:
        return None
    _check_object(value, field_of, "lists")
    size = len(tokens)
    columns: dict[str, list[float | None]] = {}
    for name in FIELDS:
        column = [None] * size if value.get(name) is None else value[name]
        if not isinstance(column, list):
            raise RecordError(f"{field_of}.{name}' must be a list of numbers or null, got {brief(column)}")
        if len(column) != size:
            raise RecordError(f"{field_of}.{name}' has {len(column)} entries but 'quality' has {size}")
        columns[name] = [_checked(one, name, f"{field_of}.{name}'") for one in column]
    rows = zip(*columns.values(), map(_whole, tokens), strict=True)
    return tuple(Signals(*row) for row in rows)


def parse_greedy_signals(value: Any, tokens: float | None, field_of: str) -> Signals | None:
    """Check the signals of a greedy answer.

    Raises:
        RecordError: Begins with ``field_of``, the field's name without its closing quote.
    """
    if value is None:
        return None
    _check_object(value, field_of, "numbers")
    values = {name: _checked(value.get(name), name, f"{field_of}.{name}'") for name in FIELDS}
    return replace(Signals(**values), tokens=_whole(tokens), mode="greedy")  # type: ignore[arg-type]  # by name


def _whole(tokens: float | None) -> int | None:
    return None if tokens is None else round(tokens)


def _check_object(value: Any, field_of: str, of: str) -> None:
    if not isinstance(value, Mapping):
        raise RecordError(f"{field_of}' must be an object of {of}, by {', '.join(FIELDS)}; got {brief(value)}")


def _checked(value: Any, name: str, field_of: str) -> float | None:
    """Return a valid signal: the logarithm of a probability, or a share."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
        raise RecordError(f"{field_of} must hold finite numbers or null, got {brief(value)}")
    if name == _SHARE and not 0 <= value <= 1:
        raise RecordError(f"{field_of} must be in [0, 1], a share of the tokens, got {value:g}")
    if name != _SHARE and value > _ROUNDING:
        raise RecordError(f"{field_of} must be <= 0, the logarithm of a probability, got {value:g}")
    return value
