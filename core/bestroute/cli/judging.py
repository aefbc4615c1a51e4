"""How `label` and `collect` are told who judges, and what they print of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
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
    click.option("--judge", "judge_name", metavar="JUDGE", help="A member of the pool, or MODULE:FUNCTION."),
    click.option(
        "--check", "checks", default="", metavar="NAMES", help="exact, numeric, pattern, schema; before the judge."
    ),
    click.option("--pairwise", is_flag=True, help="Compare with the reference's answer, in both orders."),
    click.option("--rubric", type=FILE, help="A text file: what makes an answer good."),
    click.option("--keep-replies", is_flag=True, help="Keep the judge's words in the records."),
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
        """Whether the judge is a function of the user's."""
        return self.judge_name is not None and ":" in self.judge_name

    def check(self, everyone: Pool | None) -> None:
        """Refuse what cannot be meant, before anything is drawn or asked.

        Args:
            everyone: The pool, judges in it.

        Raises:
            ConfigError: If an option lacks what it needs, or the pool has no such judge.
        """
        from bestroute.judges.checks import read_checks

        read_checks(self.checks)
        if self.pairwise and (self.judge_name is None or self.is_function):
            raise ConfigError("--pairwise needs a --judge of the pool")
        if self.rubric is not None and (self.judge_name is None or self.is_function):
            raise ConfigError("--rubric is what a --judge of the pool is given")
        if self.judge_name is not None and not self.is_function:
            if everyone is None:
                raise ConfigError(
                    f"--judge {self.judge_name} is a member of a pool: give --pool FILE, or MODULE:FUNCTION"
                )
            everyone.check_model(self.judge_name, what="judge")


def judging_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a judge; it gets them as ``judging``."""

    def run(**given: Any) -> Any:
        return command(judging=Judging(**{field.name: given.pop(field.name) for field in fields(Judging)}), **given)

    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
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
    """Give records a quality as the options say, with a bar; see ``bestroute.judges.label``.

    With ``drawing`` a judge of the pool is asked in its way, and what is under way stands beside its verdicts' journal.
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
        sys.path.insert(0, "")  # a judge of one's own usually lies in the working folder
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
    """Print how many answers have which kind of label, and what that cost."""
    by_judge = f"{done.judged} by {judge_name or 'earlier labels'}, "
    before = f"{done.earlier} labelled before, " if done.earlier else ""
    print_line(f"{out}: {done.checked} samples by checks, {by_judge}{before}{done.unjudged} without a quality")
    if not done.checked + done.judged + done.earlier and judge_name is None:
        print_line(
            'no check could decide: they look for "answer", "tolerance", "pattern", "schema" in the records\' lines '
            "(bestroute import --map expected=COLUMN brings a known answer); or give a --judge",
            err=True,
        )
    if done.cost_usd:
        print_line(f"the judge was paid {done.cost_usd:.6f} USD")
    first, second = done.first_wins
    if first + second:
        share = first / (first + second)
        print_line(f"the answer shown first was preferred in {share:.0%} of {first + second}; both orders were asked")
    if done.failed:
        print_line(
            f"{done.failed} queries could not be judged, or the judge was not understood; the same command asks again "
            "about those it could not reach",
            err=True,
        )
