"""The formats of our files as JSON Schemas (draft 2020-12): what `bestroute schema` prints, one file a format."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

NAMES = ("prompts", "records", "gold", "pool")


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
