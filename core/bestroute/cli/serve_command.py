"""``bestroute serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bestroute.cli.paths import FILE
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError


@click.command(epilog="\b\nExample:\n  bestroute serve --config router.yaml --port 8000")
@click.option("--config", "path", type=FILE, help="The configuration, a YAML file; options override it.")
@click.option("--pool", help="The pool, a YAML file.")
@click.option("--router", help="The folder of a trained router.")
@click.option("--reward", help="majority, logprobs, agreement, confidence, or a trained reward model's folder.")
@click.option("--policy", metavar="KIND:VALUE", help="threshold:0.8, quality:0.02, max_drop:0.01, follow:0.01.")
@click.option("--ledger", envvar="BESTROUTE_LEDGER", show_envvar=True, help="A file, or a database's URL.")
@click.option("--budget", type=float, help="USD that all calls together may spend.")
@click.option("--audit", type=float, help="Share of calls that are audited by also asking the reference.")
@click.option(
    "--mode",
    type=click.Choice(["on", "shadow", "off"]),
    help="Whether decisions are followed (on), only logged (shadow), or not made (off).",
)
@click.option("--share", type=float, help="Share of conversations to which --mode applies.")
@click.option("--host", help="The address to listen on; default: 127.0.0.1.")
@click.option("--port", type=int, help="Default: 8000; 0 takes a free port.")
@click.option("--workers", type=int, help="Number of processes; more than one needs a ledger in a database.")
@click.option(
    "--new-key", metavar="NAME", help="Create an API key for a caller, print it with its configuration entry, and exit."
)
def serve(path: Path | None, new_key: str | None, **flags: Any) -> None:
    """Serve a pool through OpenAI's API: chat completions and responses.

    \b
    The configuration is YAML; relative paths are relative to it, and only pool is required:
      pool: pool.yaml
      router: router
      policy: max_drop:0.01
      ledger: bills.db
      budget: {usd: 20, per: day}

    Clients ask for the model auto (or auto-cheap, or a member by its name) at http://127.0.0.1:8000/v1; see
    docs/server.md. SIGTERM, SIGHUP and Ctrl-C stop the server after the requests in progress.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    from bestroute._utils.extras import need

    need("bestroute serve", "starlette", "uvicorn", "openai", extra="server")
    if new_key is not None:
        _print_key(new_key)
        return
    if path is None and flags["pool"] is None:
        raise ConfigError("give --config FILE, or --pool FILE")
    from bestroute.server.admission import is_loopback
    from bestroute.server.config import read_config
    from bestroute.server.serving import serve as run

    config = read_config(path, flags)
    if not config.keys and not is_loopback(config.host):
        print_line(
            f"bestroute: {config.host} can be reached from other machines, and no API keys are configured: anyone may "
            "send requests",
            err=True,
        )
    run(path, flags, lambda text: print_line(f"bestroute: {text}", err=True))


def _print_key(name: str) -> None:
    """Print a new key to stdout, and its configuration entry to stderr."""
    from bestroute.server.keys import ApiKey, hash_of, new_key

    key = new_key()
    entry = ApiKey(name, hash_of(key))
    print_line("this is the key; it is not stored anywhere:", err=True)
    print_line(key)
    print_line("add this under keys: in the configuration, optionally with budget: USD and per: day:", err=True)
    print_line(f"  - {{name: {entry.name}, sha256: {entry.sha256}}}", err=True)
