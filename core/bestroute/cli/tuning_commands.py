"""``bestroute tune``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bestroute.cli.learning_commands import KINDS, check_reward, load_arrays, tell
from bestroute.cli.paths import FILE, FOLDER
from bestroute.errors import ConfigError


@click.command(epilog="\b\nExample:\n  bestroute tune router fresh.jsonl --max-drop 0.01 --confidence 0.95")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("records", metavar="TUNE...", type=FILE, nargs=-1, required=True)
@click.option("--max-drop", type=float, help="Promise to lose at most this share of the reference's mean quality.")
@click.option("--budget", type=float, help="Promise to cost at most so many USD per 1,000 queries in the mean.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the promise.")
@click.option(
    "--reward",
    callback=check_reward,
    help="recorded, quality, majority, logprobs, agreement, confidence or a folder; default: as it was trained.",
)
@click.option("--order", type=FILE, multiple=True, help="Records that order the settings; default: a part of TUNE.")
@click.option(
    "--cross-fit", "folds", type=int, help="Train anew for each of K folds by group of TUNE, and look at those."
)
@click.option("--allow-missing", is_flag=True, help="Leave out records that lack a model, instead of refusing them.")
def tune(
    folder: Path,
    records: tuple[Path, ...],
    max_drop: float | None,
    budget: float | None,
    confidence: float,
    reward: str | None,
    order: tuple[Path, ...],
    folds: int | None,
    allow_missing: bool,
) -> None:
    """Pick what keeps a promise on fresh queries, by a finite-sample bound, and write it into DIR.

    Where TUNE cannot show it the promise is refused, with the number of queries it would take, and DIR stays as it
    is. Queries of one group are one draw. Tune once: a promise that is tried again on other records until it passes
    is none.
    """
    from bestroute.artifacts import ROUTER, sha256
    from bestroute.policies.promises import write_promises
    from bestroute.reward_models import ProxyRewardModel
    from bestroute.router import MultiHeadRouter
    from bestroute.tuning import tune_budget, tune_max_drop
    from bestroute.tuning.tune import with_promise

    if (max_drop is None) == (budget is None):
        raise ConfigError("give either --max-drop or --budget")
    router = MultiHeadRouter.from_pretrained(folder)
    tuned_hash = sha256((folder / ROUTER.config).read_bytes())
    kind = reward or router.settings.reward
    arrays = load_arrays(records, router.pool, kind, allow_missing=allow_missing, token_means=router.token_means)
    ordering = (
        load_arrays(order, router.pool, kind, allow_missing=allow_missing, token_means=router.token_means)
        if order
        else None
    )
    tuned = replace(router, settings=replace(router.settings, reward=kind))
    find, value = (tune_max_drop, max_drop) if max_drop is not None else (tune_budget, budget)
    assert value is not None
    promise = find(tuned, arrays, value, confidence=confidence, order=ordering, cross_fit=folds, on_progress=tell)
    if kind not in KINDS:
        promise = replace(promise, reward_fingerprint=ProxyRewardModel.from_pretrained(kind).fingerprint)
    write_promises(folder, with_promise(router, promise).promises, router=tuned_hash)
    shown = promise.shown_on
    click.echo(f"{folder}: {promise}: quality at {promise.price_usd:.4g} USD")
    for part in ("order", "calibrate"):
        click.echo(f"  {part}: {shown[part]['queries']} queries of {shown[part]['groups']} groups")
    click.echo(
        f"  settings: {shown['settings_passed']} of {shown['settings_tested']} passed in order, seed {shown['seed']}"
    )
    estimates = promise.estimates
    click.echo(
        f"  on the calibration part: saving {estimates['saving']:.1%}, drop {estimates['drop']:.2%}, "
        f"{estimates['usd_per_1k']:.4g} USD per 1,000 queries"
    )
    if kind != router.settings.reward:
        click.echo(f"  holds where samples are chosen by {kind}, not by {router.settings.reward} as in training")
    if promise.cost_cap_usd is not None:
        click.echo(f"  a query that costs more than {promise.cost_cap_usd:.4g} USD counts as that")
    if folds is not None:
        click.echo(f"  shown on {folds} routers trained alike, not on this very one")
