"""How `collect` and `label` are told to draw by batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.generators.batches import BatchDraws, FormName
    from bestroute.types.pool import Pool
    from bestroute.types.protocols import Generator


@dataclass(frozen=True)
class Batching:
    """What was said of batches."""

    form: FormName | None
    command: str | None
    price: float | None
    poll_s: float

    def drawer(self, pool: Pool, generators: Mapping[str, Generator], out: Path) -> tuple[BatchDraws | None, Pool]:
        """Return what draws by batches, ``None`` if nothing does, and the pool as it charges for that.

        Args:
            pool: The pool.
            generators: Those of its members that draw.
            out: The file beside which batches stand.

        Raises:
            ConfigError: If batches are under way that this run would not read.
        """
        from bestroute.generators.batches import VLLM, BatchDraws, are_under_way, at_batch_prices, folder_of, form_of

        if self.form is None:
            if are_under_way(out):
                raise ConfigError(
                    f"{out}: batches of an earlier run are under way; give --batch, which reads them, or delete "
                    f"{folder_of(out)} if their answers are not wanted"
                )
            return None, pool
        forms = {model: form_of(generators[model], self.form, command=self.command or VLLM) for model in generators}  # type: ignore[arg-type]
        factors = {m: form.price_factor if self.price is None else self.price for m, form in forms.items()}
        return BatchDraws(forms, out, poll_s=self.poll_s, on_wait=_say), at_batch_prices(pool, factors)


def _say(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\rbatches: {done} of {total} lines done", nl=done == total, err=True)


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how batches are drawn; the command gets them as ``batching``."""

    @click.option(
        "--batch",
        "form",
        is_flag=False,
        flag_value="auto",
        type=click.Choice(["auto", "openai", "anthropic", "command"]),
        help="Ask by batch files; alone: Anthropic's form at its own address, OpenAI's elsewhere.",
    )
    @click.option("--batch-command", metavar="TEXT", help="For --batch command; default: vLLM's run-batch.")
    @click.option(
        "--batch-price", type=click.FloatRange(0.0), metavar="PART", help="Of the price; default: 0.5, of a command 1."
    )
    @click.option(
        "--poll", "poll_s", type=click.FloatRange(0.0), default=30.0, show_default=True, help="Seconds between looks."
    )
    @wraps(command)
    def run(
        *, form: FormName | None, batch_command: str | None, batch_price: float | None, poll_s: float, **rest: Any
    ) -> Any:
        if form is None and (batch_command is not None or batch_price is not None):
            raise ConfigError("--batch-command and --batch-price are for --batch")
        if batch_command is not None and form != "command":
            raise ConfigError("--batch-command is for --batch command")
        return command(batching=Batching(form, batch_command, batch_price, poll_s), **rest)

    return run
