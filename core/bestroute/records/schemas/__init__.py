"""The formats of our files as JSON Schemas (draft 2020-12): what `bestroute schema` prints, one file a format.

A property's ``description`` says what is wanted; where lines are read by their schema it ends the sentence that refuses
one.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import RecordError

NAMES = ("prompts", "records", "gold", "judgements", "journal", "replies", "feedback", "pool")


def schema(name: str) -> dict[str, Any]:
    """Return a format's schema; a pool's is made of what reads it.

    Args:
        name: One of ``NAMES``.
    """
    if name == "pool":
        from bestroute.types.pool_file import pool_schema

        return pool_schema()
    text = files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    made: dict[str, Any] = json.loads(text)
    return made


def check_line(value: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return a line that is of a format.

    Args:
        value: The line.
        name: Of the format.
        where: Begins the sentence.

    Raises:
        RecordError: If it is not; names the field, what is wanted, and what there is.
    """
    error = next(_validator(name).iter_errors(value), None)
    if error is None:
        return value
    wanted = error.schema.get("description", "something else")
    if error.validator == "required":
        missing = next(field for field in error.validator_value if field not in error.instance)
        known = error.schema.get("properties", {}).get(missing, {}).get("description", "there")
        raise RecordError(f"{where}: '{missing}' is missing; it must be {known}")
    field = ".".join(brief(str(part)).strip("'\"") for part in error.absolute_path)
    raise RecordError(f"{where}: '{field}' must be {wanted}, got {brief(error.instance)}")


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema(name))
