"""``bestroute report``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bestroute.cli.learning_commands import check_reward, run_evaluation, tell
from bestroute.cli.live_commands import ledger_url
from bestroute.cli.number_range import NumberRange
from bestroute.cli.paths import FILE, FOLDER, check_not_read
from bestroute.cli.printing import print_line
from bestroute.cli.spend_command import ago
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.billing.ledger import Ledger
    from bestroute.evaluation.html_report.blocks import Page

_RECORDS = (".jsonl", ".jsonl.gz")


@click.command(
    epilog="\b\nExamples:\n  bestroute report bills.db --since 7d --out report.html\n"
    "  bestroute report bills.db --router router --out report.html\n"
    "  bestroute report others.jsonl --router router --policy max_drop:0.01 --out report.html"
)
@click.argument("source", metavar="LEDGER|RECORDS...", nargs=-1, required=True)
@click.option("--out", type=FILE, required=True, help="The HTML file to write; an existing page is replaced.")
@click.option(
    "--router",
    "folder",
    type=FOLDER,
    help="A router's folder: required for records; for a ledger it adds the promises.",
)
@click.option("--since", metavar="WHEN", help="The start: 30m, 24h, 7d, 4w ago, or a time such as 2026-01-31 (ledger).")
@click.option("--until", metavar="WHEN", help="The end, exclusive (ledger).")
@click.option("--target", type=NumberRange(0, 1), help="The drop to compare with; default: the policy's (ledger).")
@click.option("--train", type=FILE, multiple=True, help="Records to fit the learned baselines on (records).")
@click.option("--policy", "policy_text", metavar="NAME:VALUE", help="The policy, as for evaluate (records).")
@click.option("--reward", callback=check_reward, help="As for evaluate (records).")
@click.option("--cross-fit", "folds", type=int, help="Train a new router for each of K folds, by group (records).")
@click.option("--allow-missing", is_flag=True, help="Leave out records without samples of every model (records).")
@click.option("--resamples", type=int, default=10_000, show_default=True, help="Bootstrap resamples (records).")
def report(
    source: tuple[str, ...],
    out: Path,
    folder: Path | None,
    since: str | None,
    until: str | None,
    target: float | None,
    train: tuple[Path, ...],
    policy_text: str | None,
    reward: str | None,
    folds: int | None,
    allow_missing: bool,
    resamples: int,
) -> None:
    """Write an HTML report about LEDGER, a file or a database URL, or about RECORDS and a router.

    For a ledger: what was spent and saved, by day, model, plan, reason and tag; the audited drop in quality; alarms;
    the most expensive decisions; the state of every promise. For records: quality against cost next to every
    baseline, calibration, and the decisions. The report is one file, loads nothing from the network and needs no
    script; with the extra "report" its charts can be zoomed and filtered.
    """
    check_not_read(out, [name.removeprefix("sqlite:///") for name in source] + [*map(str, train)])
    _check_page(out)
    is_records = all(name.endswith(_RECORDS) for name in source)
    if is_records:
        if since or until or target is not None:
            raise ConfigError("--since, --until and --target are for ledgers, not for records")
        if folder is None:
            raise ConfigError("a report about records needs a router to score on them: add --router DIR")
        evaluated: dict[str, Any] = {"train": train, "policy_text": policy_text, "reward": reward, "folds": folds}
        page = _of_records(tuple(map(Path, source)), folder, evaluated, allow_missing, resamples)
    else:
        if train or policy_text or reward or folds is not None or allow_missing:
            raise ConfigError(
                "--train, --policy, --reward, --cross-fit and --allow-missing are for records, files that end in .jsonl"
            )
        if len(source) > 1:
            raise ConfigError(f"a report is about one ledger, or about records files (.jsonl), got {len(source)} names")
        page = _of_ledger(source[0], folder, since, until, target)
    write_report(page, out)


def _check_page(out: Path) -> None:
    """Check that an existing file at ``out`` is an HTML page.

    Raises:
        ConfigError: If it is anything else.
    """
    if out.is_file() and out.stat().st_size:
        with out.open("rb") as stream:
            start = stream.read(99).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
            if not start.startswith((b"<!doctype html", b"<html")):
                raise ConfigError(f"{out} exists already and is not an HTML page; choose another --out, or remove it")


def write_report(page: Page, out: Path, *, with_script: bool = True) -> None:
    """Write a page and print its path; without the script, most of its size, the charts are static."""
    from bestroute._utils.extras import to_install
    from bestroute._utils.files import atomic_file
    from bestroute.evaluation.html_report.page import html, plotting_script

    script = plotting_script() if with_script else None
    if script is None and with_script:
        tell(f"the charts are static, since plotly is not installed: {to_install('report')}")
    with atomic_file(out) as stream:
        stream.write(html(page, script=script).encode())
    print_line(f"report: {out}")


def ledger_report(ledger: Ledger, name: str) -> Page:
    """Return the page of an open ledger."""
    from bestroute.evaluation.html_report.ledger_page import ledger_page
    from bestroute.evaluation.html_report.ledger_summary import summarise

    return ledger_page(summarise(ledger), name, ())


def _of_ledger(name: str, folder: Path | None, since: str | None, until: str | None, target: float | None) -> Page:
    from bestroute.billing.ledger import Ledger
    from bestroute.evaluation.html_report.ledger_page import ledger_page
    from bestroute.evaluation.html_report.ledger_summary import summarise
    from bestroute.evaluation.html_report.promise_states import foretold_by_default, live_states
    from bestroute.policies.refused_promises import read_refusals
    from bestroute.router import MultiHeadRouter

    now = time.time()
    first, last = ago(since, now, "--since"), ago(until, now, "--until")
    router = None if folder is None else MultiHeadRouter.from_pretrained(folder)
    with Ledger(ledger_url(name)) as ledger:
        summary = summarise(ledger, since=first, until=last, target=target)
        shown = (ledger.url or "").removeprefix("sqlite:///")
    if router is None or folder is None:
        return ledger_page(summary, shown, live_states(summary))
    refusals, foretold = read_refusals(folder), foretold_by_default(router)
    return ledger_page(summary, shown, live_states(summary, router.promises, router.pool, refusals, foretold))


def _of_records(
    paths: tuple[Path, ...], folder: Path, evaluated: dict[str, Any], allow_missing: bool, resamples: int
) -> Page:
    from bestroute.evaluation.html_report.promise_states import records_states, refused_states
    from bestroute.evaluation.html_report.records_page import records_page
    from bestroute.policies.refused_promises import read_refusals

    router, done = run_evaluation(folder, paths, allow_missing=allow_missing, resamples=resamples, **evaluated)
    states = records_states(router.promises, done.report.get("policy"), evaluated["policy_text"])
    states += refused_states(read_refusals(folder))
    return records_page(done, ", ".join(map(str, paths)), states)
