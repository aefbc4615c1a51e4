"""Ask a judge through batch files: its questions are draws as in ``collect``, and replies become verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from bestroute._utils.text import utf8
from bestroute.faults.refusals import refused_option
from bestroute.judges.judge import JudgeReply, JudgeTask, MemberJudge, Verdict
from bestroute.judges.verdicts import Verdicts
from bestroute.records.collect import Drawer, Job, Prompt
from bestroute.types.query import Query
from bestroute.types.sample import Sample


def question_key(task: JudgeTask, query: Query) -> str:
    """Return the key of a question: the id of its task and a hash of its text.

    Example:
        >>> question_key(JudgeTask("q1", "hi", ("a",)), Query("Is it good?"))
        'q1-861458d17f734029'
    """
    return f"{task.id}-{sha256(utf8(json.dumps([query.system, query.text]))).hexdigest()[:16]}"


def verdict_of(judge: MemberJudge, task: JudgeTask, replies: Mapping[str, JudgeReply]) -> Verdict:
    """Return the verdict on a task from the replies to its questions; a reply shared by several is paid for once."""
    keys = [question_key(task, query) for query in judge.queries(task)]
    is_first = [key not in keys[:place] for place, key in enumerate(keys)]
    pairs = zip(keys, is_first, strict=True)
    return judge.verdict(task, [replies[key] if first else replace(replies[key], cost_usd=0.0) for key, first in pairs])


@dataclass
class _PendingTask:
    """A task with missing replies."""

    task: JudgeTask
    queries: dict[str, Query]
    """Its questions by key, without duplicates."""
    missing: set[str]
    failure: BaseException | None = None


def ask_by_batches(
    tasks: Sequence[JudgeTask], judge: MemberJudge, drawer: Drawer, verdicts: Verdicts, stops: Callable[[], bool]
) -> Iterator[tuple[JudgeTask, Verdict | BaseException, list[str]]]:
    """Ask about tasks; yield each with its verdict or error, and the keys of its questions.

    Replies are stored in ``verdicts`` when they arrive, so that none is paid for twice if others of its task fail.

    Args:
        tasks: The tasks.
        judge: The judge.
        drawer: Makes the draws, through batches.
        verdicts: Stores replies until the verdict is complete.
        stops: Once it returns true, nothing more is submitted or waited for; incomplete tasks are left out.
    """
    of_question: dict[str, _PendingTask] = {}
    jobs: list[Job] = []
    for task in tasks:
        queries = {question_key(task, query): query for query in judge.queries(task)}
        missing = {key for key in queries if verdicts.kept(key) is None}
        one = _PendingTask(task, queries, missing)
        if not missing:
            yield _judged(one, judge, verdicts)
        for key in queries:
            if key in missing:
                of_question[key] = one
                jobs.append(_job(key, queries[key], judge))
    while jobs:
        warm: list[Job] = []
        for job, outcome in drawer(jobs, {}, stops):
            if job.is_greedy and not isinstance(outcome, Sample) and refused_option(outcome, ["temperature"]):
                warm.append(job._replace(is_greedy=False))
                continue
            key = job.prompt.id
            one = of_question[key]
            reply = _reply(judge, one.queries[key], outcome)
            if isinstance(reply, JudgeReply):
                verdicts.keep(key, reply)
            else:
                one.failure = reply
            one.missing.remove(key)
            if not one.missing:
                yield _judged(one, judge, verdicts)
        jobs = [] if stops() else warm  # a judge that takes no temperature is asked without


def _job(key: str, query: Query, judge: MemberJudge) -> Job:
    prompt = Prompt(key, query.text, key, fields={"system": query.system})
    return Job(prompt, judge.name, is_greedy=True)


def _reply(judge: MemberJudge, query: Query, outcome: Sample | BaseException) -> JudgeReply | BaseException:
    if not isinstance(outcome, Sample):
        return outcome
    try:
        return judge.reply(query, outcome)
    except Exception as error:
        return error


def _judged(
    one: _PendingTask, judge: MemberJudge, verdicts: Verdicts
) -> tuple[JudgeTask, Verdict | BaseException, list[str]]:
    keys = list(one.queries)
    if one.failure is not None:
        return one.task, one.failure, keys
    replies = {key: reply for key in keys if (reply := verdicts.kept(key)) is not None}
    return one.task, verdict_of(judge, one.task, replies), keys
