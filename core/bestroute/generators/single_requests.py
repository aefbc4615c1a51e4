"""Draw several samples by one request each; samples are kept if others fail or the draw is cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from bestroute._utils.interruptions import is_interruption, keep_samples, samples_of
from bestroute.errors import DrawCancelledError
from bestroute.faults.paid_errors import sample_of_error
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Sample
from bestroute.types.usage import Usage


def draw_singly(draw: Callable[[], Sequence[Sample]], n: int, *, query: Query, cancel: Cancel) -> list[Sample]:
    """Return the samples of ``n`` consecutive requests; a failed one yields its error.

    Args:
        draw: Makes one request for one sample.
        n: Number of requests.
        query: The query.
        cancel: The call's cancellation; once set, no further request is made.

    Raises:
        KeyboardInterrupt: With what came, which is to be billed; see ``samples_of``.
    """
    samples: list[Sample] = []
    for request in range(n):
        if cancel.is_set:
            break
        try:
            drawn = draw()
        except BaseException as error:
            if is_interruption(error):
                keep_samples(error, with_cut(samples, n, query))
                raise
            drawn = [sample_of_error(error)]
        samples += [replace(sample, request=request) for sample in drawn]
    return samples


async def adraw_singly(draw: Callable[[], Awaitable[Sequence[Sample]]], n: int, *, query: Query) -> list[Sample]:
    """Return the samples of ``n`` concurrent requests; see ``draw_singly``.

    Raises:
        CancelledError: With what came, which is to be billed; see ``samples_of``.
    """
    import asyncio

    found: list[Sequence[Sample]] = [with_cut([], 1, query)] * n

    async def ask(request: int) -> None:
        try:
            drawn = await draw()
        except BaseException as error:
            if is_interruption(error):
                found[request] = samples_of(error) or found[request]
                raise
            drawn = [sample_of_error(error)]
        found[request] = drawn

    def numbered() -> list[Sample]:
        return [replace(sample, request=i) for i, samples in enumerate(found) for sample in samples]

    try:
        await asyncio.gather(*map(ask, range(n)))
    except BaseException as interruption:
        keep_samples(interruption, numbered())
        raise
    return numbered()


def with_cut(samples: Sequence[Sample], n: int, query: Query) -> list[Sample]:
    """Return the samples that arrived before a draw of ``n`` was cancelled, and the bills of the others.

    The next prompt was sent and is billed as an estimate; later ones were never sent.
    """
    error = DrawCancelledError("the draw was cancelled before its answer arrived")
    request = samples[-1].request + 1 if samples else 0
    sent = Sample("", usage=Usage(query.prompt_tokens, 0, estimated=True), error=error, request=request)
    unsent = Sample("", usage=Usage(estimated=True), error=error, request=request)
    return [*samples, *[sent, *[unsent] * n][: max(0, n - len(samples))]]
