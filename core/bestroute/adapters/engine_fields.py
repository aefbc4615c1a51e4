"""Changing a part of a framework's model that holds an engine: the change holds as a whole, or nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def change_part(model: Any, change: Callable[[], object], build: Callable[[], object]) -> None:
    """Change a field and build the engine anew; what raises leaves every field as it was.

    Args:
        model: A pydantic model.
        change: Sets the field.
        build: Makes the engine from the fields.
    """
    fields, fields_set = dict(model.__dict__), set(model.__pydantic_fields_set__)
    change()
    try:
        build()
    except BaseException:
        model.__dict__.clear()
        model.__dict__.update(fields)
        model.__pydantic_fields_set__.intersection_update(fields_set)
        raise
