"""Draws by batches: a file a model, handed in, read back by id, taken up after a kill.

What is under way stands on disk beside the records (``<out>.batches/``): of each batch a file of its lines and one of
what is known of it, written before it is handed in. A batch is dropped when every answer has been given to its command,
which has it on disk by then; answers that a command does not want (``--limit``) stay for one that does. So whatever a
kill leaves is found again, and nothing is drawn or paid for twice.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from bestroute._utils.files import atomic_file
from bestroute.errors import BestRouteError, ConfigError, GenerationError, named
from bestroute.errors.facts import field
from bestroute.errors.redaction import describe
from bestroute.faults.error_rules import Action, rule_for
from bestroute.generators.batches.batch_forms import (
    BatchForm,
    BatchLineError,
    BatchState,
    LineResult,
    ResultsNotThere,
    chunks,
)
from bestroute.generators.batches.kept_replies import KeptReplies, Slot
from bestroute.records.jsonl import dump_line
from bestroute.types.query import Query
from bestroute.types.sample import Sample

logger = logging.getLogger(__name__)

_MOST_MISSED = 20
"""Number of consecutive failed polls of a batch that are tolerated."""


class BatchJob(Protocol):
    """A draw that a batch can make; ``Job`` of ``collect`` is one."""

    @property
    def key(self) -> str:
        """Its key, together with model and ``is_greedy``; equal ones are draws from the same urn."""

    @property
    def model(self) -> str:
        """Pool name."""

    @property
    def is_greedy(self) -> bool:
        """Whether it is at temperature 0."""

    @property
    def at(self) -> int:
        """Number of earlier draws of its key."""

    @property
    def query(self) -> Query:
        """Its query."""

    def sampling(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the parameters of its call."""


J = TypeVar("J", bound=BatchJob)


@dataclass(frozen=True)
class _Batch:
    """A batch whose file is written, and which is submitted if it has an id."""

    key: str
    model: str
    lines: tuple[tuple[str, bool], ...]
    """Of each line, the key of its draw and whether it is the greedy answer."""
    id: str | None = None
    kept: tuple[int | None, ...] | None = None
    """For each line, how many samples of its key and model were kept when its results began to be read; ``None``
    where none was waited for."""
    given: tuple[int, ...] = ()
    """Lines that an earlier run has finished."""
    form: str = ""
    """The batch API that it was submitted to; empty if an earlier release recorded it."""

    def slot(self, place: int) -> Slot:
        key, is_greedy = self.lines[place]
        return key, self.model, is_greedy

    @property
    def slots(self) -> list[Slot]:
        return [self.slot(place) for place in range(len(self.lines))]

    @property
    def open_places(self) -> set[int]:
        """Lines that no run has received yet."""
        return set(range(len(self.lines))).difference(self.given)


@dataclass
class _PendingDraws(Generic[J]):
    """The draws that one run waits for."""

    waiting: dict[Slot, list[J]]
    kept: dict[Slot, int]
    """Number of existing samples of their keys."""
    params: Mapping[str, Any]

    def delivered(self, batch: _Batch) -> Counter[Slot]:
        """Return how many of a batch's samples were stored before a crash; they are skipped when it is read again."""
        if batch.kept is None:
            return Counter()
        pairs = zip(batch.slots, batch.kept, strict=True)
        return Counter(
            {slot: self.kept[slot] - before for slot, before in pairs if before is not None and slot in self.kept}
        )

    def kept_before(self, batch: _Batch) -> tuple[int | None, ...]:
        """Return the counts to record as ``kept`` when reading of a batch starts."""
        noted = batch.kept or (None,) * len(batch.lines)
        pairs = zip(batch.slots, noted, strict=True)
        return tuple(self.kept.get(slot) if before is None else before for slot, before in pairs)


