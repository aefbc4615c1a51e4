"""Read users' own tables and JSON lines: find the columns of query, answer, model and so on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import ConfigError, named
from bestroute.records.logs.logged_call import LoggedCall, logged_call, moment, number, tokens
from bestroute.records.logs.openai_bodies import own_answer, tools_of
from bestroute.records.logs.turns import turns_of

FIELDS: Mapping[str, tuple[str, ...]] = {
    "query": ("query", "question", "prompt", "user_message", "input", "text", "instruction", "request"),
    "messages": ("messages", "conversation", "conversations", "chat"),
    "system": ("system", "system_prompt"),
    "answer": ("answer", "response", "output", "completion", "reply", "assistant"),
    "expected": ("expected", "expected_answer", "known_answer", "reference_answer", "ground_truth", "correct_answer"),
    "model": ("model", "model_name"),
    "id": ("id", "uuid", "call_id", "request_id"),
    "group": ("group", "session", "session_id", "thread_id", "conversation_id", "user_id"),
    "task": ("task", "category", "type", "tag", "route"),
    "time": ("time", "timestamp", "created_at", "date", "created", "start_time"),
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "cost_usd": ("cost_usd", "cost", "total_cost", "price", "spend"),
    "tools": ("tools", "functions"),
}
"""Our fields, and the column names that are used for them by default."""

_MOST_NAMES = 100
"""Most columns listed in an error about a missing one."""


def read_map(pairs: tuple[str, ...]) -> dict[str, str]:
    """Parse ``--map`` options, ``field=column``.

    Raises:
        ConfigError: If one is not of that form or names an unknown field.
    """
    chosen: dict[str, str] = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if name not in FIELDS or not column:
            raise ConfigError(f"--map is written FIELD=COLUMN with a field of {named(FIELDS)}, got {brief(pair)}")
        chosen[name] = column
    return chosen


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row has a column usable as the query."""
    return any(name.lower() in (*FIELDS["query"], *FIELDS["messages"]) for name in row)


def calls_of(rows: Iterable[Mapping[str, Any]], chosen: Mapping[str, str]) -> Iterator[LoggedCall | None]:
    """Yield the call of each row; ``None`` if its query is empty.

    Raises:
        ConfigError: At the end, if no row has a chosen column.
    """
    missing, names = dict(chosen), dict[str, None]()
    for row in rows:
        if missing:
            missing = {field: column for field, column in missing.items() if column not in row}
            names |= dict.fromkeys(row) if len(names) < _MOST_NAMES else {}
        yield call_of(row, chosen)
    for field, column in missing.items() if names else ():
        raise ConfigError(f"--map {field}={column}: there is no such column, only {named(names)}")


def call_of(row: Mapping[str, Any], chosen: Mapping[str, str]) -> LoggedCall | None:
    """Return the call of a row; ``None`` if its query is empty.

    Args:
        row: Columns by name.
        chosen: Columns by our fields, as mapped by the user; a missing one counts as empty.
    """
    by_name = {name.strip().lower(): value for name, value in row.items()}

    def column(field: str) -> Any:
        if field in chosen:
            return row.get(chosen[field])
        return next((by_name[name] for name in FIELDS[field] if by_name.get(name) not in (None, "")), None)

    prompt = column("messages")
    if prompt is None or "query" in chosen:
        prompt = column("query")
    if column("system") and (turns := turns_of(prompt)) and turns[0]["role"] != "system":
        prompt = [{"role": "system", "content": str(column("system"))}, *turns]
    answer, expected = column("answer"), column("expected")
    return logged_call(
        prompt,
        {"role": "assistant", "content": answer} if isinstance(answer, str) else own_answer(answer),
        id=_text(column("id")),
        model=_text(column("model")),
        input_tokens=tokens(column("input_tokens")),
        output_tokens=tokens(column("output_tokens")),
        cost_usd=number(column("cost_usd")),
        at=moment(column("time")),
        session=_text(column("group")),
        task=_text(column("task")) or "",
        tools=tools_of(column("tools")),
        extra={} if expected in (None, "") else {"answer": expected},
    )


def _text(value: Any) -> str | None:
    """Return a value as text; a number, such as a table's id, as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None
