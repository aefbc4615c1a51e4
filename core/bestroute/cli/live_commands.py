"""``bestroute feedback`` and ``bestroute monitor``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bestroute.billing.store_url import existing_store
from bestroute.cli.number_range import NumberRange
from bestroute.cli.paths import FOLDER
from bestroute.cli.printing import print_line

if TYPE_CHECKING:
    from bestroute.billing.ledger import Ledger
    from bestroute.evaluation.html_report.promise_states import PromiseState


@click.command(epilog="\b\nExample:\n  bestroute feedback bills.db 5f0c2a 0.8")
@click.argument("ledger")
@click.argument("call_id")
@click.argument("score", type=float)
@click.option("--note", help="A comment, stored in the ledger.")
def feedback(ledger: str, call_id: str, score: float, note: str | None) -> None:
    """Store a SCORE in [0, 1] for the answer of the call CALL_ID in LEDGER, a file or a database URL.

    CALL_ID is in the answer's metadata ("call_id") and in the ledger's rows.
    """
    from bestroute.billing.ledger import Ledger
    from bestroute.errors import UnreadableStoreError

    with Ledger(ledger_url(ledger), keep_notes=note is not None) as opened:
        opened.feedback(call_id, score, note=note)
        if not opened.close():
            raise UnreadableStoreError(
                f"the ledger {opened.url!r} cannot be written now, so the score is not stored; "
                "run the same command later"
            )
    print_line(f"{call_id}: score {score:g} stored")


@click.command(epilog="\b\nExample:\n  bestroute monitor bills.db --target 0.01")
@click.argument("ledger")
@click.option("--target", type=NumberRange(0, 1), help="The drop to compare with; default: the policy's.")
@click.option(
    "--router", "folder", type=FOLDER, help="A router's folder: also show its promises, and those that were refused."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def monitor(ledger: str, target: float | None, folder: Path | None, as_json: bool) -> None:
    """Show what audits found about the calls in LEDGER, a file or a database URL.

    Prints the target; the predicted and the audited drop in quality, by model, task, tag and day, with intervals that
    hold at any time; the saving; alarms; and how many more audits a narrower interval would take.
    """
    from bestroute.billing.ledger import Ledger
    from bestroute.monitoring.monitor_report import SWITCH_ON
    from bestroute.monitoring.monitor_report import monitor as read

    with Ledger(ledger_url(ledger)) as opened:
        reports = read(opened, target=target)
        states = () if folder is None else _states(opened, folder, target)
    if as_json:
        hint = {} if reports else {"hint": SWITCH_ON}
        found: dict[str, Any] = {"modes": [report.to_dict() for report in reports], **hint}
        if folder is not None:
            found["promises"] = [asdict(state) for state in states]
        click.echo(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        click.echo("\n".join(report.words() for report in reports) or SWITCH_ON)
        for state in states:
            savings = f"; saving predicted {state.foretold}, measured {state.measured}" if state.foretold else ""
            print_line(f"promise: {state.promise}: {state.state}; {state.why}{savings}")


def _states(ledger: Ledger, folder: Path, target: float | None) -> list[PromiseState]:
    """Return the state of each promise of a router, and of those that tuning refused."""
    from bestroute.evaluation.html_report.ledger_summary import summarise
    from bestroute.evaluation.html_report.promise_states import foretold_by_default, live_states
    from bestroute.policies.refused_promises import read_refusals
    from bestroute.router import MultiHeadRouter

    router, refusals = MultiHeadRouter.from_pretrained(folder), read_refusals(folder)
    foretold, summary = foretold_by_default(router), summarise(ledger, target=target)
    return live_states(summary, router.promises, router.pool, refusals, foretold)


def ledger_url(ledger: str) -> str:
    """Return the URL of an existing ledger.

    Raises:
        ConfigError: If it is neither a path nor a URL.
        FileNotFoundError: If the file does not exist.
    """
    return existing_store(ledger, "a ledger")
