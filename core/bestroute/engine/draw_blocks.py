"""Draws of ``collect`` and ``label`` in a worker of a cluster: a block of them in, what each came to out.

A block that is handed out again finds what was drawn of it: a draw's bill is written, then the draw is kept under its
key, then it goes back. So nothing is lost with a machine, and nothing drawn anew but what was under way on it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

from bestroute._utils.interruptions import is_interruption
from bestroute.billing.ledger import Kind, Ledger
from bestroute.billing.sample_bills import bill
from bestroute.engine.bills import ledger_row
from bestroute.engine.kept_once import keep_billed
from bestroute.errors.held_secrets import keep_hidden
from bestroute.errors.redaction import hide_quotations
from bestroute.errors.sent_errors import as_data, of_data
from bestroute.faults.paid_errors import sample_of_error, usage_of_error
from bestroute.records.chats import reply_text
from bestroute.records.collect import Job, Prompt
from bestroute.types.pool import Pool
from bestroute.types.protocols import Generator
from bestroute.types.sample import Cancel, Sample
from bestroute.types.signals import Signals
from bestroute.types.usage import Usage

TAKEN: dict[str, Any] = {"taken": True}
"""Stands for a draw that was given to its command."""
_STOP = "-stop"


def stop_key(run: str) -> str:
    """Return the key under which a run is called off; no worker begins a draw once it is there."""
    return run + _STOP


@dataclass(frozen=True)
class DrawBlocks:
    """Draws blocks; a worker keeps what it needs for a run as long as it lives.

    Args:
        run: What the run is known by.
        make_generators: Makes the members, in the worker.
        pool: For their prices.
        store: The database of bills and draws, which every worker reaches.
        job: The bills' ``run_id``.
        kind: The bills' kind.
        concurrency: Draws under way at once in a worker.
    """

    run: str
    make_generators: Callable[[], Mapping[str, Generator]] = field(compare=False)
    pool: Pool = field(compare=False)
    store: str = field(compare=False)
    job: str = field(compare=False)
    kind: Kind = field(compare=False)
    concurrency: int = field(compare=False)

    def __call__(self, block: Mapping[str, Any]) -> list[dict[str, Any] | None]:
        """Draw a block: ``jobs``, as ``as_block`` makes them; ``None`` stands for what was called off.

        Nothing is raised: a worker that cannot draw says why of every draw.
        """
        jobs, params = block["jobs"], block["params"]
        try:
            draw = self.here().draw
        except Exception as error:
            return [_failed(error)] * len(jobs)
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="bestroute-draws") as threads:
            return list(threads.map(lambda job: draw(job, params), jobs))

    @cache  # noqa: B019  # as many as runs, and for as long as the worker
    def here(self) -> _Draws:
        """Return this process's."""
        return _Draws(self)


def job_data(job: Job, key: str) -> dict[str, Any]:
    """Return a draw as JSON, with the key under which it is kept."""
    return {"key": key, "prompt": {**asdict(replace(job.prompt, fields={})), "fields": dict(job.prompt.fields)}} | {
        "model": job.model,
        "is_greedy": job.is_greedy,
    }


def outcome_of(data: Mapping[str, Any]) -> Sample | BaseException:
    """Return what a draw came to, as the command reads it."""
    if "error" in data:
        error = of_data(data["error"])
        if data["usage"] is not None:
            vars(error)["usage"] = _in_a_providers_words(Usage(**data["usage"]))
        return error
    signals = data["signals"]
    return Sample(data["text"], usage=Usage(**data["usage"]), signals=None if signals is None else Signals(**signals))


class _Draws:
    """What a worker needs for a run."""

    def __init__(self, of: DrawBlocks) -> None:
        from bestroute.billing.database.kept_answers import Answers

        self.of, self.generators = of, of.make_generators()
        keep_hidden(self.generators.values())
        self.ledger, self.answers = Ledger(of.store), Answers(of.store)

    def close(self) -> None:
        self.ledger.close()
        self.answers.close()

    def draw(self, data: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Draw, unless that was done, or the run was called off."""
        key, stop = data["key"], stop_key(self.of.run)
        try:
            known = self.answers.found([key, stop])
        except Exception as error:  # what could not be kept is not drawn
            return _failed(error)
        if key in known:
            return known[key]
        if stop in known:
            return None
        job = Job(Prompt(**data["prompt"]), data["model"], data["is_greedy"])
        started = time.perf_counter()
        try:
            sample = self._ask(job, params)
        except BaseException as error:
            if is_interruption(error):
                raise
            sample = replace(sample_of_error(error), error=error)
        return self._billed(job, key, replace(sample, latency_s=time.perf_counter() - started))

    def _ask(self, job: Job, params: Mapping[str, Any]) -> Sample:
        member, sampling = self.generators[job.model], job.sampling(params)
        return member.generate(job.query, 1, params=sampling, cancel=Cancel())[0]

    def _billed(self, job: Job, key: str, sample: Sample) -> dict[str, Any]:
        """Write a draw's bill, keep the draw, and return it; one that failed is not kept, and may be drawn anew."""
        drawn = bill(sample, model=job.model, step=0, query=job.query, pool=self.of.pool)
        call_id = uuid.uuid4().hex
        row = ledger_row(
            drawn,
            job.query,
            call_id=call_id,
            run_id=self.of.job,
            decision=None,
            fell_back=(),
            tags={},
            kind=self.of.kind,
            attempt=1,
            attempt_id=f"{call_id}-1",
        )
        self.ledger.add([row])
        if sample.error is not None:
            return _failed(hide_quotations(sample.error, job.query))
        usage = asdict(drawn.usage or Usage(estimated=True))
        signals = None if sample.signals is None else asdict(sample.signals)
        return keep_billed(
            self.ledger, self.answers, key, {"text": reply_text(sample), "usage": usage, "signals": signals}
        )


def _failed(error: BaseException) -> dict[str, Any]:
    usage = usage_of_error(error)
    return {"error": as_data(error), "usage": None if usage is None else asdict(usage)}


def _in_a_providers_words(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": max(0, usage.input - usage.cached_input - usage.cache_write),
        "cache_read_input_tokens": usage.cached_input,
        "cache_creation_input_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
