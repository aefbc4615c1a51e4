"""``bestroute add-model`` and ``bestroute remove-model``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bestroute.cli.learning_commands import kind_of, load_arrays, tell
from bestroute.cli.paths import FILE, FOLDER
from bestroute.cli.printing import print_line

if TYPE_CHECKING:
    from bestroute.router import MultiHeadRouter


@click.command(epilog="\b\nExample:\n  bestroute add-model router labelled.jsonl --pool new.yaml --out router2")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("records", metavar="RECORDS...", type=FILE, nargs=-1, required=True)
@click.option("--pool", "pool_path", type=FILE, required=True, help="The new pool: the router's pool plus one model.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the new router; it may be DIR itself.")
@click.option(
    "--allow-missing", is_flag=True, help="Leave out records without samples of every model instead of refusing them."
)
def add_model(folder: Path, records: tuple[Path, ...], pool_path: Path, out: Path, allow_missing: bool) -> None:
    """Add a model to the router in DIR, from as few as 50 labelled queries.

    RECORDS must hold samples of every model of the new pool, including the new one; collect them for some queries of
    the old records, or for new ones. Predictions about the other models do not change, to the last bit. The quality of
    the new model is predicted from how the others do on a query; strengths and weaknesses of its own are learnt only
    by training a new router. Samples are chosen by the reward that the router was trained with. The quality of new
    plans is taken as half a standard error below their mean on RECORDS, as a guard against luck.

    A frozen price of quality, and the default policy with it, is raised if, by the router's own predictions, the
    larger choice of plans would miss the price's target. Promises are dropped; run tune again.
    """
    from bestroute.artifacts import check_folder
    from bestroute.router import MultiHeadRouter
    from bestroute.router.pool_changes import add_model as add
    from bestroute.router.pool_changes import new_member
    from bestroute.types.pool import Pool

    check_folder(out, "router.json")
    router, pool = MultiHeadRouter.from_pretrained(folder), Pool.from_file(pool_path)
    new_member(router.pool, pool)
    arrays = load_arrays(records, pool, kind_of(folder, router, None), allow_missing=allow_missing, for_training=True)
    _finish(router, add(router, arrays, on_progress=tell), out, folder)


@click.command(epilog="\b\nExample:\n  bestroute remove-model router mid --out router2")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("model", metavar="MODEL")
@click.option("--out", type=FOLDER, required=True, help="Folder of the new router; it may be DIR itself.")
def remove_model(folder: Path, model: str, out: Path) -> None:
    """Remove MODEL, and every plan that may ask it, from the router in DIR. Needs no records and no training.

    Predictions about the other models do not change, to the last bit. Every model can be removed except the
    reference, to which all labels refer. Prices of quality and the default policy stay; promises are dropped, run tune
    again.
    """
    from bestroute.router import MultiHeadRouter
    from bestroute.router.pool_changes import remove_model as remove

    router = MultiHeadRouter.from_pretrained(folder)
    _finish(router, remove(router, model), out, folder)


def _finish(before: MultiHeadRouter, after: MultiHeadRouter, out: Path, folder: Path) -> None:
    """Write the new router with the old one's reward model, and print what was added, removed and kept."""
    from bestroute.reward_models import ProxyRewardModel
    from bestroute.router.trained_on import REWARD_FOLDER

    if (folder / REWARD_FOLDER / "reward.json").exists() and folder.resolve() != out.resolve():
        ProxyRewardModel.from_pretrained(folder / REWARD_FOLDER).save_pretrained(out / REWARD_FOLDER)
    after.save_pretrained(out)
    print_line(f"{out}: {after.changes[-1]}")
    new, removed = (
        [plan for plan in these.plans if plan not in those.plans] for these, those in ((after, before), (before, after))
    )
    print_line(f"  kept: {len(after.plans) - len(new)} plans, with unchanged predictions")
    for what, plans in (("new", new), ("removed", removed)):
        if plans:
            print_line(f"  {what}: {len(plans)} plans")
            for plan in plans:
                print_line(f"    {plan}")
    raised = [drop for drop, price in before.frozen.items() if after.frozen[drop] != price]
    if raised:
        drops = ", ".join(raised)
        print_line(f"  raised: the price of quality for a drop of {drops}, which the larger choice of plans would miss")
    print_line(f"  default policy: {after.default_policy}")
    for promise in before.promises:
        print_line(f"  dropped: the promise of a {promise}; it was shown for the old plans, run tune again")
