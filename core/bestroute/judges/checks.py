"""Checks that decide quality without a judge: comparison with a known answer, or with rules of the prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from bestroute.errors import ConfigError, named
from bestroute.selection.answer_form import answer_form, marked_answer, options_in
from bestroute.selection.json_schema import Uncheckable, Unchecked, misfit
from bestroute.selection.tool_calls import NotJson, read_json

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")

Check = Callable[[Mapping[str, Any], str], float | None]
"""``fn(fields, text)`` -> the quality, or ``None`` if it does not decide."""


def exact(fields: Mapping[str, Any], text: str) -> float | None:
    """Compare with the known ``answer``, in canonical form.

    Example:
        >>> exact({"answer": "84"}, "The answer is **84**."), exact({"answer": "84"}, "85"), exact({}, "84")
        (1.0, 0.0, None)
    """
    if fields.get("answer") is None:
        return None
    options = options_in(str(fields.get("query", "")))
    return float(answer_form(text, options) == answer_form(str(fields["answer"]), options))


def numeric(fields: Mapping[str, Any], text: str) -> float | None:
    """Compare the last number with the known number ``answer``, within ``tolerance`` (relative, default 1e-6).

    Example:
        >>> numeric({"answer": 1200}, "It is 1,200 km."), numeric({"answer": "3.14", "tolerance": 0.01}, "3.15")
        (1.0, 1.0)
    """
    known = _number_in(str(fields.get("answer")))
    if known is None:
        return None
    answered = _number_in(marked_answer(text) or text)
    tolerance = fields.get("tolerance")
    relative = float(tolerance) if isinstance(tolerance, int | float) else 1e-6
    return 0.0 if answered is None else float(math.isclose(answered, known, rel_tol=relative, abs_tol=1e-12))


def pattern(fields: Mapping[str, Any], text: str) -> float | None:
    """Reject text that does not match the regular expression ``pattern``; leave matching text to the judge.

    Example:
        >>> pattern({"pattern": "^Dear"}, "Hello"), pattern({"pattern": "^Dear"}, "Dear Ann")
        (0.0, None)
    """
    wanted = fields.get("pattern")
    if not isinstance(wanted, str):
        return None
    try:
        return None if re.search(wanted, text) else 0.0
    except re.error as error:
        raise ConfigError(f"'pattern' of a record is no regular expression: {error}") from error


def schema(fields: Mapping[str, Any], text: str) -> float | None:
    """Reject text that is not JSON of the ``schema`` or ``response_format``; leave the rest to the judge.

    Example:
        >>> schema({"schema": {"type": "array"}}, "{}"), schema({"schema": {"type": "array"}}, "[1]")
        (0.0, None)
    """
    wanted = fields.get("schema")
    if wanted is None:
        form = fields.get("response_format") or {}
        wanted = (form.get("json_schema") or {}).get("schema")
        if wanted is None and form.get("type") != "json_object":
            return None
    value = read_json(text)
    if value is NotJson:
        return 0.0
    try:
        return 0.0 if isinstance(wanted, dict) and misfit(value, wanted) is not None else None
    except (Unchecked, Uncheckable):
        return None


CHECKS: Mapping[str, Check] = {"exact": exact, "numeric": numeric, "pattern": pattern, "schema": schema}


def read_checks(names: str) -> tuple[Check, ...]:
    """Return checks by their names, comma-separated.

    Raises:
        ConfigError: If a name is unknown.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in CHECKS]:
        raise ConfigError(f"--check takes {named(CHECKS)}, got {named(unknown)}")
    return tuple(CHECKS[name] for name in wanted)


def decided(checks: tuple[Check, ...], fields: Mapping[str, Any], text: str) -> float | None:
    """Return the quality from the first check that decides; ``None`` if none does."""
    return next((quality for check in checks if (quality := check(fields, text)) is not None), None)


def _number_in(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
