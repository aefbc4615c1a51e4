"""What callbacks see of the inside of a call: samples as child runs of type *chain*, and no stranger's words.

Samples are never chat-model runs: those would be counted twice and streamed to the user. A router or reward model that
asks a chat model of its own is traced below the caller, as usual, but what it says is not streamed to the user.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, aclosing, closing, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManager, CallbackManagerForLLMRun
from langchain_core.runnables.config import RunnableConfig, ensure_config, var_child_runnable_config
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from bestroute.types.sample import Sample

Piece = TypeVar("Piece")
_AS_IT_IS = nullcontext()
_OF_STREAMS: dict[str, CallbackManager] = {}
"""By the run's id."""
_MANAGER: ContextVar[CallbackManager | None] = ContextVar("bestroute_samples", default=None)


def manager_of(
    run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None, *, wanted: bool
) -> CallbackManager | None:
    """Return what makes samples children of a chat-model run, if wanted; handlers that only await are left out."""
    if run is None or not wanted:
        return None
    handlers = [handler for handler in run.inheritable_handlers if not _only_awaits(handler)]
    return CallbackManager(
        handlers,
        inheritable_handlers=handlers,
        parent_run_id=run.run_id,
        tags=run.inheritable_tags,
        metadata=run.inheritable_metadata,
    )


@contextmanager
def stream_manager(config: RunnableConfig, run_id: str, *, wanted: bool) -> Iterator[RunnableConfig]:
    """Keep what makes samples children of a stream's run, which LangChain does not hand on; yield its configuration.

    The configuration holds the handlers as objects, so that LangChain makes none anew: a child is known to a handler
    that knows its parent.
    """
    if not wanted:
        yield config
        return
    config = {**ensure_config(config), "run_id": config["run_id"]}
    configured = CallbackManager.configure(config.get("callbacks"))
    handlers = [handler for handler in configured.inheritable_handlers if not _only_awaits(handler)]
    _OF_STREAMS[run_id] = CallbackManager(
        handlers,
        inheritable_handlers=handlers,
        parent_run_id=config["run_id"],
        tags=config.get("tags"),
        metadata=config.get("metadata"),
    )
    try:
        yield {**config, "callbacks": configured}
    finally:
        _OF_STREAMS.pop(run_id, None)


def manager_of_stream(
    run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None, run_id: str | None, *, wanted: bool
) -> CallbackManager | None:
    """Return the same for a stream, whose run is handed on only where it is a part of ``invoke``."""
    return manager_of(run, wanted=wanted) if run is not None else _OF_STREAMS.get(run_id or "")


def inside(manager: CallbackManager | None) -> AbstractContextManager[None]:
    """Hide from who streams the caller's run what is invoked inside; make samples child runs where wanted."""
    return _not_streamed() if manager is None else _children(manager)


@contextmanager
def _children(manager: CallbackManager) -> Iterator[None]:
    with _not_streamed():
        token = _MANAGER.set(manager)
        try:
            yield
        finally:
            _MANAGER.reset(token)


@contextmanager
def without_children() -> Iterator[None]:
    """Make no child runs of what is drawn inside: who draws has made one."""
    token = _MANAGER.set(None)
    try:
        yield
    finally:
        _MANAGER.reset(token)


def _not_streamed() -> AbstractContextManager[None]:
    """Hide from who streams the caller's run (LangGraph, ``astream_events``) what is invoked inside."""
    config = var_child_runnable_config.get()
    callbacks = None if config is None else config.get("callbacks")
    if config is None or callbacks is None:
        return _AS_IT_IS
    handlers = callbacks if isinstance(callbacks, list) else callbacks.handlers
    is_streamed = any(isinstance(handler, _StreamingCallbackHandler) for handler in handlers)
    return _with_callbacks(config, _without_streams(callbacks)) if is_streamed else _AS_IT_IS


@contextmanager
def _with_callbacks(config: RunnableConfig, callbacks: Any) -> Iterator[None]:
    token = var_child_runnable_config.set({**config, "callbacks": callbacks})
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def _without_streams(callbacks: Any) -> Any:
    if isinstance(callbacks, list):
        return [handler for handler in callbacks if not isinstance(handler, _StreamingCallbackHandler)]
    manager = callbacks.copy()
    for handler in callbacks.handlers:
        if isinstance(handler, _StreamingCallbackHandler):
            manager.remove_handler(handler)
    return manager


def none_streamed(pieces: Iterator[Piece], manager: CallbackManager | None) -> Iterator[Piece]:
    """Yield pieces made ``inside``; the caller's own context stays as it is."""
    with closing(pieces):  # type: ignore[type-var]
        while True:
            with inside(manager):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece


async def anone_streamed(pieces: AsyncIterator[Piece], manager: CallbackManager | None) -> AsyncIterator[Piece]:
    """Yield pieces made ``inside``; see ``none_streamed``."""
    async with aclosing(pieces):  # type: ignore[type-var]
        while True:
            with inside(manager):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece


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
            outputs = [{"text": s.text, "flaw": s.flaw, "finish_reason": s.finish_reason} for s in samples]
            self._run.on_chain_end({"samples": outputs})

    def fail(self, error: BaseException) -> None:
        """Tell what went wrong."""
        if self._run is not None:
            self._run.on_chain_error(error)


def _only_awaits(handler: object) -> bool:
    from langchain_core.callbacks import AsyncCallbackHandler

    return isinstance(handler, AsyncCallbackHandler)
