"""``bestroute label``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bestroute.cli.live_members import live_generators, stop_on_interrupt
from bestroute.cli.paths import FILE
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.judges import Labelled
    from bestroute.records.records import Record


@click.command(
    epilog="\b\nExamples:\n  bestroute label records.jsonl --check numeric --out labelled.jsonl\n"
    "  bestroute label records.jsonl --judge large --pool pool.yaml --out labelled.jsonl --gold gold.jsonl"
)
@click.argument("records", metavar="RECORDS...", type=FILE, nargs=-1, required=True)
@click.option("--judge", "judge_name", metavar="JUDGE", help="A member of the pool, or MODULE:FUNCTION.")
@click.option("--pool", "pool_path", type=FILE, help="Where the judge is reached, and its price; a YAML file.")
@click.option("--gguf", multiple=True, metavar="MODEL=PATH", help="Serve the judge from a GGUF file on this machine.")
@click.option("--out", type=FILE, required=True, help="Labelled records; resumed if a run was stopped.")
@click.option(
    "--check", "checks", default="", metavar="NAMES", help="exact, numeric, pattern, schema; before the judge."
)
@click.option("--pairwise", is_flag=True, help="Compare with the reference's answer, in both orders.")
@click.option("--reference", help="Whose answer --pairwise compares with; default: the pool's reference.")
@click.option("--rubric", type=FILE, help="A text file: what makes an answer good.")
@click.option("--gold", type=FILE, help="People's verdicts on some answers: how far the judge can be believed.")
@click.option("--limit", type=click.IntRange(1), help="Ask the judge about at most so many queries.")
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True)
@click.option("--keep-replies", is_flag=True, help="Keep the judge's words in the records.")
@click.option("--again", is_flag=True, help="Judge samples anew that have a quality.")
def label(
    records: tuple[Path, ...],
    judge_name: str | None,
    pool_path: Path | None,
    gguf: tuple[str, ...],
    out: Path,
    checks: str,
    pairwise: bool,
    reference: str | None,
    rubric: Path | None,
    gold: Path | None,
    limit: int | None,
    concurrency: int,
    keep_replies: bool,
    again: bool,
) -> None:
    """Give every answer in RECORDS a quality in [0, 1]: by checks, by a judge, or by both.

    \b
    Checks look into the record's line:
      exact, numeric  the known "answer" decides (numeric within "tolerance", relative)
      pattern         an answer in which the regular expression "pattern" is not found is worth 0
      schema          an answer that is not JSON of "schema" or "response_format" is worth 0
    A judge scores all answers to a query in one call, or with --pairwise compares each with the reference's
    in both orders: then 0.5 is as good. It sees a known "answer". A function gets (fields, text).
    GOLD, JSON Lines: {"id": "q1", "text": "84", "quality": 1}

    Queries whose answers differ most are judged first, so a --limit goes where a label tells most. Ctrl-C stops after
    those under way; the same command goes on later, and pays for nothing twice.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    import sys

    from tqdm import tqdm

    from bestroute.judges import FunctionJudge, Judge, MemberJudge
    from bestroute.judges import label as label_records
    from bestroute.judges.checks import read_checks
    from bestroute.judges.gold import read_gold
    from bestroute.judges.questions import RUBRIC
    from bestroute.records.collect import load_checker
    from bestroute.records.records import read_records
    from bestroute.types.pool import Pool

    if judge_name is None and not checks:
        raise ConfigError("give --judge, --check, or both: nothing else tells how good an answer is")
    is_function = judge_name is not None and ":" in judge_name
    if judge_name is not None and not is_function and pool_path is None:
        raise ConfigError(f"--judge {judge_name} is a member of a pool: give --pool FILE, or MODULE:FUNCTION")
    if pairwise and (judge_name is None or is_function):
        raise ConfigError("--pairwise needs a --judge of the pool")
    chosen, verdicts = read_checks(checks), read_gold(gold) if gold else None
    pool = Pool.from_file(pool_path) if pool_path else None
    read = read_records(records)
    words = RUBRIC if rubric is None else rubric.read_text(encoding="utf-8", errors="surrogateescape").strip()
    sys.path.insert(0, "")  # a judge of one's own usually lies in the working folder
    own = FunctionJudge(load_checker(judge_name), judge_name) if judge_name and is_function else None
    with stop_on_interrupt() as stop, tqdm(unit="query") as bar:

        def show(done: int, wanted: int) -> None:
            bar.total = wanted
            bar.update(done - bar.n)

        def run(judge: Judge | None) -> Labelled:
            return label_records(
                read,
                judge,
                out,
                checks=chosen,
                reference=reference or (pool.reference if pool else None),
                limit=limit,
                concurrency=concurrency,
                keep_replies=keep_replies,
                again=again,
                on_task=show,
                stop=stop,
            )

        if judge_name is None or pool is None or own is not None:
            done = run(own)
        else:
            pool.check_model(judge_name)
            with live_generators(pool, gguf, only=(judge_name,)) as generators:
                done = run(MemberJudge(judge_name, generators[judge_name], pool, rubric=words, is_pairwise=pairwise))
    _summary(done, out, judge_name)
    if verdicts is not None:
        _belief(done.records, verdicts)
    if done.failed:
        sys.exit(1)


def _summary(done: Labelled, out: Path, judge_name: str | None) -> None:
    click.echo(
        f"{out}: {done.checked} samples by checks, {done.judged} by {judge_name or 'earlier labels'}, "
        f"{done.unjudged} without a quality"
    )
    if done.cost_usd:
        click.echo(f"the judge was paid {done.cost_usd:.6f} USD")
    first, second = done.first_wins
    if first + second:
        share = first / (first + second)
        click.echo(f"the answer shown first was preferred in {share:.0%} of {first + second}; both orders were asked")
    if done.failed:
        click.echo(
            f"{done.failed} queries could not be judged, or the judge was not understood; the same command asks again "
            "about those it could not reach",
            err=True,
        )


def _belief(records: tuple[Record, ...], verdicts: object) -> None:
    from bestroute.judges.gold import FEWEST, agreement

    found = agreement(records, verdicts)  # type: ignore[arg-type]
    click.echo(
        f"beside people, on {found.verdicts} answers: the same side of one half in {found.same:.0%}, "
        f"{abs(found.bias):.2f} too {'kind' if found.bias > 0 else 'strict'} in the mean"
    )
    for model, naive in found.naive.items():
        mean = found.qualities.get(model)
        if mean is None:
            click.echo(f"  {model}: {naive:.3f} by the judge alone; people judged fewer than {FEWEST} groups of it")
        else:
            interval = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"
            click.echo(f"  {model}: {interval} as people would judge; {naive:.3f} by the judge alone")
