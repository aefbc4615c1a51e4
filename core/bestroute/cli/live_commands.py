"""Commands about live traffic: what is said of answers."""

from __future__ import annotations

from pathlib import Path

import click


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


def ledger_url(ledger: str) -> str:
    """Return the URL of a ledger that is there.

    Raises:
        FileNotFoundError: If it is a file that is not there.
    """
    path = ledger.removeprefix("sqlite:///")
    if path == ledger and "://" in ledger:
        return ledger
    Path(path).stat()
    return f"sqlite:///{path}"
