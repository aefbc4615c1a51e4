"""The command line: parse, call one public function, print. Results to stdout, progress to stderr."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bestroute._version import __version__
from bestroute.errors import BestRouteError, ConfigError

if TYPE_CHECKING:
    from bestroute.pool import Pool
    from bestroute.protocols import Cancel, Generator

BAD_INPUT = 2
_FILE = click.Path(path_type=Path, dir_okay=False)


class _Commands(click.Group):
    """Turns every error of our tree into one sentence on stderr and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (BestRouteError, ImportError) as error:
            _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    click.echo(f"bestroute: {error}", err=True)
    sys.exit(BAD_INPUT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bestroute")
def main() -> None:
    """Route each query to the right model and number of samples, and prove what that saved."""


@main.command()
@click.argument("prompts", type=_FILE)
@click.option("--pool", "pool_path", type=_FILE, required=True, help="The pool, a YAML file.")
@click.option("--n", type=int, required=True, help="Samples wanted of each model for each prompt.")
@click.option("--out", type=_FILE, required=True, help="Records file, .jsonl or .jsonl.gz; resumed if it exists.")
@click.option("--checker", metavar="MODULE:FUNCTION", help="fn(prompt, text) -> quality in [0, 1].")
@click.option("--temperature", type=float, help="Wins over the pool's.")
@click.option("--concurrency", type=int, default=4, show_default=True, help="Draws under way at once.")
@click.option("--limit", type=int, help="Only the first so many prompts.")
@click.option("--gguf", multiple=True, metavar="MODEL=PATH", help="Serve this member from a GGUF file on this machine.")
def collect(
    prompts: Path,
    pool_path: Path,
    n: int,
    out: Path,
    checker: str | None,
    temperature: float | None,
    concurrency: int,
    limit: int | None,
    gguf: tuple[str, ...],
) -> None:
    """Sample every model of the pool on every prompt of PROMPTS.

    Ctrl-C stops after the draws under way; the same command goes on later. Nothing is lost or drawn twice.
    """
    from tqdm import tqdm

    from bestroute.collect import collect as collect_records
    from bestroute.collect import load_checker, read_prompts
    from bestroute.pool import Pool

    sys.path.insert(0, "")  # a checker usually lies in the working folder
    asked = read_prompts(prompts)[:limit]
    pool = Pool.from_file(pool_path)
    fn = load_checker(checker) if checker else None
    params = {} if temperature is None else {"temperature": temperature}
    with live_generators(pool, gguf) as generators, _stop_on_interrupt() as stop, tqdm(unit="sample") as bar:

        def show(there: int, wanted: int) -> None:
            bar.total = wanted
            bar.update(there - bar.n)

        done = collect_records(
            asked,
            pool,
            generators,
            out,
            n=n,
            checker=fn,
            params=params,
            concurrency=concurrency,
            on_sample=show,
            stop=stop,
        )
    click.echo(f"{out}: {done.kept} samples kept, {done.drawn} drawn, {done.missing} to be drawn")
    for failure in done.failures:
        click.echo(f"failed: {failure}", err=True)
    if done.failures:
        sys.exit(1)


@contextlib.contextmanager
def live_generators(pool: Pool, gguf: tuple[str, ...]) -> Iterator[Mapping[str, Generator]]:
    """Make the pool's generators, serving the members named in ``gguf`` (``MODEL=PATH``) from this machine."""
    from bestroute.local import LocalServer
    from bestroute.openai_generator import generators_from

    with contextlib.ExitStack() as stack:
        urls = {}
        for spec in gguf:
            model, _, path = spec.partition("=")
            if not path:
                raise ConfigError(f"--gguf is written MODEL=PATH, got {spec!r}")
            server = stack.enter_context(LocalServer(path))
            urls[pool.check_model(model)] = server.base_url
        yield generators_from(pool, base_urls=urls)


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[Cancel]:
    """Ask for an orderly stop at the first Ctrl-C; the second one interrupts."""
    from bestroute.protocols import Cancel

    stop = Cancel()

    def handle(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        click.echo("stopping after the draws under way; Ctrl-C again to interrupt", err=True)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
