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
@click.option("--pool", "pool_path", type=FILE, required=True, help="The new pool: the router's and one model more.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the new router; it may be DIR itself.")
@click.option("--allow-missing", is_flag=True, help="Leave out records that lack a model, instead of refusing them.")
def add_model(folder: Path, records: tuple[Path, ...], pool_path: Path, out: Path, allow_missing: bool) -> None:
    """Let one more model into the router in DIR, from as few as 50 labelled queries.

    RECORDS hold samples of every model of the new pool, the new one too; collect them for some queries of the old
    records, or for new ones. Predictions about the other models stay as they are, to the last bit. What the new one is
    worth for a query is told from how the others fare on it: what it alone can or cannot do is learnt only by training
    anew. Samples are chosen by the reward the router was trained with. New plans are judged half a standard error
    below what they gave on RECORDS, so that luck is not taken for skill.

    A frozen price of quality is raised where the wider choice would miss its target by the router's own predictions,
    and the default policy with it. Promises go; tune again to have them.
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
    """Let MODEL go from the router in DIR, with every plan that may ask it. It takes no records and no training.

    Predictions about the other models stay as they are, to the last bit. Any model may go but the reference, against
    which every label was made. Prices of quality and the default policy stay; promises go, tune again to have them.
    """
    from bestroute.router import MultiHeadRouter
    from bestroute.router.pool_changes import remove_model as remove

    router = MultiHeadRouter.from_pretrained(folder)
    _finish(router, remove(router, model), out, folder)


def _finish(before: MultiHeadRouter, after: MultiHeadRouter, out: Path, folder: Path) -> None:
    """Write the new router with the old one's reward model, and say what is new, what went and what stayed."""
    from bestroute.reward_models import ProxyRewardModel
    from bestroute.router.trained_on import REWARD_FOLDER

    if (folder / REWARD_FOLDER / "reward.json").exists() and folder.resolve() != out.resolve():
        ProxyRewardModel.from_pretrained(folder / REWARD_FOLDER).save_pretrained(out / REWARD_FOLDER)
    after.save_pretrained(out)
    print_line(f"{out}: {after.changes[-1]}")
    new, gone = (
        [plan for plan in these.plans if plan not in those.plans] for these, those in ((after, before), (before, after))
    )
    print_line(f"  kept: {len(after.plans) - len(new)} plans, predicted as before to the last bit")
    for what, plans in (("new", new), ("gone", gone)):
        if plans:
            print_line(f"  {what}: {len(plans)} plans")
            for plan in plans:
                print_line(f"    {plan}")
    raised = [drop for drop, price in before.frozen.items() if after.frozen[drop] != price]
    if raised:
        drops = ", ".join(raised)
        print_line(f"  raised: the price of quality for a drop of {drops}, which the wider choice would miss")
    print_line(f"  default policy: {after.default_policy}")
    for promise in before.promises:
        print_line(f"  dropped: the promise of a {promise}; it was shown about other choices, tune again")
