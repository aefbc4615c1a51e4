"""``bestroute split``, ``bestroute compare`` and ``bestroute schema``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bestroute.cli.learning_commands import check_reward, kind_of, load_arrays
from bestroute.cli.paths import FILE, FOLDER, check_lines_of, check_not_read
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError
from bestroute.records.schemas import NAMES


@click.command(
    epilog="\b\nExamples:\n  bestroute split records.jsonl --out data\n"
    "  bestroute split records.jsonl --parts train=0.5,tune=0.25,test=0.25 --by time --out data"
)
@click.argument("records", metavar="RECORDS...", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for NAME.jsonl of each part.")
@click.option(
    "--parts", "division", default="train=0.7,test=0.3", show_default=True, metavar="NAME=SHARE,...", help="The parts."
)
@click.option("--by", type=click.Choice(["group", "time"]), default="group", show_default=True, help="How to split.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the assignment of groups.")
def split(records: tuple[Path, ...], out: Path, division: str, by: str, seed: int) -> None:
    """Split RECORDS into parts that share no group, so that nothing is tested on its own training data.

    With --by time, groups whose first record is later go to the later parts; records then need a "time".
    """
    from bestroute.records.records import read_records, write_records
    from bestroute.records.split import split_records

    shares = _shares(division)
    for path in (out / f"{name}.jsonl" for name in shares):
        check_not_read(path, records)
        check_lines_of(path, "records")
    read = read_records(records)
    done = split_records(read, shares, by_time=by == "time", seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    for name, part in done.items():
        path = out / f"{name}.jsonl"
        write_records(path, part)
        print_line(f"{path}: {len(part)} records in {len({record.group for record in part})} groups")


def _shares(division: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in division.split(","):
        name, _, share = part.strip().partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            name = ""
        if not name.isidentifier():
            raise ConfigError(f"--parts must be NAME=SHARE,..., such as train=0.7,test=0.3, got {division!r}")
    return shares


@click.command(epilog="\b\nExample:\n  bestroute compare router router2 fresh.jsonl")
@click.argument("first", metavar="DIR_A", type=FOLDER)
@click.argument("second", metavar="DIR_B", type=FOLDER)
@click.argument("records", metavar="RECORDS...", type=FILE, nargs=-1, required=True)
@click.option(
    "--policy",
    "policy_text",
    metavar="threshold:T|quality:USD|max_drop:D|budget:USD",
    help="The policy of both routers; default: each router's own.",
)
@click.option("--reward", callback=check_reward, help="As for evaluate; default: as each was trained.")
@click.option(
    "--allow-missing", is_flag=True, help="Leave out records without samples of every model instead of refusing them."
)
@click.option("--resamples", type=click.IntRange(100), default=10_000, show_default=True, help="Bootstrap resamples.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(
    first: Path,
    second: Path,
    records: tuple[Path, ...],
    policy_text: str | None,
    reward: str | None,
    allow_missing: bool,
    resamples: int,
    as_json: bool,
) -> None:
    """Compare the router in DIR_B with that in DIR_A on RECORDS that neither was trained or tuned on.

    Intervals are 95 %, by paired bootstrap over groups.
    """
    from bestroute.evaluation.comparison import compare as run
    from bestroute.policies.parsing import parse_policy
    from bestroute.router import MultiHeadRouter

    policy = None if policy_text is None else parse_policy(policy_text)
    routers = tuple(MultiHeadRouter.from_pretrained(folder) for folder in (first, second))
    arrays = tuple(
        load_arrays(
            records,
            router.pool,
            kind_of(folder, router, reward),
            allow_missing=allow_missing,
            token_means=router.token_means,
        )
        for folder, router in zip((first, second), routers, strict=True)
    )
    done = run(routers[0], routers[1], (arrays[0], arrays[1]), policies=(policy, policy), resamples=resamples)
    if as_json:
        click.echo(json.dumps(done.to_dict(), indent=1, allow_nan=False))
        return
    print_line(f"{done.queries} queries of {done.groups} groups, neither trained nor tuned on; 95 % intervals by group")
    for name, quality, cost in zip((first, second), done.quality, done.cost_usd, strict=True):
        print_line(f"  {name}: quality {quality:.4f} at {1000 * cost:.4g} USD a thousand queries")
    print_line(
        f"quality of the second minus the first: {done.quality_gain:+.4f}{_interval(done.quality_interval, '+.4f')}"
    )
    print_line(f"cost saved by the second: {done.saved:+.1%}{_interval(done.saved_interval, '+.1%')}")
    print_line(f"the same plan for {done.same:.0%} of the queries; {done.verdict}")


def _interval(interval: tuple[float, float] | None, form: str) -> str:
    return "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"


@click.command(epilog="\b\nExample:\n  bestroute schema records")
@click.argument("name", type=click.Choice(NAMES))
def schema(name: str) -> None:
    """Print the JSON Schema of a bestroute file format, for editors and other programs."""
    from bestroute.records.schemas import schema as schema_of

    click.echo(json.dumps(schema_of(name), indent=1, ensure_ascii=False))
