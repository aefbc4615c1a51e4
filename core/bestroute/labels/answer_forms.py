"""The forms of recorded answers, as agreement compares them: of tool calls by their schema, of other answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bestroute.records.records import Record
from bestroute.selection import canonical_calls
from bestroute.selection.answer_form import answer_form, options_in
from bestroute.selection.call_forms import calls_in


def tools_of(record: Record) -> list[Any]:
    """Return the tools that a record says were on offer, in its field ``tools``; none where it says none."""
    offered = record.extra.get("tools")
    return [offered] if isinstance(offered, Mapping) else list(offered) if isinstance(offered, list | tuple) else []


def form_reader(record: Record) -> Callable[[str], str]:
    """Return what brings answers to a record's query to one form; ``""`` is no answer."""
    if tools := tools_of(record):
        functions = [tool.get("function", tool) for tool in tools if isinstance(tool, Mapping)]
        schemas = {str(f.get("name")): f.get("parameters") or {} for f in functions if isinstance(f, Mapping)}
        return lambda text: canonical_calls(calls_in(text) or [], schemas)
    options = options_in(record.query)
    return lambda text: answer_form(text, options)
