"""Tool turns stay with the member that made the call: its mark is in the call's id, so that no server has to remember.

Members never see a mark: what callers send back is freed of it first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MARK = re.compile(r"-br([0-9a-f]{8})$")


def mark_of(model: str) -> str:
    """Return the mark at the end of the ids of a member's calls.

    Example:
        >>> mark_of("small")
        '81db8ebb'
    """
    return hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def marked(calls: Iterable[Mapping[str, Any]], model: str) -> list[dict[str, Any]]:
    """Return tool calls, or pieces of them, with marked ids."""
    return [{**call, "id": f"{call['id']}-br{mark_of(model)}"} if call.get("id") else dict(call) for call in calls]


def unmarked(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], str | None]:
    """Return messages without marks, and the mark of the author of the calls that the last message answers."""
    mark: str | None = None
    plain: list[Mapping[str, Any]] = []
    for message in messages:
        mark = None
        if isinstance(answered := message.get("tool_call_id"), str) and (found := _MARK.search(answered)):
            mark, message = found[1], {**message, "tool_call_id": answered[: found.start()]}
        calls = message.get("tool_calls")
        if isinstance(calls, list) and any(_MARK.search(str(_id_of(call))) for call in calls):
            freed = [{**c, "id": _MARK.sub("", c["id"])} if isinstance(_id_of(c), str) else c for c in calls]
            message = {**message, "tool_calls": freed}
        plain.append(message)
    return plain, mark


def _id_of(call: Any) -> Any:
    return call.get("id") if isinstance(call, Mapping) else None
