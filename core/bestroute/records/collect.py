"""Collect records: sample every model on every prompt; resumable without losing or repeating a draw."""

from __future__ import annotations

import importlib
import json
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bestroute._utils.interruptions import is_interruption
from bestroute._utils.text import brief
from bestroute._utils.under_way import ended
from bestroute.billing.sample_bills import bill
from bestroute.errors import BestRouteError, ConfigError, GenerationError, RecordError, named
from bestroute.errors.held_secrets import keep_hidden
from bestroute.errors.plain_functions import check_plain
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.faults.error_rules import rule_for
from bestroute.faults.paid_errors import sample_of_error
from bestroute.faults.refusals import refused_option
from bestroute.records.chats import call_params, check_chat, query_of, reply_text
from bestroute.records.draw_costs import CostEstimate, estimated_cost
from bestroute.records.journal import Journal
from bestroute.records.jsonl import LineSize, dump_line, read_jsonl
from bestroute.records.recorded_signals import FIELDS, signals_fields
from bestroute.records.records import (
    GreedySample,
    ModelSamples,
    Record,
    extra_fields,
    parse_head,
    read_records,
    write_records,
)
from bestroute.types.pool import Pool
from bestroute.types.protocols import Generator
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Sample
from bestroute.types.signals import Signals
from bestroute.types.usage import Usage

logger = logging.getLogger(__name__)

Checker = Callable[[Mapping[str, Any], str], float]
"""``fn(prompt, text)`` -> quality in [0, 1]."""


@dataclass(frozen=True)
class Prompt:
    """One line of a prompts file."""

    id: str
    query: str
    group: str
    task: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The whole line, as passed to the checker."""


@dataclass(frozen=True)
class Collected:
    """The outcome of a run of ``collect``."""

    drawn: int
    """Samples drawn in this run, including greedy answers."""
    kept: int
    """Samples from earlier runs."""
    missing: int
    """Samples still to draw."""
    failures: tuple[str, ...] = ()
    """Distinct failures, with their counts."""
    unjudged: int = 0
    """Requested samples without a quality; a later run with a checker judges them."""
    cost_usd: Mapping[str, float] = field(default_factory=dict)
    """Cost of this run's draws by model, USD, including failed draws that a provider billed."""


def read_prompts(path: Path | str) -> list[Prompt]:
    """Read a prompts file, with ``{"id", "query", "group", "task", ...}`` per line; chats have ``messages``, ``tools``.

    Raises:
        RecordError: At the first bad line or repeated id; names file, line and field.
    """
    prompts: dict[str, Prompt] = {}
    for number, prompt in numbered_prompts(path):
        if prompt.id in prompts:
            raise RecordError(f"{path} line {number}: 'id' {brief(prompt.id)} was used before")
        prompts[prompt.id] = prompt
    if not prompts:
        raise RecordError(f"{path}: holds no prompts")
    return list(prompts.values())


def numbered_prompts(path: Path | str) -> Iterator[tuple[int, Prompt]]:
    """Yield prompts with their line numbers, one at a time; ids may be repeated.

    Raises:
        RecordError: At the first bad line; names file, line and field.
    """
    for number, value in read_jsonl(Path(path)):
        where = f"{path} line {number}"
        head = parse_head(value, where)
        check_chat(value, where)
        yield number, Prompt(**head, fields={**value, "query": head["query"]})


def load_checker(spec: str) -> Checker:
    """Import a checker given as ``module:function``.

    Raises:
        ConfigError: If it is not of that form, cannot be imported, or is async.
    """
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ConfigError(f"a checker is written module:function, got {brief(spec)}")
    try:
        checker = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import the checker {spec!r}: {error}") from error
    if not callable(checker):
        raise ConfigError(f"the checker {spec!r} is not a function")
    check_plain(f"the checker {spec!r}", checker)
    return checker  # type: ignore[no-any-return]


