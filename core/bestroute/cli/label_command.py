"""``bestroute label``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bestroute.cli.drawing import Drawing, drawing_options
from bestroute.cli.judging import Judging, judge_records, judging_options, tell_labels
from bestroute.cli.live_members import stop_on_interrupt
from bestroute.cli.paths import FILE
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.records.records import Record


@click.command(
    epilog="\b\nExamples:\n  bestroute label records.jsonl --check numeric --out labelled.jsonl\n"
    "  bestroute label records.jsonl --judge large --pool pool.yaml --out labelled.jsonl --gold gold.jsonl\n"
    "  bestroute label records.jsonl --judge large --pool pool.yaml --out labelled.jsonl --batch"
)
@click.argument("records", metavar="RECORDS...", type=FILE, nargs=-1, required=True)
@click.option("--pool", "pool_path", type=FILE, help="Where the judge is reached, and its price; a YAML file.")
@click.option("--gguf", multiple=True, metavar="MODEL=PATH", help="Serve the judge from a GGUF file on this machine.")
@click.option("--out", type=FILE, required=True, help="Labelled records; resumed if a run was stopped.")
@click.option("--reference", help="Whose answer --pairwise compares with; default: the pool's reference.")
@click.option("--gold", type=FILE, help="People's verdicts on some answers: how far the judge can be believed.")
@click.option("--limit", type=click.IntRange(1), help="Ask the judge about at most so many queries.")
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True)
@click.option("--again", is_flag=True, help="Judge samples anew that have a quality.")
@drawing_options
@judging_options
def label(
    records: tuple[Path, ...],
    judging: Judging,
    drawing: Drawing,
    pool_path: Path | None,
    gguf: tuple[str, ...],
    out: Path,
    reference: str | None,
    gold: Path | None,
    limit: int | None,
    concurrency: int,
    again: bool,
) -> None:
    """Give every answer in RECORDS a quality in [0, 1]: by checks, by a judge, or by both.

    \b
    Checks look into the record's line:
      exact, numeric  the known "answer" decides (numeric within "tolerance", relative)
      pattern         an answer in which the regular expression "pattern" is not found is worth 0
      schema          an answer that is not JSON of "schema" or "response_format" is worth 0
    A judge scores all answers to a query in one call, or with --pairwise compares each with the reference's
    in both orders: then 0.5 is as good. It sees a known "answer". A function gets (fields, text). A model that
    judges alone has "role: judge" in the pool file, and is never asked for answers.
    GOLD, JSON Lines: {"id": "q1", "text": "84", "quality": 1}

    Queries are judged by lot, so those of a --limit are like the others. Ctrl-C stops after those under way; the same
    command goes on later, and pays for nothing twice.

    With --batch a judge of the pool is asked by the provider's batch files, at half the price within a day; what a stop
    or a kill leaves under way is taken up by the same command.

    With --engine ray such a judge is asked by a cluster, --concurrency questions at once in each of its workers; its
    key is in their machines' environment. Every call has its bill in --ledger, with the name of --out as run_id.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    from bestroute.judges.gold import check_gold, read_gold
    from bestroute.records.records import read_records
    from bestroute.types.pool import Pool

    if not judging.is_wanted:
        raise ConfigError("give --judge, --check, or both: nothing else tells how good an answer is")
    if drawing.option is not None and (judging.judge_name is None or judging.is_function):
        raise ConfigError(f"{drawing.option} asks a --judge of the pool")
    everyone = Pool.from_file(pool_path, judges=True) if pool_path else None
    judging.check(everyone)
    verdicts = read_gold(gold) if gold else None
    read = read_records(records)
    if verdicts is not None and (strange := check_gold(read, verdicts)):
        print_line(f"{gold}: {strange} of {len(verdicts)} verdicts are about no answer of the records", err=True)
    with stop_on_interrupt() as stop:
        done = judge_records(
            read,
            judging,
            out,
            stop,
            everyone=everyone,
            gguf=gguf,
            reference=reference,
            limit=limit,
            concurrency=concurrency,
            again=again,
            drawing=drawing,
        )
    tell_labels(done, out, judging.judge_name)
    if verdicts is not None:
        _belief(done.records, verdicts)
    if done.failed:
        sys.exit(1)


def _belief(records: tuple[Record, ...], verdicts: object) -> None:
    from bestroute.judges.gold import FEWEST, agreement

    found = agreement(records, verdicts)  # type: ignore[arg-type]
    print_line(
        f"beside people, on {found.verdicts} answers: the same side of one half in {found.same:.0%}, "
        f"{abs(found.bias):.2f} too {'kind' if found.bias > 0 else 'strict'} in the mean"
    )
    for model, naive in found.naive.items():
        mean = found.qualities.get(model)
        if mean is None:
            print_line(f"  {model}: {naive:.3f} by the judge alone; people judged fewer than {FEWEST} groups of it")
        else:
            interval = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"
            print_line(f"  {model}: {interval} as people would judge; {naive:.3f} by the judge alone")
