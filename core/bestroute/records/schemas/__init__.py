"""The formats of our files as JSON Schemas (draft 2020-12), one file each; printed by `bestroute schema`.

A property's ``description`` says what is expected. For lines that are checked by their schema, it is part of the error
message.
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
    """Return the schema of a format; that of a pool is generated from the code that reads it.

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
    """Check a line against the schema of its format, and return it.

    Args:
        value: The line.
        name: Name of the format.
        where: Beginning of an error message.

    Raises:
        RecordError: If it does not fit; names the field, what was expected and what was found.
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