class BatchDraws:
    """Makes draws by batches; a ``Drawer`` of ``collect`` and ``label``, and used by ``BatchRounds``.

    Args:
        forms: The batch API of each member.
        out: The output file; batches are stored beside it.
        poll_s: Seconds between polls of a batch.
        rounds: How often lines that were not reached, or failed at the provider, are submitted again.
        on_wait: Called with (lines done, lines in total) after each poll.
        replies: Stores the result of every draw before it is passed on, for callers without a journal of their own;
            stored draws are not repeated.
    """

    def __init__(
        self,
        forms: Mapping[str, BatchForm],
        out: Path,
        *,
        poll_s: float = 30.0,
        rounds: int = 2,
        on_wait: Callable[[int, int], None] | None = None,
        replies: KeptReplies | None = None,
    ) -> None:
        """Store the settings; nothing is written yet."""
        self.forms, self.out, self.folder = dict(forms), out, folder_of(out)
        self.poll_s, self.rounds, self.on_wait, self.replies = poll_s, rounds, on_wait, replies
        self._missed: Counter[str] = Counter()
        """Consecutive failed polls of each batch."""

    def __call__(
        self, todo: Iterable[J], params: Mapping[str, Any], stops: Callable[[], bool]
    ) -> Iterator[tuple[J, Sample | BaseException]]:
        """Resume unfinished batches, submit the remaining draws, and yield the results of both."""
        waiting: dict[Slot, list[J]] = defaultdict(list)
        for job in todo:
            waiting[_slot_of(job)].append(job)
        yield from self._read_kept(waiting, params)
        if self.replies is None or waiting:  # those who have a journal of their own may have what is under way dropped
            yield from self._draw(waiting, params, stops)

    def _draw(
        self, waiting: dict[Slot, list[J]], params: Mapping[str, Any], stops: Callable[[], bool]
    ) -> Iterator[tuple[J, Sample | BaseException]]:
        run = _PendingDraws(waiting, {slot: jobs[0].at for slot, jobs in waiting.items()}, params)
        batches = self._under_way(stops)
        covered = Counter(batch.slot(place) for batch in batches for place in batch.open_places)
        for batch in batches:
            covered -= run.delivered(batch)
        fresh = [job for slot, jobs in waiting.items() for job in jobs[covered[slot] :]]
        for attempt in range(self.rounds + 1):
            batches += [] if stops() else self._hand_in(fresh, params, stops)
            fresh = []
            for batch, state, results in self._ended(batches, stops):
                unwanted: list[int] = []
                for job, outcome in self._read(batch, run, state, results, unwanted):
                    if attempt < self.rounds and _is_worth_another_try(outcome):
                        fresh.append(job)
                        waiting[_slot_of(job)].append(job)
                    else:
                        if self.replies is not None and isinstance(outcome, BatchLineError):
                            self.replies.keep(_slot_of(job), LineResult("", error=outcome))
                        yield job, outcome
                if unwanted:
                    given = tuple(place for place in range(len(batch.lines)) if place not in unwanted)
                    self._note(replace(batch, kept=None, given=given))
                    logger.info("batch %s: %d answers stay for a run that wants them", batch.id, len(unwanted))
                else:
                    self._drop(batch)
            batches = []
            if not fresh or stops():
                return
            logger.warning("%d lines of batches were not answered and are handed in again", len(fresh))

    def _read_kept(
        self, waiting: dict[Slot, list[J]], params: Mapping[str, Any]
    ) -> Iterator[tuple[J, Sample | BaseException]]:
        """Yield the draws whose results are stored, and remove them from those to wait for."""
        if self.replies is None:
            return
        for slot in list(waiting):
            if (result := self.replies.get(slot)) is not None:
                for job in waiting.pop(slot):
                    yield job, _outcome(self.forms[job.model], job, result, params)

    def _under_way(self, stops: Callable[[], bool]) -> list[_Batch]:
        """Return the unfinished batches of earlier runs, submitted if they were not."""
        self.tidy()
        batches = list(self._noted())
        for batch in batches:
            if batch.model not in self.forms:
                raise ConfigError(
                    f"{self.folder}: a batch of {batch.model!r} is in progress; the pool has {named(self.forms)}"
                )
            if batch.form not in ("", form := self.forms[batch.model].name):
                raise ConfigError(
                    f"{self.folder}: a batch of {batch.model!r} is in progress by --batch {batch.form}, which --batch "
                    f"{form} cannot read; give --batch {batch.form}, or delete the folder if its answers are not wanted"
                )
        return [self._with_id(batch, stops, is_new=False) for batch in batches]

    def _noted(self) -> Iterator[_Batch]:
        """Yield the recorded batches."""
        for path in sorted(self.folder.glob("*.json")):
            noted = json.loads(path.read_text(encoding="utf-8"))
            kept = None if noted["kept"] is None else tuple(noted["kept"])
            lines = tuple((id_, is_greedy) for id_, is_greedy in noted["lines"])
            given, form = tuple(noted.get("given", ())), noted.get("form", "")
            yield _Batch(noted["key"], noted["model"], lines, noted["id"], kept, given, form)

    def tidy(self) -> None:
        """Remove files of batches that were not recorded before a crash, and batches that are completely read."""
        if not self.folder.is_dir():
            return
        batches = list(self._noted())
        keys = {batch.key for batch in batches}
        for path in self.folder.iterdir():
            if path.name.partition(".")[0] not in keys:
                path.unlink()
        for batch in batches:
            if self.replies is not None and all(self.replies.has(batch.slot(place)) for place in batch.open_places):
                self._drop(batch)
        self._remove_empty()

    def _hand_in(self, jobs: Sequence[BatchJob], params: Mapping[str, Any], stops: Callable[[], bool]) -> list[_Batch]:
        batches = []
        for model in dict.fromkeys(job.model for job in jobs):
            form, own = self.forms[model], [job for job in jobs if job.model == model]
            bodies = [form.request(job.query, job.sampling(params)) for job in own]
            for places in chunks([dump_line(body) for body in bodies], form):
                key = os.urandom(8).hex()
                lines = tuple((own[i].key, own[i].is_greedy) for i in places)
                batch = _Batch(key, model, lines, form=form.name)
                self.folder.mkdir(exist_ok=True)
                with atomic_file(self._file(batch)) as stream:
                    stream.writelines(
                        dump_line(form.line(f"{key}-{n}", bodies[place])) for n, place in enumerate(places)
                    )
                self._note(batch)
                batches.append(self._with_id(batch, stops, is_new=True))
        return batches

    def _with_id(self, batch: _Batch, stops: Callable[[], bool], *, is_new: bool) -> _Batch:
        """Return a batch that is submitted; if a crash prevented recording its id, the provider may know it."""
        if batch.id is not None:
            return batch
        form = self.forms[batch.model]
        with self._asking(batch.model):
            found = None if is_new else form.find(batch.key, self._file(batch))
            batch = replace(batch, id=found or self._submitted(form, batch, stops))
        self._note(batch)
        logger.info("batch %s of %d lines for %r", batch.id, len(batch.lines), batch.model)
        return batch

    def _submitted(self, form: BatchForm, batch: _Batch, stops: Callable[[], bool]) -> str:
        """Submit a batch and return its id; a rate limit (429) is retried after a pause.

        After a failed submission the provider may have the batch, so it is looked for before it is submitted again.
        """
        path, tried = self._file(batch), 0
        while True:
            try:
                found = form.find(batch.key, path) if tried else None
                return found or form.submit(batch.key, path)
            except Exception as error:
                tried += 1
                is_limit = field(error, "status_code") == 429 and rule_for(error).action is Action.RETRY
                if not is_limit or tried > _MOST_MISSED or stops():
                    if (found := form.find(batch.key, path)) is not None:
                        return found
                    raise
                logger.warning("a batch of %r is submitted again: %s", batch.model, describe(error))
            _sleep(self.poll_s, stops)

    def _ended(
        self, batches: Sequence[_Batch], stops: Callable[[], bool]
    ) -> Iterator[tuple[_Batch, BatchState, Iterator[LineResult]]]:
        """Yield each batch when it has ended and its results are available, with its final state and results.

        After ``stops`` returns true no more are yielded; a later run resumes them.
        """
        open_, total = list(batches), sum(len(batch.lines) for batch in batches)
        over = 0
        while open_:
            done = over
            for batch in list(open_):
                state, results = self._look(batch)
                done += state.done
                if state.is_over:
                    over += len(batch.lines)
                    open_.remove(batch)
                    yield batch, state, results
            if self.on_wait:
                self.on_wait(done, total)
            if not open_ or stops():
                return
            _sleep(self.poll_s, stops)

    def _look(self, batch: _Batch) -> tuple[BatchState, Iterator[LineResult]]:
        """Poll a batch, and begin to read its results if it has ended.

        A provider that is unreachable for a while counts as a batch in progress. So do results that are not available
        yet: if their lines were submitted again, they would be paid for twice.
        """
        assert batch.id is not None
        form = self.forms[batch.model]
        with self._asking(batch.model):
            try:
                state = form.state(batch.id)
                is_read = state.is_over and state.failure is None
                results = _begun(form.results(batch.id)) if is_read else iter(())
            except Exception as error:
                may_come = isinstance(error, ResultsNotThere) or rule_for(error).action is Action.RETRY
                self._missed[batch.key] += 1
                if not may_come or self._missed[batch.key] > _MOST_MISSED:
                    raise
                logger.warning("the batch %s cannot be read yet and is checked again: %s", batch.id, describe(error))
                return BatchState(False), iter(())
        self._missed.pop(batch.key, None)
        return state, results

    def _rest(self, batch: _Batch, results: Iterator[LineResult]) -> Iterator[LineResult]:
        with self._asking(batch.model):
            yield from results

    @contextmanager
    def _asking(self, model: str) -> Iterator[None]:
        """Convert errors of a provider's client to one sentence.

        Raises:
            GenerationError: From it.
        """
        try:
            yield
        except (BestRouteError, ImportError):
            raise
        except Exception as error:
            raise GenerationError(
                f"the batches of {model!r} cannot be handed in or read now: {describe(error)}; batches in progress are "
                f"recorded in {self.folder}; run the same command again to continue"
            ) from error

    def _read(
        self,
        batch: _Batch,
        run: _PendingDraws[J],
        state: BatchState,
        results: Iterator[LineResult],
        unwanted: list[int],
    ) -> Iterator[tuple[J, Sample | BaseException]]:
        """Yield the results of a batch's lines, except for samples that were stored before a crash.

        Lines that were answered and that nothing waits for are added to ``unwanted``, but for those that an earlier run
        has: it waited for them when it was killed, or their replies are kept.
        """
        form, skipped = self.forms[batch.model], run.delivered(batch)
        if (kept := run.kept_before(batch)) != batch.kept:
            self._note(replace(batch, kept=kept))
        missing = batch.open_places
        for result in self._rest(batch, results):
            place = _place(result, batch)
            if place is None or place not in missing:
                continue
            missing.remove(place)
            slot = batch.slot(place)
            if result.error is None and skipped[slot] > 0:
                skipped[slot] -= 1
            elif jobs := run.waiting[slot]:
                job = jobs.pop(0)
                outcome = _outcome(form, job, result, run.params)
                run.kept[slot] += isinstance(outcome, Sample)
                if self.replies is not None and result.reply is not None:  # paid for, whether it can be read or not
                    self.replies.keep(slot, LineResult("", result.reply))
                yield job, outcome
            elif result.error is None and not self._is_had(batch, place):
                unwanted.append(place)
        for place in sorted(missing):
            if jobs := run.waiting[batch.slot(place)]:
                yield jobs.pop(0), _unanswered(state)

    def _is_had(self, batch: _Batch, place: int) -> bool:
        """Return whether an earlier run has stored a line's sample."""
        if self.replies is not None:
            return self.replies.has(batch.slot(place))
        return batch.kept is not None and batch.kept[place] is not None

    def _file(self, batch: _Batch) -> Path:
        return self.folder / f"{batch.key}.jsonl"

    def _note(self, batch: _Batch) -> None:
        with atomic_file(self.folder / f"{batch.key}.json") as stream:
            stream.write(json.dumps(asdict(batch)).encode())

    def _drop(self, batch: _Batch) -> None:
        for end in ("json", "jsonl", "out"):
            (self.folder / f"{batch.key}.{end}").unlink(missing_ok=True)
        self._remove_empty()

    def _remove_empty(self) -> None:
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def folder_of(out: Path) -> Path:
    """Return the folder of unfinished batches."""
    return out.with_name(f"{out.name}.batches")


