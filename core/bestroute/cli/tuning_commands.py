"""``bestroute tune``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bestroute.cli.learning_commands import KINDS, arrays_of, check_reward, kind_of, load_arrays, load_records, tell
from bestroute.cli.paths import FILE, FOLDER
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.records.records import Record
    from bestroute.router import MultiHeadRouter
    from bestroute.tuning.tune import ByPeople


@click.command(epilog="\b\nExample:\n  bestroute tune router fresh.jsonl --max-drop 0.01 --confidence 0.95")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("records", metavar="TUNE...", type=FILE, nargs=-1, required=True)
@click.option("--max-drop", type=float, help="Promise to lose at most this share of the reference's mean quality.")
@click.option("--budget", type=float, help="Promise to cost at most this many USD per 1,000 queries on average.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Confidence of the promise.")
@click.option(
    "--reward",
    callback=check_reward,
    help="recorded, quality, majority, logprobs, agreement, confidence or a folder; default: as it was trained.",
)
@click.option("--order", type=FILE, multiple=True, help="Records to order the settings by; default: a part of TUNE.")
@click.option(
    "--cross-fit",
    "folds",
    type=int,
    help="Train a new router for each of K folds (by group) of TUNE, and tune on those.",
)
@click.option("--gold", type=FILE, help="Human verdicts, if the labels of TUNE are a judge's (see label).")
@click.option(
    "--allow-missing", is_flag=True, help="Leave out records without samples of every model instead of refusing them."
)
def tune(
    folder: Path,
    records: tuple[Path, ...],
    max_drop: float | None,
    budget: float | None,
    confidence: float,
    reward: str | None,
    order: tuple[Path, ...],
    folds: int | None,
    gold: Path | None,
    allow_missing: bool,
) -> None:
    """Find a price of quality that keeps a promise on new queries, by a finite-sample bound, and write it to DIR.

    If TUNE is not enough to show it, the promise is refused, with the number of queries it would take. The router is
    then unchanged, and DIR/refusals.json notes the refusal, which route, report and monitor --router show.

    If the labels are a judge's, --gold makes it a promise about what people would judge, by an interval that needs many
    groups.

    Queries of one group count as one observation. Tune once: a promise that is tried on other records again and again
    until it passes has no meaning.
    """
    from bestroute.artifacts import ROUTER, sha256
    from bestroute.policies.promises import Kind, write_promises
    from bestroute.policies.refused_promises import Refusal, note_refusal
    from bestroute.reward_models import ProxyRewardModel
    from bestroute.router import MultiHeadRouter
    from bestroute.tuning import RefusedError, tune_budget, tune_max_drop
    from bestroute.tuning.tune import with_promise

    if (max_drop is None) == (budget is None):
        raise ConfigError("give either --max-drop or --budget")
    router = MultiHeadRouter.from_pretrained(folder)
    tuned_hash = sha256((folder / ROUTER.config).read_bytes())
    kind = kind_of(folder, router, reward)
    if gold is not None and max_drop is None:
        raise ConfigError("--gold is for --max-drop; a budget does not depend on labels")
    read = load_records(records, router.pool, allow_missing=allow_missing)
    read, by_people = (read, None) if gold is None else _by_people(read, gold, router, kind)
    arrays = arrays_of(read, router.pool, kind, token_means=router.token_means)
    ordering = (
        load_arrays(order, router.pool, kind, allow_missing=allow_missing, token_means=router.token_means)
        if order
        else None
    )
    tuned = replace(router, settings=replace(router.settings, reward=kind))
    if max_drop is not None:
        find, value = partial(tune_max_drop, by_people=by_people), max_drop
    else:
        assert budget is not None
        find, value = partial(tune_budget), budget
    try:
        promise = find(tuned, arrays, value, confidence=confidence, order=ordering, cross_fit=folds, on_progress=tell)
    except RefusedError as refused:
        requested: Kind = "budget" if max_drop is None else "max_drop"
        note_refusal(folder, Refusal.today(requested, value, confidence, len(arrays), refused.queries))
        raise
    if kind not in KINDS:
        promise = replace(promise, reward_fingerprint=ProxyRewardModel.from_pretrained(kind).fingerprint)
    write_promises(folder, with_promise(router, promise).promises, router=tuned_hash)
    shown = promise.shown_on
    print_line(f"{folder}: {promise}: quality at {promise.price_usd:.4g} USD")
    for part in ("order", "calibrate", *(["people"] if gold else [])):
        print_line(f"  {part}: {shown[part]['queries']} queries of {shown[part]['groups']} groups")
    print_line(
        f"  settings: {shown['settings_passed']} of {shown['settings_tested']} passed in order, seed {shown['seed']}"
    )
    estimates = promise.estimates
    where = "calibration part" if gold is None else "part that people judged"
    print_line(
        f"  on the {where}: saving {estimates['saving']:.1%}, drop {estimates['drop']:.2%}, "
        f"{estimates['usd_per_1k']:.4g} USD per 1,000 queries"
    )
    if kind != kind_of(folder, router, None):
        print_line(f"  holds if samples are chosen by {kind}, not by {router.settings.reward} as in training")
    if promise.cost_cap_usd is not None:
        print_line(f"  a query that costs more than {promise.cost_cap_usd:.4g} USD counts as that much")
    if folds is not None:
        print_line(f"  shown on {folds} routers trained in the same way, not on this one")


def _by_people(records: list[Record], gold: Path, router: MultiHeadRouter, kind: str) -> tuple[list[Record], ByPeople]:
    """Separate the records in which people judged every sample; their groups are removed from the others.

    Raises:
        ConfigError: If there are no such records.
    """
    from bestroute.judges.gold import judged_by_people, read_gold
    from bestroute.tuning.tune import ByPeople

    by_people = judged_by_people(records, read_gold(gold))
    if not by_people:
        raise ConfigError(
            f"{gold}: no record of TUNE has a human verdict on every sample; 'id' and 'text' must match the records"
        )
    judged = [record for record in records if record.id in by_people]
    groups = {record.group for record in judged}
    rest = [record for record in records if record.group not in groups]
    if lost := len(records) - len(judged) - len(rest):
        tell(f"{lost} records left out: people judged other records of their groups")
    pool, means = router.pool, router.token_means
    people = arrays_of([by_people[record.id] for record in judged], pool, kind, token_means=means)
    return rest, ByPeople(arrays_of(judged, pool, kind, token_means=means), people)
