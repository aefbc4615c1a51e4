"""Samples as child runs of type *chain*, for who wants to see every draw in a trace.

Never chat-model runs: those would be counted twice and streamed to the user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManager, CallbackManagerForLLMRun

from bestroute.protocols import Sample

_MANAGER: ContextVar[CallbackManager | None] = ContextVar("bestroute_samples", default=None)


def children_of(
    run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None, *, wanted: bool
) -> AbstractContextManager[None]:
    """Make every sample drawn inside a child of a chat-model run, if wanted; handlers that only await are left out."""
    return nullcontext() if run is None or not wanted else _children(run)


@contextmanager
def _children(run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun) -> Iterator[None]:
    handlers = [handler for handler in run.inheritable_handlers if not _only_awaits(handler)]
    manager = CallbackManager(
        handlers,
        inheritable_handlers=handlers,
        parent_run_id=run.run_id,
        tags=run.inheritable_tags,
        metadata=run.inheritable_metadata,
    )
    token = _MANAGER.set(manager)
    try:
        yield
    finally:
        _MANAGER.reset(token)


class SampleRun:
    """The run of one call for samples; nothing where none is wanted."""

    def __init__(self, model: str, text: str) -> None:
        """Start it."""
        manager = _MANAGER.get()
        self._run = None
        if manager is not None:
            self._run = manager.on_chain_start(None, {"query": text, "model": model}, name=f"sample of {model}")

    def end(self, samples: list[Sample]) -> None:
        """Tell what came, as plain texts: a message object would be taken for the answer."""
        if self._run is not None:
            told = [{"text": s.text, "flaw": s.flaw, "finish_reason": s.finish_reason} for s in samples]
            self._run.on_chain_end({"samples": told})

    def fail(self, error: BaseException) -> None:
        """Tell what went wrong."""
        if self._run is not None:
            self._run.on_chain_error(error)


def _only_awaits(handler: object) -> bool:
    from langchain_core.callbacks import AsyncCallbackHandler

    return isinstance(handler, AsyncCallbackHandler)
