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
@click.option("--pool", "pool_path", type=FILE, help="The pool file (YAML) with the judge's address and price.")
@click.option("--gguf", multiple=True, metavar="MODEL=PATH", help="Serve the judge from a GGUF file on this machine.")
@click.option("--out", type=FILE, required=True, help="Labelled records; an interrupted run is continued.")
@click.option("--reference", help="The model that --pairwise compares with; default: the pool's reference.")
@click.option("--gold", type=FILE, help="Human verdicts on some answers, to measure how reliable the judge is.")
@click.option("--limit", type=click.IntRange(1), help="Ask the judge about at most N queries.")
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True, help="Calls in parallel.")
@click.option("--again", is_flag=True, help="Also judge samples that already have a quality.")
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
    Checks use fields of the record's line:
      exact, numeric  compare with the known "answer" (numeric: within the relative "tolerance")
      pattern         quality 0 if the regular expression "pattern" is not found in the answer
      schema          quality 0 if the answer is not JSON that fits "schema" or "response_format"
    A judge scores all answers to a query in one call. With --pairwise it compares each answer with the
    reference's, in both orders; a quality of 0.5 then means equally good. It is shown a known "answer".
    A judge function gets (fields, text). A model with "role: judge" in the pool file never answers queries.
    GOLD is a JSON Lines file: {"id": "q1", "text": "84", "quality": 1}

    Queries are judged in random order, so that those within a --limit are representative. Ctrl-C stops after the calls
    in progress; run the same command again to continue. Nothing is paid for twice.

    With --batch, a judge of the pool is asked by the provider's batch files: half the price, answered within a day.
    Run the same command again to pick up unfinished batches after a stop or a crash.

    With --engine ray, such a judge is called from a cluster, --concurrency calls in parallel in each of its workers;
    the machines need its API key in their environment. Every call is billed in --ledger, under the name of --out as
    run_id.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    from bestroute.judges.gold import check_gold, read_gold
    from bestroute.records.records import read_records
    from bestroute.types.pool import Pool

    if not judging.is_wanted:
        raise ConfigError("give --judge, --check, or both, to say how answers are judged")
    if drawing.option is not None and (judging.judge_name is None or judging.is_function):
        raise ConfigError(f"{drawing.option} needs a --judge that is a member of the pool")
    everyone = Pool.from_file(pool_path, judges=True) if pool_path else None
    judging.check(everyone)
    verdicts = read_gold(gold) if gold else None
    read = read_records(records)
    if verdicts is not None and (strange := check_gold(read, verdicts)):
        print_line(f"{gold}: {strange} of {len(verdicts)} verdicts match no answer in the records", err=True)
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
        _print_agreement(done.records, verdicts)
    if done.failed:
        sys.exit(1)


def _print_agreement(records: tuple[Record, ...], verdicts: object) -> None:
    from bestroute.judges.gold import FEWEST, agreement

    found = agreement(records, verdicts)  # type: ignore[arg-type]
    print_line(
        f"compared with people on {found.verdicts} answers: on the same side of 0.5 in {found.same:.0%}, "
        f"{abs(found.bias):.2f} too {'lenient' if found.bias > 0 else 'strict'} on average"
    )
    for model, naive in found.naive.items():
        mean = found.qualities.get(model)
        if mean is None:
            print_line(f"  {model}: {naive:.3f} by the judge alone; people judged fewer than {FEWEST} groups of it")
        else:
            interval = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"
            print_line(f"  {model}: {interval} as people would judge; {naive:.3f} by the judge alone")