def are_under_way(out: Path) -> bool:
    """Return whether an earlier run left batches, whose positions other draws would take."""
    return any(folder_of(out).glob("*.json"))


def _slot_of(job: BatchJob) -> Slot:
    return job.key, job.model, job.is_greedy


def _place(result: LineResult, batch: _Batch) -> int | None:
    key, _, number = result.custom_id.rpartition("-")
    is_one = key == batch.key and number.isdecimal() and len(number) <= len(str(len(batch.lines)))
    return int(number) if is_one and int(number) < len(batch.lines) else None


def _begun(results: Iterator[LineResult]) -> Iterator[LineResult]:
    """Request the first result, so that a missing file is reported before any result is used."""
    first = next(results, None)
    return iter(()) if first is None else chain((first,), results)


def _outcome(form: BatchForm, job: BatchJob, result: LineResult, params: Mapping[str, Any]) -> Sample | BaseException:
    if result.error is not None or result.reply is None:
        return result.error or BatchLineError("the line has no reply", code="no_answer")
    try:
        return form.sample(result.reply, job.query, form.request(job.query, job.sampling(params)))
    except Exception as error:
        return error


def _unanswered(state: BatchState) -> BatchLineError:
    """Return the error of a line without a result."""
    if state.failure is not None:
        return BatchLineError(f"the batch was refused: {state.failure}", status_code=429 if state.is_full else 400)
    if state.is_cancelled:
        return BatchLineError("the batch was cancelled before this line; the same command asks again")
    return BatchLineError("the batch ended without an answer to this line", code="no_answer")


def _is_worth_another_try(outcome: Sample | BaseException) -> bool:
    return isinstance(outcome, BatchLineError) and outcome.is_worth_another_try


def _sleep(seconds: float, stops: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stops() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
