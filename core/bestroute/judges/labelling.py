"""Label records: checks first, then a judge for what they leave open; resumable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from bestroute._utils.text import utf8
from bestroute._utils.under_way import ended
from bestroute.errors import ConfigError
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.judges.by_batches import ask_by_batches, question_key, verdict_of
from bestroute.judges.checks import Check, decided
from bestroute.judges.judge import Judge, JudgeTask, MemberJudge, Verdict, tasks_answers
from bestroute.judges.verdicts import Verdicts
from bestroute.records.collect import Drawer
from bestroute.records.records import GreedySample, ModelSamples, Record, read_records, write_records
from bestroute.types.query import Query
from bestroute.types.sample import Cancel

logger = logging.getLogger(__name__)

JUDGED_BY = "judged_by"
"""The field of a record that describes its judge."""


@dataclass(frozen=True)
class Labelled:
    """The outcome of a run of ``label``."""

    records: tuple[Record, ...]
    checked: int
    """Samples decided by a check."""
    judged: int
    """Samples with this judge's verdict, including earlier runs'."""
    unjudged: int
    """Samples without a quality."""
    failed: int
    """Queries for which the judge failed or its reply was not understood."""
    cost_usd: float
    """Cost of all verdicts, USD."""
    first_wins: tuple[int, int] = (0, 0)
    """Pairwise: how often the answer shown first was preferred, and how often the second."""
    earlier: int = 0
    """Samples that already had a quality in the records."""


def label(
    records: Sequence[Record],
    judge: Judge | None,
    out: Path | str,
    *,
    checks: tuple[Check, ...] = (),
    reference: str | None = None,
    limit: int | None = None,
    concurrency: int = 4,
    keep_replies: bool = False,
    again: bool = False,
    on_task: Callable[[int, int], None] | None = None,
    stop: Cancel | None = None,
    drawer: Drawer | None = None,
) -> Labelled:
    """Give the samples of records a quality, and write them to ``out`` at the end, also after an interrupt.

    Checks decide what they can. The judge is asked about the rest, each text once, all of a query in one task. Verdicts
    go to a journal beside ``out`` as they come; a later run asks about what is missing.

    Queries come by lot, the same at every run, so that those labelled so far are like the others; no other order was
    better on all sets (``docs/training.md``).

    Args:
        records: Records with texts.
        judge: The judge for what the checks leave open, or ``None``.
        out: The labelled records.
        checks: The checks, in order; the first that decides counts.
        reference: The model that a pairwise judge compares with.
        limit: Most queries to ask the judge about in this run.
        concurrency: Queries in parallel.
        keep_replies: Whether to store the judge's replies in the records (``judge_replies``).
        again: Whether to judge samples again that have a quality.
        on_task: Called with (queries done, queries in total).
        stop: Once set, no further query is asked about.
        drawer: Asks the judge, a ``MemberJudge``, in another way (``generators.batches``); default: single calls.

    Raises:
        ConfigError: If no record has texts, a pairwise judge has no reference, or a function does not return a quality.
    """
    out = Path(out)
    if not any(samples.text for record in records for samples in record.samples.values()):
        raise ConfigError("label: no record has texts to judge")
    is_pairwise = isinstance(judge, MemberJudge) and judge.is_pairwise
    if is_pairwise and reference is None:
        raise ConfigError("label: a pairwise judge needs the name of the reference, --reference MODEL")
    if judge is not None and any(judge.name in record.samples for record in records):
        logger.warning(
            "label: %r judges its own answers; another model would be fairer (role: judge in the pool file)", judge.name
        )
    how = {"judge": None if judge is None else judge.name, "pairwise": is_pairwise, "reference": reference}
    if isinstance(judge, MemberJudge):
        how["rubric"] = judge.rubric
    there = _there(out, records)
    before = [] if again else there
    earlier = {record.id: record.extra[JUDGED_BY] for record in before if JUDGED_BY in record.extra}
    verdicts = Verdicts(out, how)
    fixed = _qualities(before)
    try:
        checked = {record.id: _decided(record, checks) for record in records}
        for record in records:
            texts = _texts(record, again=again)
            fixed.setdefault(record.id, {}).update({t: q for t, q in checked[record.id].items() if t in texts})
        tasks = [task for record in records if (task := _task(record, fixed[record.id], reference, again)) is not None]
        waiting = [task for one in sorted(tasks, key=_lot) if (task := verdicts.waiting(one)) is not None]
        failed = 0
        if judge is not None:
            wanted = waiting[:limit]
            outcomes = _ask_all(wanted, judge, concurrency, stop or Cancel(), drawer, verdicts)
            for done, (task, verdict, questions) in enumerate(_logged(outcomes), start=1):
                if isinstance(verdict, Verdict):
                    verdicts.add(task, verdict, keep_replies=keep_replies, questions=questions)
                    failed += None in verdict.qualities
                else:
                    failed += 1
                if on_task:
                    on_task(done, len(wanted))
    finally:
        labelled = [
            _labelled(record, fixed.get(record.id, {}), verdicts, keep_replies, by=how, earlier=earlier.get(record.id))
            for record in records
        ]
        write_records(out, labelled)
        spent, first_wins = verdicts.cost_usd, verdicts.first_wins
        unjudged = sum(samples.unjudged for record in labelled for samples in record.samples.values())
        verdicts.close(drop=not unjudged)
    total = sum(samples.size for record in labelled for samples in record.samples.values())
    by_checks = sum(
        text in checked[record.id]
        for record in records
        for samples in record.samples.values()
        for text in samples.text or ()
    )
    kept = 0 if again else _judged_before(records, checked)
    judged = total - unjudged - by_checks - kept
    return Labelled(tuple(labelled), by_checks, judged, unjudged, failed, spent, first_wins, kept)


def _judged_before(records: Sequence[Record], checked: Mapping[str, Mapping[str, float]]) -> int:
    """Return the number of samples whose quality comes from neither a check nor a judge of this run."""
    return sum(
        quality is not None and text not in checked[record.id]
        for record in records
        for samples in record.samples.values()
        for text, quality in zip(samples.text or (None,) * samples.size, samples.quality, strict=False)
    )


def _qualities(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return the quality of every text that has one, by record; these are not judged again."""
    known: dict[str, dict[str, float]] = {}
    for record in records:
        of = known.setdefault(record.id, {})
        for samples in record.samples.values():
            pairs = list(zip(samples.text or (), samples.quality, strict=False))
            if samples.greedy is not None and samples.greedy.text is not None:
                pairs.append((samples.greedy.text, samples.greedy.quality))
            of |= {text: quality for text, quality in pairs if quality is not None}
    return known