def collect(
    prompts: Sequence[Prompt],
    pool: Pool,
    generators: Mapping[str, Generator],
    out: Path | str,
    *,
    n: int,
    checker: Checker | None = None,
    params: Mapping[str, Any] | None = None,
    concurrency: int = 4,
    greedy: bool = False,
    on_sample: Callable[[int, int], None] | None = None,
    stop: Cancel | None = None,
    drawer: Drawer | None = None,
    on_estimate: Callable[[CostEstimate], object] | None = None,
) -> Collected:
    """Draw until every model of the pool has ``n`` samples of every prompt.

    Each sample is appended to a journal (``<out>.journal``) and flushed to disk when it arrives. At the end, also after
    an interrupt, the journal is merged into ``out`` atomically. A later run continues where this one stopped, possibly
    with a larger ``n`` or more prompts. Samples are drawn one per call, so that the tokens of each are known. Failed
    draws are reported and left to the next run. A model that cannot be reached as configured (no connection, a rejected
    key, an unknown name) is not called again in this run.

    Without a checker, samples get the quality ``null``; a run with a checker judges those first. Log-probabilities are
    stored with the sample; ``logprobs: true`` in the pool requests them.

    Args:
        prompts: The prompts.
        pool: The models to sample, and their prices.
        generators: A generator for each model of the pool.
        out: The records file, ``.jsonl`` or ``.jsonl.gz``; may have earlier samples.
        n: Number of samples of each model.
        checker: Returns the quality of a sample; without one, quality stays ``null``.
        params: Call parameters for all models; they override the pool's, and are stored in each record.
        concurrency: Draws in parallel.
        greedy: Whether to draw an answer at temperature 0 as well, of every model that takes a temperature.
        on_sample: Called with (samples present, samples requested) at the start and after each draw.
        stop: Once set, no further draw starts; those in progress are finished and kept.
        on_estimate: Called before the first draw with the estimated cost of all draws.
        drawer: Makes the draws in another way (``generators.batches``); default: single calls in parallel.

    Raises:
        ConfigError: If ``n < 1``, a generator is missing, ``out`` was drawn with other parameters, or another
            process is collecting into it.
    """
    _check(n, concurrency, pool, generators)
    keep_hidden(generators.values())
    store = _Store(Path(out), pool, dict(params or {}), prompts)
    try:
        todo = [
            job
            for prompt in prompts
            for model in pool.models
            for job in (
                *(Job(prompt, model, at=at) for at in range(len(store.rows[prompt.id, model]), n)),
                *[Job(prompt, model, is_greedy=True)] * (greedy and (prompt.id, model) not in store.greedy),
            )
        ]
        wanted = len(prompts) * len(pool.models) * (n + greedy)
        kept = wanted - len(todo)
        failures, drawn, spent = _Failures(), 0, dict.fromkeys(pool.models, 0.0)
        judge = _Judge(checker)
        outside = stop or Cancel()

        def stops() -> bool:
            return outside.is_set or judge.failure is not None or failures.no_client

        def may_draw(job: Job) -> bool:
            return failures.may_draw(job) and (store.has_room(job, concurrency) or failures.full(job))

        if checker is not None:
            _judge_waiting(store, judge, stops)
        report = on_sample or _say_nothing
        (on_estimate or _say_nothing)(_estimate(store, todo))
        report(kept, wanted)
        draw_all = drawer or partial(_draw_all, generators, concurrency)
        for job, outcome in draw_all(filter(may_draw, todo), params or {}, stops):
            if isinstance(outcome, Sample):
                spent[job.model] += store.cost_of(job, outcome)
                _keep(store, judge, job, outcome)
                failures.answered(job.model)
                drawn += 1
            else:
                spent[job.model] += store.cost_of(job, sample_of_error(outcome))
                failures.add(job, outcome)
            report(kept + drawn, wanted)
        without = sum(job.is_greedy and job.model in failures.not_greedy for job in todo)
    finally:
        store.fold()
    if judge.failure is not None:
        raise judge.failure
    if failures.unreachable and not drawn:
        raise failures.not_reached()
    unjudged = sum(
        row["quality"] is None for p in prompts for m in pool.models for row in store.wanted(p.id, m, n, greedy)
    )
    return Collected(drawn, kept, wanted - without - kept - drawn, failures.listed(), unjudged, spent)


def _say_nothing(*_: object) -> None:
    """Do nothing: the default of progress callbacks."""


def _estimate(store: _Store, todo: Sequence[Job]) -> CostEstimate:
    """Estimate the cost of draws from the lengths of the answers so far."""
    models = store.pool.models
    return estimated_cost(
        store.pool,
        {model: [job.query.prompt_tokens for job in todo if job.model == model] for model in models},
        {
            model: [row["output_tokens"] for (_, m), rows in store.rows.items() if m == model for row in rows]
            for model in models
        },
        {model: store.sampling[model]["max_tokens"] for model in models},
    )


