"""``bestroute serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bestroute.cli.paths import FILE
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError


@click.command(epilog="\b\nExample:\n  bestroute serve --config router.yaml --port 8000")
@click.option("--config", "path", type=FILE, help="The configuration, a YAML file; flags win over it.")
@click.option("--pool", help="The pool, a YAML file.")
@click.option("--router", help="The folder of a trained router.")
@click.option("--reward", help="majority, logprobs, agreement, confidence, or a trained reward model's folder.")
@click.option("--policy", metavar="KIND:VALUE", help="threshold:0.8, quality:0.02, max_drop:0.01, follow:0.01.")
@click.option("--ledger", envvar="BESTROUTE_LEDGER", show_envvar=True, help="A file, or a database's URL.")
@click.option("--budget", type=float, help="USD that all calls together may spend.")
@click.option("--audit", type=float, help="For which share of calls the reference is asked, too.")
@click.option("--mode", type=click.Choice(["on", "shadow", "off"]), help="What is done with decisions.")
@click.option("--share", type=float, help="Of conversations that the mode is for.")
@click.option("--host", help="The address to listen on; 127.0.0.1 by default.")
@click.option("--port", type=int, help="8000 by default; 0 takes a free one.")
@click.option("--workers", type=int, help="Processes; several need a ledger in a database.")
@click.option("--new-key", metavar="NAME", help="Make a key for a caller, print it and what to write of it, and end.")
def serve(path: Path | None, new_key: str | None, **flags: Any) -> None:
    """Serve a pool as OpenAI's API: chat completions and responses.

    \b
    A configuration, YAML; relative paths are relative to it, and only pool is needed:
      pool: pool.yaml
      router: router
      policy: max_drop:0.01
      ledger: bills.db
      budget: {usd: 20, per: day}

    Clients ask for the model auto (or auto-cheap, or a member by its name) at http://127.0.0.1:8000/v1; see
    docs/server.md. SIGTERM and Ctrl-C finish what is under way.
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
            f"bestroute: {config.host} is not this machine alone, and there are no keys: anybody may ask", err=True
        )
    run(path, flags, lambda text: print_line(f"bestroute: {text}", err=True))


def _print_key(name: str) -> None:
    """Print a new key to stdout, and how the configuration knows it to stderr."""
    from bestroute.server.keys import ApiKey, hash_of, new_key

    key = new_key()
    entry = ApiKey(name, hash_of(key))
    print_line("this is the key; it is kept nowhere:", err=True)
    print_line(key)
    print_line("and this goes under keys: in the configuration, with budget: USD and per: day if you like:", err=True)
    print_line(f"  - {{name: {entry.name}, sha256: {entry.sha256}}}", err=True)
