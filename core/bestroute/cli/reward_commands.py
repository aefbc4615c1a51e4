"""``bestroute train-reward``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from bestroute.cli.learning_commands import with_labels
from bestroute.cli.paths import FILE, FOLDER
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError


@click.command(
    "train-reward", epilog="\b\nExample:\n  bestroute train-reward records.jsonl --pool pool.yaml --out reward"
)
@click.argument("train", metavar="TRAIN...", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for the reward model; an existing one is replaced.")
@click.option(
    "--encoder",
    default="light",
    show_default=True,
    metavar="light|PATH|HUB_ID",
    help="light (scores without torch), or a transformer for sequence classification.",
)
@click.option(
    "--pool", "pool_path", type=FILE, help="Use only the samples of its models; its reference is the one to be matched."
)
@click.option("--reference", help="The model to be matched; default: an imaginary one that is always right.")
@click.option("--allow-missing", is_flag=True, help="Leave out records without samples of every model of the pool.")
@click.option(
    "--pairs",
    default="auto",
    show_default=True,
    metavar="auto|ends|all|across",
    help="Training pairs. ends: worst, median and best sample of each query and model; all: every pair of different "
    "quality; across: also pairs of different models.",
)
@click.option(
    "--pairs-per-query", type=int, default=20, show_default=True, help="The most pairs per query, for all and across."
)
@click.option(
    "--calibration", default="auto", show_default=True, metavar="auto|isotonic|platt", help="Method of calibration."
)
@click.option("--folds", type=int, help="Held-out folds by group; default: 5 for light, 1 for a transformer.")
@click.option("--most-n", type=int, default=10, show_default=True, help="The largest n to report.")
@click.option("--resamples", type=int, default=2000, show_default=True, help="Bootstrap resamples, by group.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--learning-rate", type=float, help="Learning rate of a transformer. [default: 5e-5; the paper: 1.5e-5]")
@click.option("--epochs", type=int, help="Passes over the pairs. [default: 1; the paper: 5]")
@click.option("--batch", type=int, help="Pairs per batch and device. [default: 16; the paper: 32]")
@click.option("--accumulation", type=int, help="Gradient accumulation steps. [default: 1; the paper: 16]")
@click.option("--weight-decay", type=float, help="Weight decay. [default: 0.01]")
@click.option("--warmup", type=float, help="Share of steps for warm-up of the learning rate. [default: 0.1]")
@click.option("--most-pairs", type=int, help="The most pairs to train a transformer on; 0: all. [default: 1000]")
@click.option(
    "--checks", type=int, help="Evaluations per epoch on held-out pairs; the best checkpoint is kept. [default: 4]"
)
@click.option("--max-tokens", type=int, help="Tokens after which a text is truncated. [default: 128; the paper: 512]")
@click.option(
    "--keep", metavar="ends|start", help="Which part of a truncated text is kept. [default: ends; the paper: start]"
)
@click.option(
    "--template", help='Layout of query and answer. [default: "Human: {query} Assistant: {text}", the paper\'s]'
)
def train_reward(
    train: tuple[Path, ...],
    out: Path,
    encoder: str,
    pool_path: Path | None,
    reference: str | None,
    allow_missing: bool,
    resamples: int,
    **options: Any,
) -> None:
    """Train a reward model on the quality of the samples in TRAIN and write it to a folder.

    It learns which of two answers to a query is better, and is calibrated to the probability that an answer is as
    good as the reference's. Prints how it does on held-out records.
    """
    from tqdm import tqdm

    from bestroute.artifacts import check_folder
    from bestroute.encoders.training_loop import is_main_process
    from bestroute.records.records import read_records
    from bestroute.reward_models.summary import summarise
    from bestroute.reward_models.training import train_reward as run
    from bestroute.types.pool import Pool

    check_folder(out, "reward.json")
    settings = settings_from(encoder, reference, options)
    pool = None
    if pool_path is not None:
        pool = Pool.from_file(pool_path)
        settings = settings_from(encoder, reference or pool.reference, options)
    elif allow_missing:
        raise ConfigError("--allow-missing refers to the models of a pool; add --pool")
    if resamples < 100:
        raise ConfigError(f"--resamples must be at least 100 for an interval, got {resamples}")
    left_out: list[str] = []
    records = read_records(train, pool=pool, allow_missing=allow_missing, on_left_out=left_out.append)
    if left_out:
        print_line(f"{len(left_out)} records left out: they lack a model of the pool ({left_out[0]!r}, ...)", err=True)
    records = with_labels(records)
    shown = ""
    with tqdm(disable=not is_main_process()) as bar:

        def show(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:
                shown = what
                bar.reset(total)
                bar.set_description(what)
            bar.update(done - bar.n)

        model = run(records, settings, resamples=resamples, on_progress=show)
    if not is_main_process():
        return
    model.save_pretrained(out)
    print_line(f"{out}: trained on {len(records)} records")
    click.echo(summarise(model.report))


def settings_from(encoder: str, reference: str | None, options: dict[str, Any]) -> Any:
    """Return training settings from the command's options; an option that is ``None`` keeps its default."""
    from bestroute.reward_models.reward_settings import Layout, RewardSettings, TransformerSettings

    given = {name: value for name, value in options.items() if value is not None}
    if given.get("most_pairs") == 0:
        given["most_pairs"] = None

    def some(kind: type[Any]) -> dict[str, Any]:
        return {f.name: given.pop(f.name) for f in fields(kind) if f.name in given}

    layout, recipe = some(Layout), some(TransformerSettings)
    if encoder == "light" and (layout or recipe):
        option = "--" + next(iter({**layout, **recipe})).replace("_", "-")
        raise ConfigError(f"{option} is for transformers; choose one with --encoder")
    transformer = TransformerSettings(**recipe, layout=Layout(**layout))
    return RewardSettings(encoder=encoder, reference=reference, transformer=transformer, **given)
