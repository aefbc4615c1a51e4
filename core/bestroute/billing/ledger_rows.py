"""The ledger's rows, one per sample drawn: their fields, normalisation and totals."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NotRequired, TypedDict

from bestroute._utils.text import brief, encodable
from bestroute.errors import ConfigError, named

Status = Literal["ok", "failed", "cancelled"]
Kind = Literal["draw", "audit", "judge", "collect"]
Moment = float | str | date | datetime
"""Seconds since 1970, an ISO text, a date or a datetime; without a zone it is UTC."""

DIMENSIONS = ("model", "day", "hour", "reason", "plan", "kind", "tag")
"""Dimensions by which totals can be split, besides ``tag:NAME``, the value of a tag."""
_HOUR_S = 3600
_FIRST_HOUR, _LAST_HOUR = -17_259_888, 70_389_527
"""Hours since 1970 of the years 1 to 9999, the range of ``datetime``."""
_TRAINING = ("collect", "judge")
"""Kinds of draws made for records; any other kind except answers counts as an audit."""


class LedgerRow(TypedDict):
    """The bill of one sample. The ledger fills in fields that are not required."""

    run_id: NotRequired[str]
    """The framework's id of the run; default: the call's id."""
    time: float
    """Seconds since 1970, UTC."""
    model: str
    """Pool name."""
    step: int
    """Step of the plan, from 0."""
    status: Status
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: float
    estimated: bool
    """Whether the provider reported no usable usage, so that tokens were estimated."""
    error: str | None
    reference_cost_usd: float
    """What the reference would have cost for the whole call, USD; on the call's first row, 0 on the others."""
    call_id: NotRequired[str]
    """Id of the engine's call, the same for all its samples."""
    attempt_id: NotRequired[str]
    """Id of the request to a member, the same for all its samples."""
    attempt: NotRequired[int]
    """Number of the request for this draw, from 1; higher for retries."""
    requests: NotRequired[int]
    """1 on a request's first row, 0 on its others, so that their sum counts requests; filled in by the ledger."""
    kind: NotRequired[Kind]
    """Purpose of the sample: an answer, an audit, records (`collect`), or their labels (`judge`)."""
    plan: NotRequired[str | None]
    """The plan that it belongs to, as text."""
    reason: NotRequired[str | None]
    """Why that plan was chosen."""
    tags: NotRequired[dict[str, str]]
    """Tags that the caller gave the call."""
    latency_s: NotRequired[float | None]
    """Duration of its request, seconds; ``None`` if unknown."""


class CostsBeside(TypedDict):
    """Costs besides answers, USD; see ``billing/savings.py`` for each."""

    audit_cost_usd: float
    """Cost of audits; ``cost_usd`` is that of answers alone, unless totals are split by ``kind``."""
    training_cost_usd: float
    """Cost of records for training and tuning: draws of `collect` and judging by `label`."""


class Totals(CostsBeside):
    """Sums over rows."""

    samples: int
    """Number of rows, including failed and cancelled draws."""
    failed: int
    """Rows without a sample: failed or cancelled."""
    requests: int
    """Requests to members; a request may bring several samples, or none."""
    input_tokens: int
    output_tokens: int
    cost_usd: float
    reference_cost_usd: float


