"""``bestroute train`` and ``bestroute evaluate``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bestroute.cli.paths import FILE, FOLDER, check_not_read
from bestroute.cli.printing import print_line
from bestroute.cli.training_words import training_lines
from bestroute.errors import ConfigError, RecordError, named

if TYPE_CHECKING:
    from bestroute.encoders import FrozenEncoder
    from bestroute.evaluation import Evaluation
    from bestroute.labels import SampleArrays
    from bestroute.labels.tokens import TokenMeans
    from bestroute.records.records import Record
    from bestroute.reward_models import ProxyRewardModel
    from bestroute.router import MultiHeadRouter
    from bestroute.router.train_settings import TrainSettings
    from bestroute.types.pool import Pool

KINDS = ("recorded", "quality", "majority", "logprobs", "agreement", "confidence")
LEARN = "learn"
"""A value of ``train --reward``: a reward model is trained on the same records and saved in the router's folder."""


def check_reward(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Check that ``--reward`` is a kind of reward or a folder; a click callback."""
    if value is not None and value not in KINDS and not Path(value).is_dir():
        raise ConfigError(f"--reward must be one of {named(KINDS)}, or the folder of a reward model, got {value!r}")
    return value


def check_train_reward(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Check the same for ``train``, which also takes ``learn``; a click callback."""
    if value != LEARN and value not in KINDS and not Path(value).is_dir():
        raise ConfigError(
            f"--reward must be one of {named((*KINDS, LEARN))}, or the folder of a reward model, got {value!r}"
        )
    return value


def kind_of(folder: Path, router: MultiHeadRouter, given: str | None) -> str:
    """Return the kind or folder of rewards: as given, else as the router was trained."""
    from bestroute.router.trained_on import reward_of

    kind = given or router.settings.reward
    return kind if given or kind in KINDS else reward_of(folder, kind)


def tell(message: str) -> None:
    """Print progress."""
    print_line(message, err=True)


def load_arrays(
    paths: tuple[Path, ...],
    pool: Pool,
    reward: str,
    *,
    allow_missing: bool,
    verifier_error: float = 0.0,
    for_training: bool = False,
    token_means: TokenMeans | None = None,
) -> SampleArrays:
    """Read records files into arrays, and report what was left out.

    Args:
        paths: The files.
        pool: Its models are kept.
        reward: Where rewards come from: a ``RewardKind``, or the folder of a reward model, which scores the texts.
        allow_missing: Leave out records that lack a model.
        verifier_error: Share of wrong samples that the verifier accepts.
        for_training: Whether records that the reward model was trained on get its held-out rewards; otherwise they
            are refused.
        token_means: Mean token counts of the training records; default: computed from these records.
    """
    return arrays_of(
        load_records(paths, pool, allow_missing=allow_missing),
        pool,
        reward,
        verifier_error=verifier_error,
        for_training=for_training,
        token_means=token_means,
    )


def load_records(paths: tuple[Path, ...], pool: Pool, *, allow_missing: bool) -> list[Record]:
    """Read records files, keep the labelled samples, and report what was left out."""
    from bestroute.records.records import read_records

    left_out: list[str] = []
    records = read_records(paths, pool=pool, allow_missing=allow_missing, on_left_out=left_out.append)
    if left_out:
        tell(f"{len(left_out)} records left out: they lack a model of the pool (the first is {left_out[0]!r})")
    return with_labels(records)


def arrays_of(
    records: list[Record],
    pool: Pool,
    reward: str,
    *,
    verifier_error: float = 0.0,
    for_training: bool = False,
    token_means: TokenMeans | None = None,
    model: ProxyRewardModel | None = None,
) -> SampleArrays:
    """Make arrays of records; ``model`` is the loaded reward model, the others are the arguments of ``load_arrays``."""
    from bestroute.labels import SampleArrays
    from bestroute.reward_models import ProxyRewardModel

    if reward not in KINDS:
        model = model or ProxyRewardModel.from_pretrained(reward)
        records, reward = _scored(model, records, for_training=for_training), "recorded"
    arrays = SampleArrays.of(
        records,
        pool,
        reward=reward,  # type: ignore[arg-type]
        token_means=token_means,
        verifier_error=verifier_error,
        greedy=True,
    )
    if arrays.greedy is not None:
        firsts = [model for model, is_drawn in zip(pool.models, arrays.greedy.is_drawn, strict=True) if is_drawn]
        tell(f"plans of several draws begin with the greedy answer of {named(firsts)}, as the engine draws them")
    return arrays


def with_labels(records: Sequence[Record]) -> list[Record]:
    """Return the records with their labelled samples alone, and report how many samples have no label.

    Raises:
        RecordError: If no record is left.
    """
    from bestroute.records.records import judged_only

    judged = judged_only(records)
    if not judged.records:
        raise RecordError(
            f"{judged.unjudged} of {judged.samples} samples have no label (their quality is null), and no record has "
            "a label for every model; label them with bestroute label RECORDS --judge MEMBER|MODULE:FUNCTION, or "
            "--check if the records have known answers; bestroute collect PROMPTS ... --checker MODULE:FUNCTION "
            "also judges existing samples"
        )
    if judged.unjudged:
        tell(f"{judged.unjudged} of {judged.samples} samples have no label (their quality is null) and are not used")
    if judged.left_out:
        tell(
            f"{len(judged.left_out)} records left out: no sample of some model has a label (the first is "
            f"{judged.left_out[0]!r})"
        )
    return list(judged.records)


def _scored(model: ProxyRewardModel, records: list[Record], *, for_training: bool) -> list[Record]:
    """Score records with a trained reward model."""
    from tqdm import tqdm

    from bestroute.reward_models.record_rewards import score_records

    with tqdm(total=len(records), unit="record", desc="scoring", disable=None) as bar:
        return score_records(model, records, for_training=for_training, on_progress=lambda *_: bar.update())


@click.command(epilog="\b\nExample:\n  bestroute train records.jsonl --pool pool.yaml --out router --reward majority")
@click.argument("train", metavar="TRAIN...", type=FILE, nargs=-1, required=True)
@click.option("--pool", "pool_path", type=FILE, required=True, help="The pool, a YAML file.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the router; an old router there is replaced.")
@click.option(
    "--reward",
    default="recorded",
    show_default=True,
    callback=check_train_reward,
    help="What chooses among samples: recorded (rewards in the records), quality (a verifier at run time), majority "
    "(a vote), logprobs, agreement, confidence (evidence that needs no training), the folder of a reward model "
    "(train-reward), or learn (train a light one on these records).",
)
@click.option(
    "--margin", type=float, default=0.0, show_default=True, help="How much lower a quality still counts as a match."
)
@click.option(
    "--plans",
    "offered",
    type=int,
    default=24,
    show_default=True,
    help="The most plans to offer besides the candidates.",
)
@click.option(
    "--allow-missing", is_flag=True, help="Leave out records without samples of every model instead of refusing them."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of folds, landmarks and sampling.")
@click.option(
    "--encoder",
    metavar="PATH|HUB_ID",
    help="Add a transformer's sentence embeddings to the light features; a decision then takes about 10 ms.",
)
@click.option("--max-tokens", type=int, help="How many tokens of a query the encoder reads. [default: 128]")
@click.option(
    "--fine-tune", is_flag=True, help="Fine-tune the encoder first; run with accelerate launch to use all GPUs."
)
@click.option(
    "--learning-curve", "curve", is_flag=True, help="Estimate what more labels would bring; trains about 20 more times."
)
@click.option(
    "--verbose", is_flag=True, help="Also print every frozen price, and how well the parts of the router predict."
)
def train(
    train: tuple[Path, ...],
    pool_path: Path,
    out: Path,
    reward: str,
    margin: float,
    offered: int,
    allow_missing: bool,
    seed: int,
    encoder: str | None,
    max_tokens: int | None,
    fine_tune: bool,
    curve: bool,
    verbose: bool,
) -> None:
    """Train a router on the records of TRAIN and write it to a folder.

    Prints what the router would save on queries that it was not trained on, and ends with a verdict: whether it is
    worth using, and what to do next.

    \b
    TRAIN is JSON Lines as collect writes it; quality is in [0, 1], or null where it was not judged:
      {"id": "q1", "query": "What is 12 * 7?", "group": "sums", "samples": {"small":
       {"text": ["84", "82"], "quality": [1, 0], "output_tokens": [2, 2], "input_tokens": 19}, "large": ...}}
    A pool file is YAML, with prices in USD per million tokens:
      {reference: large, max_n: 5, models: {small: {input_price: 0.15, output_price: 0.6}, large: ...}}

    Samples without a label are not used. The folder holds everything that is needed later: the pool, the reward model
    and the hashes of TRAIN.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    from bestroute.artifacts import check_folder
    from bestroute.encoders.training_loop import is_main_process
    from bestroute.judges.labelling import JUDGED_BY
    from bestroute.reward_models import ProxyRewardModel
    from bestroute.router.train_settings import TrainSettings, deals_for
    from bestroute.router.trained_on import REWARD_FOLDER, TrainedOn
    from bestroute.router.training import train_router
    from bestroute.types.pool import Pool

    check_folder(out, "router.json")
    pool = Pool.from_file(pool_path)
    if encoder is None and (fine_tune or max_tokens is not None):
        raise ConfigError(
            f"{'--fine-tune' if fine_tune else '--max-tokens'} is for transformers; choose one with --encoder"
        )
    own = out / REWARD_FOLDER
    settings = TrainSettings(
        reward=str(own) if reward == LEARN else reward,
        margin=margin,
        offered=offered,
        seed=seed,
        encoder=encoder,
        fine_tune=fine_tune,
    )
    if max_tokens is not None:
        settings = replace(settings, max_tokens=max_tokens)
    made = _open_encoder(settings)
    records = load_records(train, pool, allow_missing=allow_missing)
    model = None
    if reward == LEARN:
        model = _learnt(records, pool, seed)
    elif reward not in KINDS:
        model = ProxyRewardModel.from_pretrained(reward)
    arrays = arrays_of(records, pool, reward, for_training=True, model=model)
    training = train_router(
        arrays,
        settings,
        encoder=made,
        deals=deals_for(len(arrays)),
        on_progress=tell if is_main_process() else None,
    )
    if not is_main_process():
        return
    known = TrainedOn.of(train, (r.extra.get(JUDGED_BY) for r in records), model.fingerprint if model else None)
    found = {drop: evidence for drop, evidence in training.evidence.items() if evidence is not None}
    known = replace(known, savings={str(drop): (e.saving, *e.saving_ci95) for drop, e in found.items()})
    if model is not None:
        model.save_pretrained(own)
    replace(training.router, trained_on=known).save_pretrained(out)
    print_line(f"{out}: trained on {len(arrays)} records of {len(set(arrays.groups))} groups")
    *lines, verdict = training_lines(training, len(arrays), out, verbose=verbose)
    for line in (*lines, *(_curve_lines(arrays, settings, made) if curve else ()), verdict):
        print_line(f"  {line}")


def _learnt(records: list[Record], pool: Pool, seed: int) -> ProxyRewardModel:
    """Train a light reward model on the records; the router is trained on its held-out rewards."""
    from bestroute.reward_models.reward_settings import RewardSettings
    from bestroute.reward_models.training import train_reward

    tell("learning a reward model")
    return train_reward(records, RewardSettings(reference=pool.reference, seed=seed), resamples=100)


def _curve_lines(arrays: SampleArrays, settings: TrainSettings, encoder: FrozenEncoder | None) -> Iterator[str]:
    """Yield lines that say what more labels would bring."""
    from bestroute.tuning.learning_curve import learning_curve

    found = learning_curve(arrays, settings, encoder=encoder, on_progress=tell)
    yield f"learning curve, on held-out folds, frozen for a drop of {float(found.target):.0%}, 95 % intervals:"
    for point in found.points:
        yield f"  {point}"
    yield f"  {found.verdict}"
    for drop, records in found.needed.items():
        would = "no number would do: no price has a margin" if records is None else f"about {records} more records"
        yield f"  a promise of {drop:.0%} would take, in tune: {would}"


def _tell_changed(router: MultiHeadRouter) -> None:
    """Warn that cross-fitting trains routers of its own, without the changes made to this router's pool."""
    if router.changes:
        changed = ", ".join(map(str, router.changes))
        tell(f"the pool was changed after training ({changed}): newly trained routers are scored, not this one")


def _open_encoder(settings: TrainSettings) -> FrozenEncoder | None:
    """Load the encoder early, so that errors come first; one to be fine-tuned is only checked."""
    if settings.encoder is None:
        return None
    if settings.fine_tune:
        from bestroute.encoders.export import load_transformer

        load_transformer(settings.encoder, max_tokens=settings.max_tokens)
        return None
    from bestroute.encoders.loading import open_encoder

    return open_encoder(settings.encoder, max_tokens=settings.max_tokens)


@click.command(epilog="\b\nExample:\n  bestroute evaluate router others.jsonl --train records.jsonl --json report.json")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("test", metavar="TEST...", type=FILE, nargs=-1, required=True)
@click.option("--train", "train", type=FILE, multiple=True, help="Records to fit the learned baselines on.")
@click.option(
    "--policy",
    "policy_text",
    metavar="threshold:T|quality:USD|max_drop:D|follow:D|budget:USD",
    help="The policy to evaluate; default: the router's own.",
)
@click.option(
    "--reward",
    callback=check_reward,
    help="recorded, quality, majority, logprobs, agreement, confidence or a folder; default: as it was trained.",
)
@click.option(
    "--verifier-error", type=float, default=0.0, help="Assumed share of wrong samples that the verifier accepts."
)
@click.option(
    "--cross-fit",
    "folds",
    type=int,
    help="Train a new router for each of K folds (by group) of TEST, and pool the results.",
)
@click.option(
    "--allow-missing", is_flag=True, help="Leave out records without samples of every model instead of refusing them."
)
@click.option("--resamples", type=int, default=10_000, show_default=True, help="Bootstrap resamples (over groups).")
@click.option("--json", "json_path", type=FILE, help="Write the full report to this file, as JSON.")
@click.option("--plot", "plot_path", type=FILE, help="Plot the curve to this PNG file.")
@click.option("--decisions", "decisions_path", type=FILE, help="Write one line per query to this JSON Lines file.")
def evaluate(
    folder: Path,
    test: tuple[Path, ...],
    train: tuple[Path, ...],
    policy_text: str | None,
    reward: str | None,
    verifier_error: float,
    folds: int | None,
    allow_missing: bool,
    resamples: int,
    json_path: Path | None,
    plot_path: Path | None,
    decisions_path: Path | None,
) -> None:
    """Score the router in DIR on the records of TEST, next to every baseline.

    Prints a table in which every figure has a 95 % interval, by bootstrap over groups.
    """
    from bestroute._utils.files import atomic_file
    from bestroute.evaluation.plots import plot
    from bestroute.evaluation.tables import table
    from bestroute.records.jsonl import write_jsonl

    for path in filter(None, (json_path, plot_path, decisions_path)):
        check_not_read(path, (*test, *train))
    _, done = run_evaluation(
        folder,
        test,
        train=train,
        policy_text=policy_text,
        reward=reward,
        verifier_error=verifier_error,
        folds=folds,
        allow_missing=allow_missing,
        resamples=resamples,
    )
    click.echo(table(done.report))
    if json_path is not None:
        with atomic_file(json_path) as stream:
            stream.write((json.dumps(done.report, indent=1, allow_nan=False) + "\n").encode())
    if decisions_path is not None:
        write_jsonl(decisions_path, done.decisions)
    if plot_path is not None:
        plot(done.report, plot_path)
        print_line(f"plot: {plot_path}")


def run_evaluation(
    folder: Path,
    test: tuple[Path, ...],
    *,
    train: tuple[Path, ...] = (),
    policy_text: str | None = None,
    reward: str | None = None,
    verifier_error: float = 0.0,
    folds: int | None = None,
    allow_missing: bool = False,
    resamples: int = 10_000,
) -> tuple[MultiHeadRouter, Evaluation]:
    """Score the router of a folder on records files; the arguments are those of the command ``evaluate``."""
    from bestroute.evaluation import cross_fit as run_cross_fit
    from bestroute.evaluation import evaluate as run
    from bestroute.policies.parsing import parse_policy
    from bestroute.router import MultiHeadRouter
    from bestroute.router.train_settings import deals_for

    if not 0 <= verifier_error < 1:
        raise ConfigError(f"--verifier-error must be in [0, 1), got {verifier_error}")
    if resamples < 100:
        raise ConfigError(f"--resamples must be at least 100 for an interval, got {resamples}")
    router = MultiHeadRouter.from_pretrained(folder)
    policy = None if policy_text is None else parse_policy(policy_text)
    kind = kind_of(folder, router, reward)
    if folds is not None:
        if train:
            raise ConfigError("--cross-fit trains on the other folds of TEST; leave out --train")
        _tell_changed(router)

        def load(error: float) -> SampleArrays:
            return load_arrays(
                test, router.pool, kind, allow_missing=allow_missing, verifier_error=error, for_training=True
            )

        settings = replace(router.settings, reward=kind)
        arrays = load(0.0)
        done = run_cross_fit(
            arrays,
            settings,
            folds=folds,
            seed=settings.seed,
            deals=deals_for(len(arrays)),
            scored_as=load(verifier_error) if verifier_error else None,
            policy=policy,
            encoder=router.encoder,
            resamples=resamples,
            on_progress=tell,
        )
    else:
        arrays = load_arrays(
            test,
            router.pool,
            kind,
            allow_missing=allow_missing,
            verifier_error=verifier_error,
            token_means=router.token_means,
        )
        fitted = None
        if train:
            fitted = load_arrays(train, router.pool, kind, allow_missing=allow_missing, for_training=True)
        done = run(router, arrays, train=fitted, policy=policy, resamples=resamples, on_progress=tell)
    return router, done
