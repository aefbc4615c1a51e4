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
@click.option("--all", "whole", is_flag=True, help="Every plan's numbers, why it was taken or not, what would flip it.")
@click.option("--json", "as_json", is_flag=True, help="The decision as JSON, every plan in it.")
@click.option("--file", "log", type=FILE, help="Decide on every prompt of this file (JSON Lines; records will do).")
@click.option("--out", type=FILE, help="A line for each prompt of --file; gone on with if it exists.")
@click.option("--policy", metavar="KIND:VALUE", help="threshold:0.8, quality:0.02, max_drop:0.01; for --file.")
@click.option("--pool", type=FILE, help="A pool file: other prices or addresses than the router's own; for --file.")
@click.option("--draw", is_flag=True, help="Answer the prompts of --file, too, and bill it.")
@click.option(
    "--reward", help="Of --draw: majority, logprobs, agreement, confidence, or a folder; default: as trained."
)
@click.option("--ledger", help="Of --draw: a file, or a database's URL, of bills and answers; default: beside --out.")
@click.option("--job", help="Of --draw: run_id of the bills; another job asks anew. Default: the name of --out.")
@click.option("--concurrency", type=click.IntRange(1), help="Of --draw: prompts under way at once; default 8.")
@batch_options
@click.option("--engine", type=click.Choice(["ray"]), help="Of --file: spread the work by Ray Data (extra ray).")
@click.option("--cluster", metavar="ADDRESS", help="Of --engine ray: auto, or host:port; default: this machine.")
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
    """Explain the decision of the router in DIR on one query, TEXT, or decide on a file of them.

    TEXT: five lines: the plan taken, why, the runner-up, what would flip the decision, and how sure it is.
    Then come promises that tune refused, if there are any. No model is called.

    --file: each line of --out has the prompt's id, the plan, the reason and the expected cost, and the reference's.
    With --draw it has the answer and its bill, too. The file may be longer than memory; Ctrl-C stops after what is
    under way, and the same command goes on after a stop or a kill: nothing is decided on or paid for twice
    but what was under way at a kill, and prompts that failed are asked again. An --out that holds anything else is
    refused and stays as it was.

    --batch, with --draw: the prompts are answered by batch files, at half the price: every prompt's first draws
    together, then what their plans ask next, a batch a step and member. The same command takes up what is under way.

    --engine ray: the same on a cluster. DIR and --pool are the same paths on its machines, the members' keys are in
    their environment, and --draw needs a --ledger in PostgreSQL.
    """
    if (text is None) == (log is None):
        raise ConfigError("give a TEXT, or --file LOG and --out ROUTED")
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
        raise ConfigError("--batch is for --draw, in place of --concurrency and --engine ray")
    if cluster is not None and not engine:
        raise ConfigError("--cluster is for --engine ray")
    url = _bills(ledger, out, log, on_cluster=engine is not None) if draw else None
    if draw:
        drawing.check_under_way(out)
    make = MakeEngine(folder.absolute(), pool and pool.absolute(), policy, reward, url)
    job, at_once = job or out.name, concurrency or 8
    with stop_on_interrupt() as stop, ExitStack() as stack:
        if drawing.form is not None:
            way = _by_batches(make, drawing, out, job, str(url), lambda: stop.is_set)
        else:
            way = _by_calls(make, job, url, at_once, draws=draw)
            if engine:
                way = way._replace(route=_on_a_cluster(make, job, url, at_once, draw, cluster, way.decided_by))
        stack.callback(way.close)
        show = stack.enter_context(counted("prompt"))
        done = route_log(
            log, out, way.route, decided_by=way.decided_by, batch=way.size, stops=lambda: stop.is_set, on_row=show
        )
    _tell(done, out, draws=draw)


def _bills(ledger: str | None, out: Path, log: Path, *, on_cluster: bool) -> str:
    """Return the URL of the database of bills and answers.

    Raises:
        ConfigError: If it is one of the other files, or out of the cluster's reach.
    """
    from bestroute._utils.files import is_same_file
    from bestroute.billing.store_url import POSTGRES, SQLITE, store_url

    url = store_url(f"{out}.bills.db" if ledger is None else ledger, "a ledger")
    if on_cluster and not url.startswith(POSTGRES):
        raise ConfigError(
            f"--engine ray --draw needs a ledger that every machine reaches: --ledger {POSTGRES}user@host/name"
        )
    if url.startswith(SQLITE):
        store = Path(url.removeprefix(SQLITE).partition("?")[0])
        if is_same_file(store, out) or is_same_file(store, log):
            raise ConfigError(f"--ledger {ledger} is --out or --file, too; give the ledger a file of its own")
    return url


class _Way(NamedTuple):
    """How rows are routed."""

    route: RouteBatches
    size: int
    """Rows of a batch."""
    decided_by: str
    close: Callable[[], None]


def _by_calls(make: MakeEngine, job: str, url: str | None, at_once: int, *, draws: bool) -> _Way:
    from bestroute.engine.route_rows import RouteRows

    engine = make()
    decided_by = make.fingerprint(engine, job)
    rows = RouteRows(lambda: engine, job, url, concurrency=at_once, draws=draws, decided_by=decided_by)
    return _Way(partial(map, rows), 16 * at_once if draws else 256, decided_by, rows.close)


def _by_batches(make: MakeEngine, drawing: Drawing, out: Path, job: str, url: str, stops: Callable[[], bool]) -> _Way:
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
    return _Way(rows, rows.at_once, decided_by, rows.close)


def _on_a_cluster(
    make: MakeEngine, job: str, url: str | None, at_once: int, draw: bool, address: str | None, decided_by: str
) -> RouteBatches:
    from bestroute._utils.extras import need

    need("bestroute route --engine ray", "ray", extra="ray")
    from bestroute.engine.ray_rows import by_ray

    return by_ray(make, job, url, concurrency=at_once, draws=draw, address=address, decided_by=decided_by)


def _tell(done: RoutedLog, out: Path, *, draws: bool) -> None:
    """Print what was routed, where it went, and what that costs beside the reference."""
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
        print_line(f"{done.failed} prompts failed; the same command asks them again", err=True)
