"""Run the application: the socket, the worker processes, and shutdown."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestroute.errors import ConfigError
from bestroute.server.app import create_app
from bestroute.server.config import ServerConfig, read_config

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

logger = logging.getLogger("bestroute.server")

_WATCH_S = 0.5
_AGAIN_S = 0.1
"""Delay before a signal is sent again that arrived before uvicorn had its handlers."""
_LONGEST_HEAD = 64 * 1024
"""Most bytes of a request's line and headers."""
_KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, so that none is closed during a request."""


def serve(path: Path | None, flags: Mapping[str, Any], announce: Callable[[str], object]) -> None:
    """Serve until SIGTERM, SIGINT or (unless it is ignored) SIGHUP, then finish the calls in progress.

    Args:
        path: The configuration.
        flags: Values that override it.
        announce: Called with the address and the model names once the server listens.

    Raises:
        ConfigError: If the configuration is invalid, or the address is in use.
    """
    config = read_config(path, flags)
    app = create_app(config)
    names = ", ".join(app.state.service.engines.names)
    listening = _listen(config)
    host, port = listening.getsockname()[:2]
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1 serves {names}"
    try:
        if config.workers == 1:
            announce(where)
            _run(app, config, listening)
        else:
            app.state.service.close()
            _Workers(config.workers, (path, dict(flags), listening)).run(lambda: announce(where))
    finally:
        listening.close()


def _work(path: Path | None, flags: Mapping[str, Any], listening: socket.socket) -> None:
    """Run one of several workers, until it is stopped or its supervisor is gone."""
    threading.Thread(target=_end_with_parent, name="bestroute-parent", daemon=True).start()
    config = read_config(path, flags)
    _run(create_app(config), config, listening)


def _end_with_parent() -> None:
    """Stop in order once the supervisor is gone: nothing else would ever stop this process."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        _stop()


def _stop(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _run(app: Starlette, config: ServerConfig, listening: socket.socket) -> None:
    import uvicorn

    gc.collect()
    gc.freeze()  # objects alive now stay; collecting them repeatedly would delay calls
    server = uvicorn.Server(_uvicorn(app, config))

    def stop_once_it_runs(*_: object) -> None:
        if not server.should_exit:  # otherwise uvicorn has stopped, and raises the signal again that stopped it
            timer = threading.Timer(_AGAIN_S, _stop)
            timer.daemon = True
            timer.start()

    with _hang_up(_stop), _signals(stop_once_it_runs):
        server.run(sockets=[listening])


class _Workers:
    """Worker processes that serve one socket; one that ends unexpectedly is restarted.

    Args:
        count: How many.
        arguments: Of each.
    """

    def __init__(self, count: int, arguments: tuple[Any, ...]) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._arguments = arguments
        self._processes = [self._start() for _ in range(count)]
        self._is_stopping = threading.Event()

    def run(self, begun: Callable[[], object]) -> None:
        """Supervise them until a signal, then wait for them."""
        with _hang_up(self._stop), _signals(self._stop):
            begun()
            while not self._is_stopping.wait(_WATCH_S):
                for place, process in enumerate(self._processes):
                    if not process.is_alive():
                        logger.error("a worker ended by itself (%s) and is started again", process.exitcode)
                        self._processes[place] = self._start()
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                process.join()

    def _stop(self, *_: object) -> None:
        self._is_stopping.set()

    def _start(self) -> Any:
        process = self._context.Process(target=_work, args=self._arguments)
        process.start()
        return process


@contextmanager
def _signals(handler: Any) -> Iterator[None]:
    """Return a context with another handler for the signals that stop a process."""
    with _handled((signal.SIGTERM, signal.SIGINT), handler):
        yield


@contextmanager
def _hang_up(handler: Any) -> Iterator[None]:
    """Return a context with another handler for SIGHUP, unless it is ignored (``nohup``)."""
    number = getattr(signal, "SIGHUP", None)  # not on Windows
    is_ignored = number is None or signal.getsignal(number) is signal.SIG_IGN
    with _handled(() if is_ignored else (number,), handler):
        yield


@contextmanager
def _handled(numbers: tuple[Any, ...], handler: Any) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _uvicorn(app: Starlette, config: ServerConfig) -> uvicorn.Config:
    import uvicorn

    return uvicorn.Config(
        app,
        loop="auto",  # uvloop, where it is installed
        http="h11",  # which has a limit for the length of headers
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(config.stop_s)),
        backlog=2048,
    )


def _listen(config: ServerConfig) -> socket.socket:
    """Return a socket that listens on the configured address.

    Raises:
        ConfigError: If the address is in use, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # named, or asyncio leaves Nagle's delay on
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}; choose another host or port"
        ) from error
    return listening
