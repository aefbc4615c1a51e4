"""The canonical form of recorded answers, by which agreement compares them; tool calls are read with their schemas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bestroute.records.records import Record
from bestroute.selection import canonical_calls
from bestroute.selection.answer_form import answer_form, options_in
from bestroute.selection.call_forms import calls_in


def tools_of(record: Record) -> list[Any]:
    """Return the tools of a record's field ``tools``; an empty list if it has none."""
    offered = record.extra.get("tools")
    return [offered] if isinstance(offered, Mapping) else list(offered) if isinstance(offered, list | tuple) else []


def form_reader(record: Record) -> Callable[[str], str]:
    """Return the function that brings answers to a record's query to canonical form; ``""`` stands for no answer."""
    if tools := tools_of(record):
        functions = [tool.get("function", tool) for tool in tools if isinstance(tool, Mapping)]
        schemas = {str(f.get("name")): f.get("parameters") or {} for f in functions if isinstance(f, Mapping)}
        return lambda text: canonical_calls(calls_in(text) or [], schemas)
    options = options_in(record.query)
    return lambda text: answer_form(text, options)
