"""The live members that a command calls, and an orderly stop at Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError, named

if TYPE_CHECKING:
    from bestroute.types.pool import Pool
    from bestroute.types.protocols import Generator
    from bestroute.types.sample import Cancel


@contextlib.contextmanager
def live_generators(
    pool: Pool, gguf: tuple[str, ...], base_url: str | None = None, *, only: Sequence[str] = ()
) -> Iterator[Mapping[str, Generator]]:
    """Make the generators of the pool, or of ``only`` some members; those in ``gguf`` (``MODEL=PATH``) are served here.

    Raises:
        ConfigError: If a member has no address.
    """
    from bestroute.generators.local_server import LocalServer
    from bestroute.generators.openai import generators_from

    with contextlib.ExitStack() as stack:
        urls = {} if base_url is None else dict.fromkeys(pool.models, base_url)
        for spec in gguf:
            model, _, path = spec.partition("=")
            if not path:
                raise ConfigError(f"--gguf must be MODEL=PATH, got {spec!r}")
            pool.check_model(model)
            if only and model not in only:
                continue
            urls[model] = stack.enter_context(LocalServer(path)).base_url
        served = {*urls, *(m for m in pool.models if pool.endpoint(m).base_url or pool.endpoint(m).api_key_env)}
        missing = [model for model in only or pool.models if model not in served]
        if missing and not os.environ.get("OPENAI_API_KEY"):
            raise ConfigError(
                f"no address is known for {named(missing)}; give --gguf MODEL=PATH, a base_url, or set OPENAI_API_KEY"
            )
        generators = generators_from(pool, base_urls=urls, only=only)
        for generator in generators.values():
            stack.callback(generator.close)
        yield generators


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[Cancel]:
    """Request an orderly stop at the first Ctrl-C; the second one interrupts."""
    from bestroute.types.sample import Cancel

    stop = Cancel()

    def handle(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        print_line("stopping after the draws in progress; press Ctrl-C again to interrupt", err=True)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
