"""The options of `label` and `collect` that say who judges answers, and what is printed about the result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bestroute.cli.live_members import live_generators
from bestroute.cli.paths import FILE
from bestroute.cli.printing import print_line
from bestroute.cli.progress import shown
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.cli.drawing import Drawing
    from bestroute.judges import Judge, Labelled
    from bestroute.records.collect import Drawer
    from bestroute.records.records import Record
    from bestroute.types.pool import Pool
    from bestroute.types.sample import Cancel

OPTIONS = (
    click.option(
        "--judge", "judge_name", metavar="JUDGE", help="Who scores answers: a member of the pool, or MODULE:FUNCTION."
    ),
    click.option(
        "--check",
        "checks",
        default="",
        metavar="NAMES",
        help="Checks to run before the judge: exact, numeric, pattern, schema.",
    ),
    click.option(
        "--pairwise", is_flag=True, help="The judge compares each answer with the reference's, in both orders."
    ),
    click.option("--rubric", type=FILE, help="A text file that tells the judge what makes an answer good."),
    click.option("--keep-replies", is_flag=True, help="Store the judge's replies in the records."),
)


@dataclass(frozen=True)
class Judging:
    """Who judges and how: the values of ``OPTIONS``."""

    judge_name: str | None = None
    checks: str = ""
    pairwise: bool = False
    rubric: Path | None = None
    keep_replies: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether anything is to be judged."""
        return self.judge_name is not None or bool(self.checks)

    @property
    def is_function(self) -> bool:
        """Whether the judge is a user's function, not a member of the pool."""
        return self.judge_name is not None and ":" in self.judge_name

    def check(self, everyone: Pool | None) -> None:
        """Check the options before anything is drawn or asked.

        Args:
            everyone: The pool, including its judges.

        Raises:
            ConfigError: If an option needs another one that is missing, or the pool has no such judge.
        """
        from bestroute.judges.checks import read_checks

        read_checks(self.checks)
        if self.pairwise and (self.judge_name is None or self.is_function):
            raise ConfigError("--pairwise needs a --judge of the pool")
        if self.rubric is not None and (self.judge_name is None or self.is_function):
            raise ConfigError("--rubric is for a --judge of the pool")
        if self.judge_name is not None and not self.is_function:
            if everyone is None:
                raise ConfigError(
                    f"--judge {self.judge_name} is a member of a pool: give --pool FILE, or MODULE:FUNCTION"
                )
            everyone.check_model(self.judge_name, what="judge")


def judging_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``OPTIONS`` to a command, which gets their values as one argument, ``judging``."""

    @wraps(command)
    def run(**given: Any) -> Any:
        return command(judging=Judging(**{field.name: given.pop(field.name) for field in fields(Judging)}), **given)

    for option in reversed(OPTIONS):
        option(run)
    return run


def judge_records(
    read: list[Record],
    judging: Judging,
    out: Path,
    stop: Cancel,
    *,
    everyone: Pool | None,
    gguf: tuple[str, ...] = (),
    reference: str | None = None,
    limit: int | None = None,
    concurrency: int = 4,
    again: bool = False,
    drawing: Drawing | None = None,
) -> Labelled:
    """Label records as the options say, with a progress bar; see ``bestroute.judges.label``.

    ``drawing`` says how a judge of the pool is called; unfinished calls are kept beside the journal of its verdicts.
    """
    from bestroute.judges import FunctionJudge, MemberJudge
    from bestroute.judges import label as label_records
    from bestroute.judges.checks import read_checks
    from bestroute.judges.questions import RUBRIC
    from bestroute.judges.verdicts import KIND
    from bestroute.records.collect import load_checker

    def run(judge: Judge | None, drawer: Drawer | None = None) -> Labelled:
        with shown("query") as show:
            return label_records(
                read,
                judge,
                out,
                checks=read_checks(judging.checks),
                reference=reference or (everyone.reference if everyone else None),
                limit=limit,
                concurrency=concurrency,
                keep_replies=judging.keep_replies,
                again=again,
                on_task=show,
                stop=stop,
                drawer=drawer,
            )

    name, rubric = judging.judge_name, judging.rubric
    if name is None:
        return run(None)
    if judging.is_function or everyone is None:
        sys.path.insert(0, "")  # a judge function is usually in the working directory
        return run(FunctionJudge(load_checker(name), name))
    words = RUBRIC if rubric is None else rubric.read_text(encoding="utf-8", errors="surrogateescape").strip()
    with live_generators(everyone, gguf, only=(name,)) as generators:
        drawer, charged = (None, everyone)
        if drawing is not None:
            beside = out.with_name(f"{out.name}.{KIND}")
            drawer, charged = drawing.drawer(
                everyone, generators, beside, job=out.name, kind="judge", concurrency=concurrency
            )
        return run(MemberJudge(name, generators[name], charged, rubric=words, is_pairwise=judging.pairwise), drawer)


def tell_labels(done: Labelled, out: Path, judge_name: str | None) -> None:
    """Print how many answers were labelled in which way, and what that cost."""
    by_judge = f"{done.judged} by {judge_name or 'earlier labels'}, "
    before = f"{done.earlier} labelled before, " if done.earlier else ""
    print_line(f"{out}: {done.checked} samples by checks, {by_judge}{before}{done.unjudged} without a quality")
    if not done.checked + done.judged + done.earlier and judge_name is None:
        print_line(
            'no check applied: checks need "answer", "tolerance", "pattern" or "schema" in the records\' lines '
            "(bestroute import --map expected=COLUMN adds known answers); or add a --judge",
            err=True,
        )
    if done.cost_usd:
        print_line(f"the judge cost {done.cost_usd:.6f} USD")
    first, second = done.first_wins
    if first + second:
        share = first / (first + second)
        print_line(f"the answer shown first was preferred in {share:.0%} of {first + second}; both orders were asked")
    if done.failed:
        print_line(
            f"{done.failed} queries were not judged: the judge failed, or its reply could not be read; run the same "
            "command again to retry the calls that failed",
            err=True,
        )
