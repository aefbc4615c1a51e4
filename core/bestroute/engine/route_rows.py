"""Routing rows by the thousand, on one machine or on many: ``rows -> rows``, each answered once.

A cluster hands a row out again when a machine is lost. So what a row came to is kept in a database under a key made of
the job and the row, and a row that has an answer there is not asked again: nothing is lost, nothing is drawn twice but
what was under way on a machine in the moment it was lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from bestroute.billing.store_url import Store
from bestroute.engine.decision import Decision
from bestroute.engine.engine import BestRoute
from bestroute.engine.kept_once import keep_billed
from bestroute.engine.result import Result
from bestroute.errors import ConfigError, UnreadableStoreError
from bestroute.errors.redaction import describe
from bestroute.records.chats import call_params, query_of, reply_text
from bestroute.types.plans import find_plan
from bestroute.types.query import Query

if TYPE_CHECKING:
    from bestroute.billing.database.kept_answers import Answers

DECIDED = (
    *("plan", "model", "n", "reason", "match_probability", "expected_quality"),
    *("expected_cost_usd", "reference_expected_cost_usd"),
)
"""What a decision adds to a row; numbers are ``None`` where no router predicts them."""
COLUMNS = (
    *("answer", "model", "n", "plan", "reason", "expected_cost_usd"),
    *("cost_usd", "reference_cost_usd", "call_id", "error"),
)
"""What an answer adds to a row; it is ``None`` and ``error`` says why where none came."""


def route_rows(
    rows: Sequence[Mapping[str, Any]],
    engine: BestRoute,
    *,
    job: str,
    answers: Answers | None = None,
    concurrency: int = 8,
    decided_by: str = "",
) -> list[dict[str, Any]]:
    """Answer rows, in their order.

    Args:
        rows: Each with a ``query``, and an ``id`` where queries repeat; ``system`` and ``context`` if there are any.
        engine: Who answers.
        job: The job's name: the same rows under another name are asked anew. It is the ledger's ``run_id``.
        answers: What was answered before, on whatever machine.
        concurrency: Rows under way at once.
        decided_by: A name of router, policy and prices: what was answered under another one is asked anew.

    Returns:
        The rows, with ``COLUMNS``. A row that failed has no answer, and is asked again by the next run.

    Raises:
        ConfigError: If a row has no query.
    """
    keys = [row_key(job, row, decided_by) for row in rows]
    known = answers.found(keys) if answers is not None else {}

    def answered(place: int) -> dict[str, Any]:
        row, key = rows[place], keys[place]
        if (before := known.get(key)) is not None:
            return {**row, **before}
        try:
            found = _answer(row, engine, job)
        except Exception as error:
            return {**row, **dict.fromkeys(COLUMNS), "error": describe(error, as_row_query(row))}
        if answers is None:
            return {**row, **found}
        return {**row, **keep_billed(engine.ledger, answers, key, found)}

    with ThreadPoolExecutor(max(1, min(concurrency, len(rows))), thread_name_prefix="bestroute-rows") as threads:
        return list(threads.map(answered, range(len(rows))))


def decide_rows(rows: Sequence[Mapping[str, Any]], engine: BestRoute) -> list[dict[str, Any]]:
    """Decide on rows, in their order, without asking anybody.

    Args:
        rows: As ``route_rows`` takes them.
        engine: Who decides; a router reads the queries together.

    Returns:
        The rows, with ``DECIDED``.

    Raises:
        ConfigError: If a row has no query.
    """
    decisions = engine.route_all([as_row_query(row) for row in rows])
    return [{**row, **_decided(decision)} for row, decision in zip(rows, decisions, strict=True)]


def _decided(decision: Decision) -> dict[str, Any]:
    reference = None
    if decision.prediction is not None and decision.costs_usd is not None:
        column = find_plan(decision.prediction.plans, decision.pool.reference_plan)
        reference = None if column is None else float(decision.costs_usd[column])
    return {
        "plan": str(decision.plan),
        "model": decision.model,
        "n": decision.n,
        "reason": decision.reason,
        "match_probability": decision.match_probability,
        "expected_quality": decision.expected_quality,
        "expected_cost_usd": decision.estimated_cost_usd,
        "reference_expected_cost_usd": reference,
    }


def row_key(job: str, row: Mapping[str, Any], decided_by: str = "") -> str:
    """Return what a row is known by: the job, what decides, its id and what it asks.

    Example:
        >>> row_key("a", {"id": 1, "query": "hi"}) == row_key("a", {"id": 1, "query": "hi", "topic": "x"})
        True
    """
    asks: list[Any] = [job, decided_by, str(row.get("id", "")), *(str(row.get(name) or "") for name in _TEXTS)]
    asks += [{name: row[name]} for name in _OF_CHATS if row.get(name) is not None]
    return sha256(json.dumps(asks, default=str).encode()).hexdigest()


_TEXTS = ("query", "system", "context")
_OF_CHATS = ("messages", "tools", "response_format", "tool_choice")


def as_row_query(row: Mapping[str, Any]) -> Query:
    """Return what a row asks.

    Raises:
        ConfigError: If it has no query.
    """
    if not isinstance(text := row.get("query"), str):
        raise ConfigError(f"a row must have a 'query', a text; this one has {', '.join(map(str, row)) or 'nothing'}")
    query = query_of(text, row)
    return replace(query, context=str(row.get("context") or ""), params=call_params(row))


def _answer(row: Mapping[str, Any], engine: BestRoute, job: str) -> dict[str, Any]:
    return answer_of(engine.run(as_row_query(row), run_id=job))


def answer_of(result: Result) -> dict[str, Any]:
    """Return what a result adds to its row: ``COLUMNS``."""
    return {
        "answer": reply_text(result.samples[result.chosen].sample),
        "model": result.model,
        "n": len(result.samples),
        "plan": str(result.decision.plan),
        "reason": result.decision.reason,
        "expected_cost_usd": result.decision.estimated_cost_usd,
        "cost_usd": result.cost_usd,
        "reference_cost_usd": result.reference_cost_usd,
        "call_id": result.call_id,
        "error": None,
    }


class RouteRows:
    """``route_rows`` or ``decide_rows`` as clusters call it: made once a worker; a batch in, one of its kind out.

    Args:
        make_engine: Makes the engine in the worker; with a ledger in a database that all of them share.
        job: The job's name, see ``route_rows``.
        answers_url: The database of the answers, a path or URL as a ledger's; without one a row may be asked twice.
        concurrency: Rows under way at once in a worker.
        draws: Whether rows are answered; else they are decided on, and nobody is asked.
        decided_by: See ``route_rows``.

    Example::

        rows = ray.data.read_json("log.jsonl").map_batches(
            RouteRows, fn_constructor_args=(make_engine, "june", url), batch_size=64, concurrency=4
        )
    """

    def __init__(
        self,
        make_engine: Callable[[], BestRoute],
        job: str,
        answers_url: Store | None = None,
        *,
        concurrency: int = 8,
        draws: bool = True,
        decided_by: str = "",
    ) -> None:
        """Make the engine."""
        self.engine, self.job, self.concurrency, self.draws = make_engine(), job, concurrency, draws
        self.decided_by = decided_by
        self.answers: Answers | None = None
        if answers_url is not None:
            from bestroute.billing.database.kept_answers import Answers

            self.answers = Answers(answers_url)

    def __call__(self, batch: Any) -> Any:
        """Answer a batch: a list of rows, a dict of columns (Ray's), or a pandas data frame (Dask's, Spark's)."""
        if isinstance(batch, Mapping):
            return _columns(self._routed(_rows_of(batch)))
        if hasattr(batch, "to_dict"):
            return type(batch)(self._routed(batch.to_dict("records")), index=batch.index)
        return self._routed(list(batch))

    def close(self) -> None:
        """Write what the ledger waits for, and let the databases go.

        Raises:
            UnreadableStoreError: If the ledger cannot be written.
        """
        self.engine.close()
        is_written = self.engine.ledger.close()
        if self.answers is not None:
            self.answers.close()
        if is_written is False:  # a ledger of one's own may return nothing
            raise UnreadableStoreError(
                f"the ledger {self.engine.ledger.url!r} cannot be written, so it lacks the last bills; the rows are "
                "answered, and have their cost_usd"
            )

    def _routed(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if not self.draws:
            return decide_rows(rows, self.engine)
        options: dict[str, Any] = {"job": self.job, "answers": self.answers, "concurrency": self.concurrency}
        options["decided_by"] = self.decided_by
        return route_rows(rows, self.engine, **options) if rows else []


def _rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = list(columns)
    return [dict(zip(names, map(_plain, values), strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    """Return a number or text of numpy as Python's."""
    return value.item() if hasattr(value, "item") else value


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    def names() -> Iterator[str]:
        for row in rows:
            yield from row

    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(names())}