def _decided(record: Record, checks: tuple[Check, ...]) -> dict[str, float]:
    """Return the quality of each text that a check decides."""
    fields = fields_of(record)
    found = {text: decided(checks, fields, text) for text in _texts(record, again=True)}
    return {text: quality for text, quality in found.items() if quality is not None}


def fields_of(record: Record) -> dict[str, Any]:
    """Return a record's line without its samples, for checks and judges."""
    return {"id": record.id, "query": record.query, "group": record.group, "task": record.task, **record.extra}


def _texts(record: Record, *, again: bool) -> tuple[str, ...]:
    """Return the distinct texts of a record that need a quality."""
    wanted: list[str] = []
    for samples in record.samples.values():
        pairs = zip(samples.text or (), samples.quality, strict=False)
        wanted += [text for text, quality in pairs if again or quality is None]
        greedy = samples.greedy
        if greedy is not None and greedy.text is not None and (again or greedy.quality is None):
            wanted.append(greedy.text)
    return tasks_answers(wanted)


def _task(record: Record, fixed: dict[str, float], reference: str | None, again: bool) -> JudgeTask | None:
    answers = tuple(text for text in _texts(record, again=again) if text not in fixed)
    best = record.samples.get(reference or "")
    with_it = None if best is None else (best.greedy.text if best.greedy and best.greedy.text else None)
    if with_it is None and best is not None and best.text:
        with_it = best.text[0]
    return JudgeTask(record.id, record.query, answers, fields_of(record), with_it) if answers else None


def _lot(task: JudgeTask) -> bytes:
    return sha256(utf8(task.id)).digest()


_Outcome = tuple[JudgeTask, Verdict | BaseException, list[str]]
"""A task, its verdict or the error, and the questions whose replies were stored for it."""


def _there(out: Path, records: Sequence[Record]) -> list[Record]:
    """Return the records written by an earlier run, which this one overwrites.

    Raises:
        ConfigError: If some of them are not among the records.
        RecordError: If the file holds something else.
    """
    there = read_records(out) if out.exists() and out.stat().st_size else []
    if others := {record.id for record in there} - {record.id for record in records}:
        raise ConfigError(
            f"{out}: holds {len(others)} records that are not among those to be labelled; give another --out"
        )
    return there


