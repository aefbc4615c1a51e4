"""Commands about live traffic: what is said of answers, and what audits show."""

from __future__ import annotations

import json

import click

from bestroute.billing.store_url import existing_store


@click.command(epilog="\b\nExample:\n  bestroute feedback bills.db 5f0c2a 0.8")
@click.argument("ledger")
@click.argument("call_id")
@click.argument("score", type=float)
@click.option("--note", help="In words; it is kept in the ledger.")
def feedback(ledger: str, call_id: str, score: float, note: str | None) -> None:
    """Keep a SCORE in [0, 1] for the answer of the call CALL_ID in LEDGER, a file or a database's URL.

    CALL_ID stands in the answer's metadata ("call_id") and in the ledger's rows.
    """
    from bestroute.billing.ledger import Ledger

    with Ledger(ledger_url(ledger), keep_notes=note is not None) as opened:
        opened.feedback(call_id, score, note=note)
    click.echo(f"{call_id}: {score:g} is kept")


@click.command(epilog="\b\nExample:\n  bestroute monitor bills.db --target 0.01")
@click.argument("ledger")
@click.option("--target", type=click.FloatRange(0, 1), help="The drop that is asked for; default: the policy's.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def monitor(ledger: str, target: float | None, as_json: bool) -> None:
    """Show what audits tell of the calls in LEDGER, a file or a database's URL.

    The target, the drop in quality as predicted and as audited, with an interval that holds at every moment, by
    model, task, tag and day; what is saved; alarms; what it would take to know more.
    """
    from bestroute.billing.ledger import Ledger
    from bestroute.monitoring.monitor_report import SWITCH_ON
    from bestroute.monitoring.monitor_report import monitor as read

    with Ledger(ledger_url(ledger)) as opened:
        reports = read(opened, target=target)
    if as_json:
        hint = {} if reports else {"hint": SWITCH_ON}
        found = {"modes": [report.to_dict() for report in reports], **hint}
        click.echo(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        click.echo("\n".join(report.words() for report in reports) or SWITCH_ON)


def ledger_url(ledger: str) -> str:
    """Return the URL of a ledger that is there.

    Raises:
        ConfigError: If it is neither a path nor a URL.
        FileNotFoundError: If it is a file that is not there.
    """
    return existing_store(ledger, "a ledger")