def _check(n: int, concurrency: int, pool: Pool, generators: Mapping[str, Generator]) -> None:
    if n < 1 or concurrency < 1:
        raise ConfigError(f"collect: n and concurrency must be >= 1, got n={n}, concurrency={concurrency}")
    if missing := [model for model in pool.models if model not in generators]:
        raise ConfigError(f"collect: no generator for {named(missing)}")


_UNREACHABLE = ("no client", "not allowed, or not there", "no connection, or no answer in time", "ours to fix")
"""Names of error rules that would hit every draw of a model that has not answered yet."""


class Job(NamedTuple):
    """A draw to make."""

    prompt: Prompt
    model: str
    is_greedy: bool = False
    at: int = 0
    """Number of earlier samples of its prompt and model."""

    @property
    def key(self) -> str:
        """Identifies it in batches, together with model and ``is_greedy``."""
        return self.prompt.id

    @property
    def query(self) -> Query:
        """Its query."""
        return _query(self.prompt)

    def sampling(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of its call: the prompt's, overridden by those of the run."""
        greedy = {"temperature": 0.0} if self.is_greedy else {}
        return {**call_params(self.prompt.fields), **params, **greedy}


class Drawer(Protocol):
    """Makes draws."""

    def __call__(
        self, todo: Iterable[Job], params: Mapping[str, Any], stops: Callable[[], bool]
    ) -> Iterator[tuple[Job, Sample | BaseException]]:
        """Yield each job with its sample or error; once ``stops`` returns true, start no more."""
        ...


class _Failures:
    """Failed draws, counted and logged once per kind, and models that cannot be reached as configured."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.unreachable: dict[str, BaseException] = {}
        self.not_greedy: set[str] = set()
        """Models that take no temperature, and so have no greedy answer."""
        self._answered: set[str] = set()

    @property
    def no_client(self) -> bool:
        """Whether a required library is missing, so that no draw can succeed."""
        return any(isinstance(error, ImportError) for error in self.unreachable.values())

    def answered(self, model: str) -> None:
        self._answered.add(model)
        self.unreachable.pop(model, None)

    def may_draw(self, job: Job) -> bool:
        return job.model not in self.unreachable and not (job.is_greedy and job.model in self.not_greedy)

    def add(self, job: Job, error: BaseException) -> None:
        prompt, model = job.prompt, job.model
        if job.is_greedy and refused_option(error, ["temperature"]):
            if model not in self.not_greedy:
                logger.warning("collect: %r takes no temperature of 0, so it has no greedy answer", model)
            self.not_greedy.add(model)
            return
        described = describe(hide_quotations(error, _query(prompt)))
        kind = f"{model!r}: {described}"
        self.counts[kind] += 1
        if model not in self._answered and rule_for(error).name in _UNREACHABLE:
            self.unreachable.setdefault(model, error)
        elif self.counts[kind] == 1:
            logger.warning("collect: a draw of %r for %r failed: %s", model, prompt.id, described)

    def full(self, job: Job) -> bool:
        """Count a draw that is not made because its record is full; returns ``False``."""
        self.counts[f"{job.model!r}: the record of {brief(job.prompt.id)} is full, so nothing was drawn"] += 1
        return False

    def listed(self) -> tuple[str, ...]:
        return tuple(f"{kind} ({times} times)" for kind, times in self.counts.items())

    def not_reached(self) -> BaseException:
        """Return the error of a run that could not draw anything."""
        model, error = next(iter(self.unreachable.items()))
        if isinstance(error, ImportError | BestRouteError):
            return error
        described = " ".join(describe(error).split())
        return GenerationError(
            f"{named(self.unreachable)} cannot be reached, so nothing was drawn ({model!r}: {described}); fix "
            "base_url, api_key_env or api_model in the pool file, or start the server"
        )


def _judge_waiting(store: _Store, judge: _Judge, stops: Callable[[], bool]) -> None:
    """Judge the samples from earlier runs that have no quality."""
    for place in store.unjudged():
        if stops():
            return
        store.judge(place, judge(store.prompts[place.id], store.row(place)["text"]))


def _keep(store: _Store, judge: _Judge, job: Job, sample: Sample) -> None:
    """Store a sample with its quality; without one if the checker is interrupted, since the sample is paid for."""
    quality = None
    try:
        quality = judge(job.prompt, reply_text(sample))
    finally:
        store.add(_row(job, sample, store.pool, quality), is_greedy=job.is_greedy)


def _draw_all(
    generators: Mapping[str, Generator],
    concurrency: int,
    todo: Iterable[Job],
    params: Mapping[str, Any],
    stops: Callable[[], bool],
) -> Iterator[tuple[Job, Sample | BaseException]]:
    """Draw with bounded concurrency; yield each job with its sample or error."""

    def draw(job: Job) -> Sample:
        sampling = job.sampling(params)
        sample = generators[job.model].generate(job.query, 1, params=sampling, cancel=Cancel())[0]
        if sample.error is not None:
            raise sample.error
        return sample

    for job, future in ended(draw, todo, concurrency, stops, name="bestroute-collect"):
        error = future.exception()
        yield job, future.result() if error is None else error


def _query(prompt: Prompt) -> Query:
    return query_of(prompt.query, prompt.fields)


def _row(job: Job, sample: Sample, pool: Pool, quality: float | None) -> dict[str, Any]:
    priced = bill(sample, model=job.model, step=0, query=_query(job.prompt), pool=pool)
    usage = priced.usage or Usage(estimated=True)
    return {
        "id": job.prompt.id,
        "model": job.model,
        "text": reply_text(sample),
        "quality": quality,
        "input_tokens": int(usage.input),
        "output_tokens": int(usage.output),
        "cost_usd": float(priced.cost_usd),
        "signals": _signals_of(sample.signals),
    }


def _signals_of(signals: Signals | None) -> dict[str, float | None] | None:
    """Return the signals to record; ``None`` if none of them is known."""
    fields = None if signals is None else signals_fields(signals)
    return fields if fields is not None and any(value is not None for value in fields.values()) else None


class _Judge:
    """Calls the checker; without one, or after it failed, quality is ``None``, and samples are still stored."""

    def __init__(self, checker: Checker | None) -> None:
        self.checker = checker
        self.failure: ConfigError | None = None

    def __call__(self, prompt: Prompt, text: str) -> float | None:
        if self.failure is None:
            try:
                return None if self.checker is None else _checked(self.checker, prompt, text)
            except ConfigError as error:
                self.failure = error
        return None


def _checked(checker: Checker, prompt: Prompt, text: str) -> float:
    """Call a user's checker and return a valid quality.

    Raises:
        ConfigError: If it fails or returns anything else; names the prompt.
    """
    try:
        quality = float(checker(prompt.fields, text))
    except BaseException as error:
        if is_interruption(error) and not isinstance(error, GeneratorExit):  # no generator is closed here
            raise
        failure = " ".join(describe(hide_quotations(error, _query(prompt))).split())
        raise ConfigError(f"the checker failed on prompt {brief(prompt.id)} ({failure}); fix it and resume") from error
    if not (math.isfinite(quality) and 0 <= quality <= 1):
        raise ConfigError(f"the checker must return a quality in [0, 1], got {quality} for prompt {brief(prompt.id)}")
    return quality


class _Slot(NamedTuple):
    """The position of a sample in the list of its prompt and model; -1 for their greedy answer."""

    id: str
    model: str
    at: int


_GREEDY = -1
_OF_NUMBERS = LineSize(1000, 50)
"""Most that a sample takes in a line besides its text."""


class _Store:
    """Samples by prompt and model: the union of ``out`` and its journal.

    A journal row has its position ``at`` in the list of its prompt and model, so that rows already merged into ``out``
    (if the process died before removing the journal) are recognised and not duplicated. A row that is judged later is
    appended again with its quality, and replaces the one without. The greedy answer of a prompt and model is stored
    separately.
    """

    def __init__(self, out: Path, pool: Pool, params: dict[str, Any], prompts: Sequence[Prompt]) -> None:
        self.out, self.pool, self.prompts = out, pool, {p.id: p for p in prompts}
        endpoints = {m: pool.endpoint(m) for m in pool.models}
        self.sampling = {
            m: {"temperature": e.temperature, "max_tokens": e.max_tokens, **params} for m, e in endpoints.items()
        }
        self.journal = Journal(out, "journal", doing="collecting")
        try:
            self._read()
        except BaseException:
            self.journal.close(() if self.journal.is_empty else None)
            raise
        if self.journal.is_empty:
            self.journal.append({"sampling": self.sampling})

    def add(self, row: dict[str, Any], *, is_greedy: bool) -> None:
        key = row["id"], row["model"]
        size = LineSize.of(dump_line(row))
        if self._sizes[row["id"]].plus(size).left == 0:
            room = self._sizes[row["id"]].plus(_OF_NUMBERS).left
            logger.warning("collect: a sample of %r for %r is too long for its record and is cut", *reversed(key))
            row = {**row, "text": row["text"][:room]}
            size = LineSize.of(dump_line(row))
        self._grow(row["id"], size)
        self.journal.append({**row, "at": _GREEDY if is_greedy else len(self.rows[key])})
        if is_greedy:
            self.greedy[key] = row
        else:
            self.rows[key].append(row)

    def cost_of(self, job: Job, sample: Sample) -> float:
        return bill(sample, model=job.model, step=0, query=_query(job.prompt), pool=self.pool).cost_usd

    def has_room(self, job: Job, concurrency: int) -> bool:
        """Return whether a record has room for another sample as large as its largest, besides those in progress."""
        used, largest = self._sizes[job.prompt.id], self._largest[job.prompt.id]
        return used.plus(largest, times=concurrency).plus(_OF_NUMBERS).left > 0

    def _grow(self, id_: str, size: LineSize) -> None:
        self._sizes[id_] = self._sizes[id_].plus(size)
        self._largest[id_] = LineSize(*map(max, self._largest[id_], size))

    def _measure(self) -> None:
        """Compute the sizes of the requested records; lines beyond the size limit could not be read again."""
        heads = ((p.id, {**p.fields, "sampling": self.sampling}) for p in self.prompts.values())
        self._sizes = {id_: LineSize.of(dump_line(head)).plus(_OF_NUMBERS) for id_, head in heads}
        self._largest = dict.fromkeys(self._sizes, LineSize(0, 0))
        drawn = [(id_, row) for (id_, _), rows in self.rows.items() for row in rows]
        for id_, row in [*drawn, *((id_, row) for (id_, _), row in self.greedy.items())]:
            if id_ in self._sizes:
                self._grow(id_, LineSize.of(dump_line(row)))

    def unjudged(self) -> list[_Slot]:
        """Return the slots of samples with a text but no quality, whose prompts are known."""
        drawn = [(key, at, row) for key, rows in self.rows.items() for at, row in enumerate(rows)]
        drawn += [(key, _GREEDY, row) for key, row in self.greedy.items()]
        return [
            _Slot(*key, at)
            for key, at, row in drawn
            if row["quality"] is None and row["text"] is not None and key[0] in self.prompts
        ]

    def row(self, place: _Slot) -> dict[str, Any]:
        key = place.id, place.model
        return self.greedy[key] if place.at == _GREEDY else self.rows[key][place.at]

    def judge(self, place: _Slot, quality: float | None) -> None:
        if quality is not None:
            self.row(place)["quality"] = quality
            self.journal.append({**self.row(place), **place._asdict()})

    def wanted(self, id_: str, model: str, n: int, greedy: bool) -> list[dict[str, Any]]:
        """Return the existing rows among the requested ones."""
        one = self.greedy.get((id_, model)) if greedy else None
        return [*self.rows[id_, model][:n], *([] if one is None else [one])]

    def fold(self) -> None:
        """Merge everything on disk into ``out``, then remove the journal.

        A greedy answer without any sample cannot be stored in ``out`` yet, and stays in the journal.
        """
        self._read()
        ids = dict.fromkeys([*self.before, *self.prompts])
        records = [record for id_ in ids if (record := self._record(id_)) is not None]
        if records:
            write_records(self.out, records)
        waiting = [{**row, "at": _GREEDY} for key, row in self.greedy.items() if not self.rows.get(key)]
        self.journal.close([{"sampling": self.sampling}, *waiting] if waiting else ())

    def _read(self) -> None:
        self.rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self.greedy: dict[tuple[str, str], dict[str, Any]] = {}
        self.before: dict[str, Record] = {r.id: r for r in read_records(self.out)} if self.out.exists() else {}
        for record in self.before.values():
            self._check(record.extra.get("sampling"), record.id)
            if record.id in self.prompts and record.query != self.prompts[record.id].query:
                raise ConfigError(
                    f"{self.out}: {record.id!r} has another query than the prompts file; give another --out"
                )
            for model, samples in record.samples.items():
                self.rows[record.id, model] = _as_rows(samples)
                if samples.greedy is not None:
                    self.greedy[record.id, model] = _as_row(samples.greedy)
        for number, row in self.journal.lines():
            if number == 1:
                self._check(row.get("sampling"), "the journal")
                continue
            self._take(row)
        self._measure()

    def _take(self, row: dict[str, Any]) -> None:
        """Add a row of the journal, unless it is already present."""
        key = row["id"], row["model"]
        rows = self.rows[key]
        if row["at"] == _GREEDY:
            if (self.greedy.get(key) or {}).get("quality") is None:
                self.greedy[key] = row
        elif len(rows) == row["at"]:
            rows.append(row)
        elif row["at"] < len(rows) and rows[row["at"]]["quality"] is None:
            rows[row["at"]] = row

    def _check(self, sampling: Any, what: str) -> None:
        for model, settings in (sampling or {}).items():
            if settings != self.sampling.get(model, settings):
                raise ConfigError(
                    f"{self.out}: {what} was drawn from {model!r} with {json.dumps(settings)}, but is now requested "
                    f"with {json.dumps(self.sampling[model])}; give the same parameters, or another --out"
                )

    def _record(self, id_: str) -> Record | None:
        models = dict.fromkeys([*self.pool.models, *(self.before[id_].samples if id_ in self.before else ())])
        samples = {m: _columns(rows, self.greedy.get((id_, m))) for m in models if (rows := self.rows.get((id_, m)))}
        if not samples:
            return None
        if (before := self.before.get(id_)) is not None:
            head, extra = before, before.extra
        else:
            prompt = self.prompts[id_]
            extra = {
                name: v for name, v in extra_fields(prompt.fields).items() if name != "prompt" or v != prompt.query
            }
            head = Record(prompt.id, prompt.query, {}, prompt.group, prompt.task)
        sampling = {**extra.get("sampling", {}), **self.sampling}
        return Record(head.id, head.query, samples, head.group, head.task, {**extra, "sampling": sampling})


def _columns(rows: Sequence[Mapping[str, Any]], greedy: Mapping[str, Any] | None) -> ModelSamples:
    def column(name: str) -> tuple[Any, ...] | None:
        values = tuple(row.get(name) for row in rows)
        return None if any(v is None for v in values) else values

    return ModelSamples(
        quality=tuple(row["quality"] for row in rows),
        text=column("text"),
        reward=column("reward"),
        input_tokens=rows[0]["input_tokens"],
        output_tokens=column("output_tokens"),
        cost_usd=column("cost_usd"),
        signals=tuple(_signals(row) or Signals() for row in rows) if any(map(_signals, rows)) else None,
        greedy=None if greedy is None else _greedy(greedy),
    )


_GREEDY_COLUMNS = ("text", "quality", "reward", "input_tokens", "output_tokens", "cost_usd")


def _greedy(row: Mapping[str, Any]) -> GreedySample:
    return GreedySample(**{name: row.get(name) for name in _GREEDY_COLUMNS}, signals=_signals(row))


def _as_row(greedy: GreedySample) -> dict[str, Any]:
    return {**{name: getattr(greedy, name) for name in _GREEDY_COLUMNS}, "signals": _signals_of(greedy.signals)}


def _signals(row: Mapping[str, Any]) -> Signals | None:
    columns = row.get("signals")
    return None if columns is None else Signals(**{name: columns[name] for name in FIELDS})


def _as_rows(samples: ModelSamples) -> list[dict[str, Any]]:
    columns = ("text", "quality", "reward", "output_tokens", "cost_usd")
    lists = {name: getattr(samples, name) or (None,) * samples.size for name in columns}
    signals = samples.signals or (None,) * samples.size
    return [
        {
            "input_tokens": samples.input_tokens,
            **{name: lists[name][i] for name in columns},
            "signals": _signals_of(signals[i]),
        }
        for i in range(samples.size)
    ]