def _ask_all(
    tasks: Sequence[JudgeTask],
    judge: Judge,
    concurrency: int,
    stop: Cancel,
    drawer: Drawer | None,
    verdicts: Verdicts,
) -> Iterator[_Outcome]:
    """Ask about tasks, through a drawer or by concurrent calls."""
    if drawer is not None and isinstance(judge, MemberJudge):
        yield from ask_by_batches(tasks, judge, drawer, verdicts, lambda: stop.is_set)
        return
    failure: BaseException | None = None
    for task, future in ended(
        partial(_judge, judge, verdicts), tasks, concurrency, lambda: stop.is_set, name="bestroute-label"
    ):
        error = future.exception()
        verdict, waiting = future.result() if error is None else (error, [])
        if isinstance(verdict, Verdict):
            yield task, verdict, waiting
            continue
        if isinstance(verdict, ConfigError) or not isinstance(verdict, Exception):
            stop.set()  # what is under way ends, and is kept, too
            failure = failure or verdict
            continue
        yield task, verdict, []
    if failure is not None:
        raise failure


def _judge(judge: Judge, verdicts: Verdicts, task: JudgeTask) -> tuple[Verdict | BaseException, list[str]]:
    """Ask a judge about a task, except for questions whose replies an earlier run stored.

    A reply is on disk before the next question of its task, so that a crash loses only calls in progress.

    Returns:
        Its verdict or error, and the questions whose replies are in the journal.
    """
    if not isinstance(judge, MemberJudge):
        return judge(task), []
    questions = {question_key(task, query): query for query in judge.queries(task)}
    replies = {key: reply for key in questions if (reply := verdicts.kept(key)) is not None}
    waiting = list(replies)
    try:
        for key, query in questions.items():
            if key not in replies:
                replies[key] = judge.ask(query)
                if len(replies) < len(questions):
                    verdicts.keep(key, replies[key])
                    waiting.append(key)
    except Exception as error:  # the caller raises it or tells it
        return error, waiting
    return verdict_of(judge, task, replies), waiting


def _logged(outcomes: Iterator[_Outcome]) -> Iterator[_Outcome]:
    """Yield the outcomes, and log each kind of failure once."""
    failures: set[str] = set()
    for task, verdict, questions in outcomes:
        if isinstance(verdict, BaseException):
            described = " ".join(describe(hide_quotations(verdict, Query(task.query))).split())
            if described not in failures:
                logger.warning("label: the judge could not be asked about %r: %s", task.id, described)
            failures.add(described)
        yield task, verdict, questions


def _labelled(
    record: Record,
    fixed: dict[str, float],
    verdicts: Verdicts,
    keep_replies: bool,
    *,
    by: Mapping[str, Any],
    earlier: Any,
) -> Record:
    """Return a record with its known qualities and the description of its judge."""
    is_judged = False

    def quality(text: str | None, before: float | None) -> float | None:
        nonlocal is_judged
        if text is None:
            return before
        found = fixed.get(text)
        if found is None:
            found = verdicts.quality(record.id, text)
            is_judged = is_judged or found is not None
        return before if found is None else found

    def judged(samples: ModelSamples) -> ModelSamples:
        texts = samples.text or (None,) * samples.size
        pairs = zip(texts, samples.quality, strict=True)
        greedy: GreedySample | None = samples.greedy
        if greedy is not None:
            greedy = replace(greedy, quality=quality(greedy.text, greedy.quality))
        return replace(samples, quality=tuple(quality(text, before) for text, before in pairs), greedy=greedy)

    samples, extra = {model: judged(s) for model, s in record.samples.items()}, dict(record.extra)
    if is_judged:
        extra[JUDGED_BY] = judged_by(by)
    elif earlier is not None:
        extra[JUDGED_BY] = earlier
    if keep_replies and (replies := verdicts.replies(record.id)):
        extra["judge_replies"] = replies
    return replace(record, samples=samples, extra=extra)


def judged_by(how: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a judge for a record, with its rubric as a hash."""
    known = {name: value for name, value in how.items() if value not in (None, False)}
    return {**known, **({"rubric": sha256(utf8(how["rubric"])).hexdigest()[:16]} if how.get("rubric") else {})}
