"""``bestroute spend``."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from bestroute._utils.text import one_line
from bestroute.billing.savings import Savings
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.billing.ledger_rows import Totals

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_TIMES = ("day", "hour")


@click.command(
    epilog="\b\nExamples:\n  bestroute spend bills.db\n  bestroute spend bills.db --by day,model --since 7d --csv"
)
@click.argument("ledger")
@click.option(
    "--by",
    default="model",
    show_default=True,
    metavar="NAMES",
    help="Group by model, day, hour, reason, plan, kind, tag, tag:NAME (comma-separated).",
)
@click.option("--since", metavar="WHEN", help="The start: 30m, 24h, 7d, 4w ago, or a time such as 2026-01-31.")
@click.option("--until", metavar="WHEN", help="The end, exclusive.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only calls with this tag.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def spend(
    ledger: str, by: str, since: str | None, until: str | None, tags: tuple[str, ...], as_csv: bool, as_json: bool
) -> None:
    """Print the costs in LEDGER, a file or a database URL, and what the reference alone would have cost.

    The USD column is the cost of answers; audits, and training data (collect and label), have columns of their own.
    The reference's cost and the saving belong to whole calls, so with --by model, kind, plan or reason they are shown
    in the totals only. The last line is the saving, the cost of audits, and the net. With --by reason, samples drawn
    because another member failed or was passed over are marked "fell back from" that member.
    """
    from bestroute.billing.ledger import Ledger
    from bestroute.cli.live_commands import ledger_url

    if as_csv and as_json:
        raise ConfigError("give --csv or --json, not both")
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    now = time.time()
    with Ledger(ledger_url(ledger)) as opened:
        of: dict[str, Any] = {"since": ago(since, now, "--since"), "until": ago(until, now, "--until")}
        of["tags"] = dict(_tag(tag) for tag in tags) or None
        totals = opened.totals(names, **of)
        whole = opened.totals(**of).get("all")
    rows = list(_rows(totals, names))
    if as_json:
        click.echo(json.dumps(rows, indent=1, allow_nan=False))
    elif as_csv:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, [*names, *_COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(stream.getvalue(), nl=False)
    else:
        for line in _table(rows, names, whole):
            print_line(line)
        if whole is not None:
            print_line(str(Savings.of(whole)))


_PARTS_OF_A_CALL = {"model", "kind", "plan", "reason"}
"""Rows of one call may differ in these, after a fallback for example."""
_COLUMNS = (
    "samples",
    "failed",
    "requests",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "reference_cost_usd",
    "audit_cost_usd",
    "training_cost_usd",
    "saved_usd",
    "net_usd",
)


def ago(text: str | None, now: float, option: str) -> float | None:
    """Read a duration before ``now``, or a time, as seconds since 1970; ``None`` stays ``None``.

    Raises:
        ConfigError: If it is neither; names the option.
    """
    from bestroute.billing.ledger_rows import seconds_of

    if text is None:
        return None
    if (found := _AGO.fullmatch(text.strip())) is not None:
        return now - int(found[1]) * _SECONDS[found[2]]
    try:
        return seconds_of(text.strip(), option)
    except ConfigError:
        raise ConfigError(
            f"{option} must be a duration (90s, 30m, 24h, 7d, 4w) or a time (2026-01-31, 2026-01-31T12:00+01:00), "
            f"got {text!r}"
        ) from None


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise ConfigError(f"--tag must be NAME=VALUE, got {text!r}")
    return name, value


def _rows(totals: Mapping[Any, Totals], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each key, ordered by time if grouped by time, else by cost, the highest first."""

    def key_of(key: Any) -> tuple[str, ...]:
        return key if isinstance(key, tuple) else (key,)

    def order(item: tuple[Any, Totals]) -> tuple[Any, ...]:
        key = key_of(item[0])
        when = tuple(part for name, part in zip(names, key, strict=False) if name in _TIMES)
        return (*when, -item[1]["cost_usd"], key)

    for key, of in sorted(totals.items(), key=order):
        yield {**dict(zip(names, key_of(key), strict=False)), **_columns(of, names)}


def _columns(of: Totals, names: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a row; saving and net are ``None`` where a row may be a part of a call."""
    savings = None if _PARTS_OF_A_CALL & {*names} else Savings.of(of)
    more = {"saved_usd": savings and savings.saved_usd, "net_usd": savings and savings.net_usd}
    return {name: more[name] if name in more else of.get(name) for name in _COLUMNS}


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], whole: Totals | None) -> Iterator[str]:
    head = [
        *names,
        "samples",
        "failed",
        "tokens in",
        "tokens out",
        "USD",
        "reference",
        "saved",
        "audits",
        "net",
        "training",
    ]
    lines = [head, *(_cells(row, names) for row in rows)]
    if len(rows) > 1 and whole is not None:
        lines.append(["all", *[""] * (len(names) - 1), *_cells(_columns(whole, ()), ())])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        left = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)][: len(names)]
        right = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)][len(names) :]
        yield "  ".join([*left, *right]).rstrip()


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    cost, reference = row["cost_usd"], row["reference_cost_usd"]
    if row["saved_usd"] is None:
        reference = None
    return [
        *(one_line(str(row[name])) for name in names),
        *(f"{row[name]:,}" for name in ("samples", "failed", "input_tokens", "output_tokens")),
        f"{cost:.6f}",
        f"{reference:.6f}" if reference else "",
        f"{1 - cost / reference:.1%}" if reference else "",
        f"{row['audit_cost_usd']:.6f}" if row["audit_cost_usd"] else "",
        f"{row['net_usd']:.6f}" if reference else "",
        f"{row['training_cost_usd']:.6f}" if row["training_cost_usd"] else "",
    ]
