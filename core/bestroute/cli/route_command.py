"""``bestroute route``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bestroute.cli.drawing import Drawing, batch_options
from bestroute.cli.live_members import stop_on_interrupt
from bestroute.cli.paths import FILE, FOLDER
from bestroute.cli.printing import print_line
from bestroute.cli.progress import counted
from bestroute.cli.route_engine import MakeEngine, deciding_engine
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.engine.route_log import RouteBatches, RoutedLog

_OF_FILES = ("out", "pool", "policy", "draw", "reward", "ledger", "job", "concurrency", "engine", "cluster")


@click.command(
    epilog='\b\nExamples:\n  bestroute route router "What is 12 * 7?"\n'
    "  bestroute route router --file log.jsonl --out decided.jsonl\n"
    "  bestroute route router --file log.jsonl --out answered.jsonl --draw --ledger bills.db\n"
    "  bestroute route router --file log.jsonl --out batched.jsonl --draw --batch\n"
    "  bestroute route router --file log.jsonl --out decided.jsonl --engine ray --cluster auto"
)
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("text", required=False)
@click.option("--threshold", type=float, help="Decide by ThresholdPolicy instead of the router's own policy.")
@click.option(
    "--all",
    "whole",
    is_flag=True,
    help="Show every plan: its numbers, why it was or was not taken, what would flip it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the decision with every plan as JSON.")
@click.option("--file", "log", type=FILE, help="Route every prompt of this JSON Lines file (prompts or records).")
@click.option("--out", type=FILE, help="The output of --file, one line per prompt; an existing one is continued.")
@click.option("--policy", metavar="KIND:VALUE", help="For --file: threshold:0.8, quality:0.02, max_drop:0.01.")
@click.option("--pool", type=FILE, help="For --file: a pool file with other prices or addresses than the router's.")
@click.option("--draw", is_flag=True, help="Also answer the prompts of --file; every draw is billed.")
@click.option(
    "--reward", help="For --draw: majority, logprobs, agreement, confidence, or a folder; default: as trained."
)
@click.option("--ledger", help="For --draw: a file or database URL for bills and answers; default: beside --out.")
@click.option("--job", help="For --draw: run_id of the bills; a new job asks again. Default: the name of --out.")
@click.option("--concurrency", type=click.IntRange(1), help="For --draw: prompts in parallel; default: 8.")
@batch_options
@click.option(
    "--engine", type=click.Choice(["ray"]), help="For --file: spread the work over a Ray cluster (extra ray)."
)
@click.option(
    "--cluster", metavar="ADDRESS", help="The cluster for --engine ray: auto, or host:port; default: this machine."
)
def route(
    folder: Path,
    text: str | None,
    threshold: float | None,
    whole: bool,
    as_json: bool,
    log: Path | None,
    drawing: Drawing,
    **options: Any,
) -> None:
    """Explain the decision of the router in DIR for one query, TEXT, or route a whole file of prompts.

    For a TEXT, five lines are printed: the plan taken, why, the runner-up, what would flip the decision, and how
    sure it is; then the promises that tune refused, if any. No model is called.

    With --file, each line of --out holds the prompt's id, the plan, the reason, and the expected cost of the plan and
    of the reference; with --draw also the answer and its bill. The file may be larger than memory. Ctrl-C stops after
    the prompts in progress; run the same command again to continue after a stop or a crash. Only what was in progress
    at a crash may be paid for twice, and prompts that failed are asked again. If --out holds anything else, the
    command is refused and the file is left unchanged.

    With --draw --batch, the prompts are answered by batch files at half the price: first the first draws of all
    prompts, then whatever their plans ask next, one batch per step and member. Run the same command again to pick up
    unfinished batches.

    With --engine ray, the same runs on a cluster. DIR and --pool must be valid paths on its machines, which need the
    members' API keys in their environment, and --draw needs a --ledger in PostgreSQL.
    """
    if (text is None) == (log is None):
        raise ConfigError("give either a TEXT, or --file LOG and --out ROUTED")
    if log is not None:
        if whole or as_json or threshold is not None:
            raise ConfigError("--all, --json and --threshold are for one TEXT; --file takes --policy threshold:0.8")
        _route_file(folder, log, drawing, **options)
        return
    if drawing.form is not None:
        raise ConfigError("--batch is for --file LOG --draw")
    if given := [name for name in _OF_FILES if options[name]]:
        raise ConfigError(f"--{given[0]} is for --file LOG")
    _explain(folder, str(text), threshold, whole=whole, as_json=as_json)


def _explain(folder: Path, text: str, threshold: float | None, *, whole: bool, as_json: bool) -> None:
    from bestroute.cli.summary import five_lines
    from bestroute.policies.refused_promises import read_refusals
    from bestroute.router import MultiHeadRouter

    if whole and as_json:
        raise ConfigError("give --all or --json, not both")
    decision = deciding_engine(MultiHeadRouter.from_pretrained(folder), threshold=threshold).route(text)
    if as_json:
        click.echo(json.dumps(decision.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(decision.explain() if whole else five_lines(decision))
        for refusal in read_refusals(folder):
            print_line(f"refused:   {refusal}")


def _route_file(
    folder: Path,
    log: Path,
    drawing: Drawing,
    *,
    out: Path | None,
    pool: Path | None,
    policy: str | None,
    draw: bool,
    reward: str | None,
    ledger: str | None,
    job: str | None,
    concurrency: int | None,
    engine: str | None,
    cluster: str | None,
) -> None:
    from bestroute.engine.route_log import route_log

    if out is None:
        raise ConfigError("--file LOG needs --out ROUTED")
    if not draw and any(option is not None for option in (reward, ledger, job, concurrency)):
        raise ConfigError("--reward, --ledger, --job and --concurrency are for --draw")
    if drawing.form is not None and (not draw or engine or concurrency is not None):
        raise ConfigError("--batch needs --draw, and excludes --concurrency and --engine ray")
    if cluster is not None and not engine:
        raise ConfigError("--cluster is for --engine ray")
    url = _bills(ledger, out, log, on_cluster=engine is not None) if draw else None
    if draw:
        drawing.check_under_way(out)
    make = MakeEngine(folder.absolute(), pool and pool.absolute(), policy, reward, url)
    job, at_once = job or out.name, concurrency or 8
    with stop_on_interrupt() as stop, ExitStack() as stack:
        if drawing.form is not None:
            routing = _by_batches(make, drawing, out, job, str(url), lambda: stop.is_set)
        else:
            routing = _by_calls(make, job, url, at_once, draws=draw)
            if engine:
                routing = routing._replace(
                    route=_on_a_cluster(make, job, url, at_once, draw, cluster, routing.decided_by)
                )
        stack.callback(routing.close)
        show = stack.enter_context(counted("prompt"))
        done = route_log(
            log,
            out,
            routing.route,
            decided_by=routing.decided_by,
            batch=routing.size,
            stops=lambda: stop.is_set,
            on_row=show,
        )
    _tell(done, out, draws=draw)


def _bills(ledger: str | None, out: Path, log: Path, *, on_cluster: bool) -> str:
    """Return the URL of the database that keeps bills and answers.

    Raises:
        ConfigError: If it is also another file of this command, or the cluster cannot reach it.
    """
    from bestroute._utils.files import is_same_file
    from bestroute.billing.store_url import POSTGRES, SQLITE, store_url

    url = store_url(f"{out}.bills.db" if ledger is None else ledger, "a ledger")
    if on_cluster and not url.startswith(POSTGRES):
        raise ConfigError(
            f"--engine ray --draw needs a ledger that every machine can reach: --ledger {POSTGRES}user@host/name"
        )
    if url.startswith(SQLITE):
        store = Path(url.removeprefix(SQLITE).partition("?")[0])
        if is_same_file(store, out) or is_same_file(store, log):
            raise ConfigError(f"--ledger {ledger} is --out or --file, too; give the ledger a file of its own")
    return url


class _RowRouting(NamedTuple):
    """How the rows of a file are routed."""

    route: RouteBatches
    size: int
    """Rows per batch."""
    decided_by: str
    close: Callable[[], None]


def _by_calls(make: MakeEngine, job: str, url: str | None, at_once: int, *, draws: bool) -> _RowRouting:
    from bestroute.engine.route_rows import RouteRows

    engine = make()
    decided_by = make.fingerprint(engine, job)
    rows = RouteRows(lambda: engine, job, url, concurrency=at_once, draws=draws, decided_by=decided_by)
    return _RowRouting(partial(map, rows), 16 * at_once if draws else 256, decided_by, rows.close)


def _by_batches(
    make: MakeEngine, drawing: Drawing, out: Path, job: str, url: str, stops: Callable[[], bool]
) -> _RowRouting:
    from bestroute.billing.database.kept_answers import Answers
    from bestroute.engine.batch_rows import BatchRows
    from bestroute.generators.batches import KeptReplies
    from bestroute.generators.openai import generators_from

    engine = make()
    members = generators_from(engine.pool)
    replies = KeptReplies(out)
    try:
        draws, charged = drawing.by_batches(engine.pool, members, out, replies)
        decided_by = make.fingerprint(engine, job, charged)
        rows = BatchRows(engine, charged, members, draws, job, Answers(url), decided_by=decided_by, stops=stops)
    except BaseException:
        replies.close(is_wanted=True)
        raise
    return _RowRouting(rows, rows.at_once, decided_by, rows.close)


def _on_a_cluster(
    make: MakeEngine, job: str, url: str | None, at_once: int, draw: bool, address: str | None, decided_by: str
) -> RouteBatches:
    from bestroute._utils.extras import need

    need("bestroute route --engine ray", "ray", extra="ray")
    from bestroute.engine.ray_rows import by_ray

    return by_ray(make, job, url, concurrency=at_once, draws=draw, address=address, decided_by=decided_by)


def _tell(done: RoutedLog, out: Path, *, draws: bool) -> None:
    """Print how many prompts went to which plan, and the cost compared with the reference alone."""
    print_line(f"{out}: {done.routed} routed, {done.kept} kept, {done.failed} failed")
    total = done.plans.total()
    for plan, count in done.plans.most_common(10):
        print_line(f"  {count / total:6.1%}  {plan}")
    spent, reference = (
        ("cost_usd", "reference_cost_usd") if draws else ("expected_cost_usd", "reference_expected_cost_usd")
    )
    if spent in done.usd and reference in done.usd:
        words = "was billed" if draws else "is expected"
        print_line(f"{done.usd[spent]:.6g} USD {words}; the reference alone: {done.usd[reference]:.6g} USD")
    if done.failed:
        print_line(f"{done.failed} prompts failed; run the same command again to retry them", err=True)