@dataclass(frozen=True)
class Selection:
    """Which rows are summed, and how totals are split."""

    by: tuple[str, ...] = ()
    since: float = -math.inf
    until: float = math.inf
    tags: Mapping[str, str] | None = None

    @classmethod
    def of(
        cls,
        by: str | Sequence[str] | None,
        since: Moment | None = None,
        until: Moment | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Selection:
        """Check the arguments of ``totals``.

        Raises:
            ConfigError: If ``by`` is unknown, a moment is invalid, or tags are no mapping.
        """
        names = () if by is None else (by,) if isinstance(by, str) or not isinstance(by, Iterable) else tuple(by)
        if not all(isinstance(name, str) and (name in DIMENSIONS or name.startswith("tag:")) for name in names):
            raise ConfigError(
                f"totals: by must be one of {named(DIMENSIONS)}, 'tag:NAME', several of them, or None, got {brief(by)}"
            )
        if tags is not None and not isinstance(tags, Mapping):
            raise ConfigError(f"totals: tags must be a dict of texts by name, got {brief(tags)}")
        return cls(
            names,
            -math.inf if since is None else seconds_of(since, "since"),
            math.inf if until is None else seconds_of(until, "until"),
            None if tags is None else {as_text(name): as_text(value) for name, value in tags.items()},
        )


def as_text(value: Any) -> str:
    r"""Return a text that any database accepts: lone surrogates and NUL become backslash escapes.

    Example:
        >>> as_text("a\x00\ud83d")
        'a\\x00\\ud83d'
    """
    text = str(value)
    return text if text.isascii() and "\0" not in text else encodable(text).replace("\0", "\\x00")


def completed(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Return rows with every column filled in, of plain Python values.

    Raises:
        ConfigError: If a cost is no finite number, or a time none between the years 1 and 9999.
    """
    requests: set[str] = set()
    found: list[LedgerRow] = []
    for row in rows:
        call_id = as_text(row.get("call_id") or row.get("run_id") or uuid.uuid4().hex)
        attempt_id = as_text(row.get("attempt_id") or uuid.uuid4().hex)
        plain: LedgerRow = {
            "run_id": as_text(row.get("run_id") or call_id),
            "time": _time(row["time"]),
            "model": as_text(row["model"]),
            "step": int(row["step"]),
            "status": as_text(row["status"]),  # type: ignore[typeddict-item]
            "input_tokens": int(row["input_tokens"]),
            "output_tokens": int(row["output_tokens"]),
            "cached_input_tokens": int(row["cached_input_tokens"]),
            "cache_write_tokens": int(row["cache_write_tokens"]),
            "reasoning_tokens": int(row["reasoning_tokens"]),
            "cost_usd": _usd(row, "cost_usd"),
            "estimated": bool(row["estimated"]),
            "error": None if row["error"] is None else as_text(row["error"]),
            "reference_cost_usd": _usd(row, "reference_cost_usd"),
            "call_id": call_id,
            "attempt_id": attempt_id,
            "attempt": int(row.get("attempt") or 1),
            "requests": int(attempt_id not in requests),
            "kind": as_text(row.get("kind") or "draw"),  # type: ignore[typeddict-item]
            "plan": as_text(row.get("plan") or ""),
            "reason": as_text(row.get("reason") or ""),
            "tags": {as_text(name): as_text(value) for name, value in (row.get("tags") or {}).items()},
            "latency_s": None if (seconds := row.get("latency_s")) is None else float(seconds),
        }
        found.append(plain)
        requests.add(attempt_id)
    return found


def _usd(row: LedgerRow, name: Literal["cost_usd", "reference_cost_usd"]) -> float:
    usd = float(row[name])
    if not math.isfinite(usd):
        raise ConfigError(f"a ledger's {name} must be a finite number, got {usd}")
    return usd


def _time(time: float) -> float:
    seconds = float(time)
    if not _FIRST_HOUR <= seconds / _HOUR_S < _LAST_HOUR:  # NaN is none, either
        raise ConfigError(f"a ledger's time must be seconds since 1970, before the year 9999, got {seconds}")
    return seconds


COLUMNS = tuple(LedgerRow.__annotations__)


def no_totals() -> Totals:
    """Return the totals of no rows."""
    return {
        "samples": 0,
        "failed": 0,
        "requests": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0.0,
        "reference_cost_usd": 0.0,
        "audit_cost_usd": 0.0,
        "training_cost_usd": 0.0,
    }


def beside_answers(total: Totals) -> Totals:
    """Return the totals of rows of other kinds as added to those of answers: their costs are kept separate."""
    return {**total, "cost_usd": 0.0}


def add_totals(total: Totals, more: Totals) -> None:
    """Add totals to others, in place."""
    for name, value in more.items():
        total[name] += value  # type: ignore[literal-required]


def costs_beside(kind: str, cost_usd: float) -> CostsBeside:
    """Return the costs besides answers of rows of one kind.

    Example:
        >>> costs_beside("collect", 2.0)
        {'audit_cost_usd': 0.0, 'training_cost_usd': 2.0}
    """
    training = cost_usd if kind in _TRAINING else 0.0
    return {"audit_cost_usd": 0.0 if kind in ("draw", *_TRAINING) else cost_usd, "training_cost_usd": training}


def totals_of(row: LedgerRow) -> Totals:
    """Return the totals of one row."""
    return {
        "samples": 1,
        "failed": int(row["status"] != "ok"),
        "requests": row["requests"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "cost_usd": row["cost_usd"],
        "reference_cost_usd": row["reference_cost_usd"],
        **costs_beside(row["kind"], row["cost_usd"]),
    }


class NewestRows:
    """The newest rows: a number of answers, and the same number of other rows, which do not displace answers."""

    def __init__(self, most: int) -> None:
        """Start empty."""
        self.most, self._count = most, 0
        self._answers, self._beside = deque[tuple[int, LedgerRow]](), deque[tuple[int, LedgerRow]]()

    def add(self, rows: Iterable[LedgerRow]) -> list[LedgerRow]:
        """Add rows, and return the old ones that are dropped."""
        let_go = []
        for row in rows:
            kept = self._answers if row["kind"] == "draw" else self._beside
            kept.append((self._count, row))
            self._count += 1
            if len(kept) > self.most:
                let_go.append(kept.popleft()[1])
        return let_go

    def copy(self) -> NewestRows:
        """Return a copy with the same rows."""
        other = NewestRows(self.most)
        other._count, other._answers, other._beside = self._count, self._answers.copy(), self._beside.copy()
        return other

    def rows(self) -> list[LedgerRow]:
        """Return the rows in writing order."""
        return [row for _, row in heapq.merge(self._answers, self._beside, key=lambda each: each[0])]


class Sums:
    """Totals of rows that are no longer stored, in at most ``most`` groups by all dimensions.

    Beyond that number, rows of a new reason or tag are added up without either.
    """

    def __init__(self, most: int) -> None:
        """Start empty."""
        self.most = most
        self._sums: dict[tuple[str, int, str, str, str, str], Totals] = {}

    def add(self, row: LedgerRow) -> None:
        """Add a row."""
        tags = json.dumps(row["tags"], sort_keys=True)
        key = (row["model"], hour_of(row["time"]), row["kind"], row["plan"] or "", row["reason"] or "", tags)
        if key not in self._sums and len(self._sums) >= self.most:
            key = (*key[:3], "", "", "{}")
        add_totals(self._sums.setdefault(key, no_totals()), totals_of(row))

    def copy(self) -> Sums:
        """Return a copy."""
        other = Sums(self.most)
        other._sums = {key: total.copy() for key, total in self._sums.items()}
        return other

    def groups(self) -> list[tuple[Mapping[str, Any], Totals]]:
        """Return each group's common values and its totals; times have a resolution of an hour."""
        return [
            (
                {
                    "model": model,
                    "time": float(hour * _HOUR_S),
                    "kind": kind,
                    "plan": plan,
                    "reason": reason,
                    "tags": json.loads(tags),
                },
                total.copy(),
            )
            for (model, hour, kind, plan, reason, tags), total in self._sums.items()
        ]


def add_up(
    sums: dict[tuple[str, ...], Totals], totals: Iterable[tuple[Mapping[str, Any], Totals]], selection: Selection
) -> None:
    """Add rows, or groups of similar rows, to the totals of their keys."""
    for row, total in totals:
        if not selection.since <= row["time"] < selection.until:
            continue
        if selection.tags and any(row["tags"].get(name) != value for name, value in selection.tags.items()):
            continue
        if row["kind"] != "draw" and "kind" not in selection.by:
            total = beside_answers(total)
        for key in itertools.product(*(_values(row, name) for name in selection.by)):
            add_totals(sums.setdefault(key, no_totals()), total)


def as_keys(sums: Mapping[tuple[str, ...], Totals], by: str | Sequence[str] | None) -> dict[Any, Totals]:
    """Return totals keyed by ``"all"`` without names, by texts for one name, by tuples for several."""
    if by is None:
        return {"all": sums[()]} if sums else {}
    return {key[0]: total for key, total in sums.items()} if isinstance(by, str) else dict(sums)


def hour_of(time: float) -> int:
    """Return the hour since 1970 of a time."""
    return math.floor(time / _HOUR_S)


def moment_of(seconds: float) -> datetime:
    """Return the time that many seconds after 1970, UTC, limited to the range of ``datetime``."""
    within = min(max(seconds, _FIRST_HOUR * _HOUR_S), _LAST_HOUR * _HOUR_S)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=within)


def hour_text(hour: int) -> str:
    """Format an hour as ``2026-01-31 17:00``, UTC.

    Example:
        >>> hour_text(0), hour_text(10**12)
        ('1970-01-01 00:00', '9999-12-31 23:00')
    """
    return moment_of(hour * _HOUR_S).strftime("%Y-%m-%d %H:00")


def day_text(day: int) -> str:
    """Format a day since 1970 as ``2026-01-31``."""
    return hour_text(day * 24)[:10]


def tag_text(name: str, value: str) -> str:
    """Format a tag as ``team=search``."""
    return f"{name}={value}"


def _values(row: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the values of a dimension that a row counts for: one, but every tag's for ``tag``."""
    if name == "tag":
        yield from [tag_text(tag, value) for tag, value in row["tags"].items()] or [""]
    elif name.startswith("tag:"):
        yield row["tags"].get(name.removeprefix("tag:"), "")
    elif name in ("day", "hour"):
        hour = hour_of(row["time"])
        yield hour_text(hour) if name == "hour" else day_text(hour // 24)
    else:
        yield row[name]


def seconds_of(moment: Any, name: str) -> float:
    """Return a moment as seconds since 1970; without a zone it is UTC.

    Raises:
        ConfigError: If it is not a moment.
    """
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if isinstance(moment, date) and not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)
        if isinstance(moment, datetime):
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if not isinstance(moment, bool) and not math.isnan(seconds := float(moment)):
            return seconds
    except (TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(
        f"totals: {name} must be a date, a datetime, an ISO text or seconds since 1970, got {brief(moment)}"
    )
