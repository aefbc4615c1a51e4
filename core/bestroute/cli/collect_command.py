"""``bestroute collect``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bestroute.cli.drawing import Drawing, drawing_options
from bestroute.cli.judging import Judging, judge_records, judging_options, tell_labels
from bestroute.cli.live_members import live_generators, stop_on_interrupt
from bestroute.cli.paths import FILE
from bestroute.cli.printing import print_line
from bestroute.cli.progress import shown
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.records.collect import Collected


@click.command(
    epilog="\b\nExamples:\n  bestroute collect prompts.jsonl --pool pool.yaml --n 10 --out records.jsonl\n"
    "  bestroute collect prompts.jsonl --pool pool.yaml --n 3 --judge judge --out records.jsonl\n"
    "  bestroute collect prompts.jsonl --pool pool.yaml --n 10 --out records.jsonl --engine ray --cluster auto "
    "--ledger postgresql+psycopg://user@host/bestroute"
)
@click.argument("prompts", type=FILE)
@click.option("--pool", "pool_path", type=FILE, required=True, help="The pool, a YAML file.")
@click.option("--n", type=int, required=True, help="Samples to draw of each model for each prompt.")
@click.option(
    "--out", type=FILE, required=True, help="Records file, .jsonl or .jsonl.gz; an existing one is continued."
)
@click.option("--checker", metavar="MODULE:FUNCTION", help="fn(prompt, text) -> quality in [0, 1].")
@click.option("--temperature", type=float, help="Overrides the pool file.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="The most tokens of an answer; overrides the pool file.")
@click.option("--concurrency", type=int, default=4, show_default=True, help="Draws in parallel.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N prompts.")
@click.option("--greedy", is_flag=True, help="Also draw one answer at temperature 0.")
@click.option("--gguf", multiple=True, metavar="MODEL=PATH", help="Serve this member from a GGUF file on this machine.")
@drawing_options
@judging_options
def collect(
    prompts: Path,
    judging: Judging,
    drawing: Drawing,
    pool_path: Path,
    n: int,
    out: Path,
    checker: str | None,
    temperature: float | None,
    max_tokens: int | None,
    concurrency: int,
    limit: int | None,
    greedy: bool,
    gguf: tuple[str, ...],
) -> None:
    """Sample every model of the pool on every prompt of PROMPTS, and judge the answers.

    \b
    PROMPTS is a JSON Lines file; id and query (or prompt) are required, other fields are kept and given to the checker:
      {"id": "q1", "query": "What is 12 * 7?", "group": "sums", "system": "", "answer": "84"}
    A pool file is YAML, with prices in USD per million tokens; a model with "role: judge" is not sampled:
      reference: large
      max_n: 5
      models:
        small: {input_price: 0.15, output_price: 0.6, api_model: gpt-4o-mini, base_url: "https://..."}
        large: {input_price: 2.5, output_price: 10, api_model: gpt-4o, api_key_env: OPENAI_API_KEY}
        judge: {input_price: 3, output_price: 15, api_model: ..., role: judge}

    Quality comes from --checker, or, once everything is drawn, from --check and --judge as in `bestroute label`.
    Without any of them it stays unknown (null); run the same command with one of them later to judge the samples that
    exist, without drawing again.

    With --batch, draws and questions to a judge are sent as the provider's batch files, one per model: half the price,
    answered within a day. Run the same command again to pick up unfinished batches after a stop or a crash.

    With --engine ray they run on a cluster, --concurrency calls in parallel in each of its workers. The machines need
    the members' API keys in their environment. Every call is billed in --ledger, under the name of --out as run_id.

    The estimated total cost is printed before the first draw, as far as answer lengths are known, and the actual cost
    at the end.

    Ctrl-C stops after the draws in progress; run the same command again to continue. Nothing is lost, drawn twice or
    paid for twice.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    from bestroute.records.collect import collect as collect_records
    from bestroute.records.collect import load_checker, read_prompts
    from bestroute.records.records import read_records
    from bestroute.types.pool import Pool

    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"--temperature must be a number >= 0, got {temperature}")
    if checker and judging.is_wanted:
        raise ConfigError("--checker already judges every answer; give either --checker, or --judge and --check")
    sys.path.insert(0, "")  # a checker is usually in the working directory
    fn = None if checker is None else load_checker(checker)
    prompt_list = read_prompts(prompts)[:limit]
    pool, everyone = Pool.from_file(pool_path), Pool.from_file(pool_path, judges=True)
    judging.check(everyone)
    given = {"temperature": temperature, "max_tokens": max_tokens}
    params = {name: value for name, value in given.items() if value is not None}
    labels = None
    with stop_on_interrupt() as stop:
        with live_generators(everyone, gguf, only=pool.models) as generators, shown("sample") as show:
            drawer, charged = drawing.drawer(
                pool, generators, out, job=out.name, kind="collect", concurrency=concurrency
            )
            done = collect_records(
                prompt_list,
                charged,
                generators,
                out,
                n=n,
                checker=fn,
                params=params,
                concurrency=concurrency,
                greedy=greedy,
                on_sample=show,
                stop=stop,
                drawer=drawer,
                on_estimate=lambda estimate: print_line(f"estimate: {estimate}", err=True),
            )
        print_line(f"{out}: {done.kept} samples kept, {done.drawn} drawn, {done.missing} still to draw")
        if done.drawn or any(done.cost_usd.values()):
            by_model = ", ".join(f"{model} {cost:.6f}" for model, cost in done.cost_usd.items())
            print_line(f"draws cost {sum(done.cost_usd.values()):.6f} USD ({by_model})")
        if judging.is_wanted and not stop.is_set and out.exists():
            labels = judge_records(
                read_records(out),
                judging,
                out,
                stop,
                everyone=everyone,
                gguf=gguf,
                concurrency=concurrency,
                drawing=drawing,
            )
            tell_labels(labels, out, judging.judge_name)
    unjudged = done.unjudged if labels is None else labels.unjudged
    _tell_missing(done, unjudged)
    if done.failures or (labels is not None and labels.failed):
        sys.exit(1)


def _tell_missing(done: Collected, unjudged: int) -> None:
    """Print to stderr how many samples have no quality, and which draws failed."""
    if unjudged:
        print_line(
            f"{unjudged} samples have no quality yet (null); run the same command with --checker MODULE:FUNCTION or "
            "--judge MEMBER to judge them without drawing again",
            err=True,
        )
    for failure in done.failures:
        print_line(f"failed: {failure}", err=True)
