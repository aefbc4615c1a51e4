"""The options of `collect`, `label` and `route` that say how draws are made: single calls, batch files or a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bestroute.cli.number_range import NumberRange
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.billing.ledger import Kind
    from bestroute.generators.batches import BatchDraws, FormName, KeptReplies
    from bestroute.records.collect import Drawer
    from bestroute.types.pool import Pool
    from bestroute.types.protocols import Generator


@dataclass(frozen=True)
class Drawing:
    """How draws are made: the values of the options below."""

    form: FormName | None = None
    command: str | None = None
    price: float | None = None
    poll_s: float = 30.0
    engine: str | None = None
    address: str | None = None
    ledger: str | None = None

    @property
    def option(self) -> str | None:
        """The option that replaces single calls; ``None`` if none was given."""
        return "--batch" if self.form is not None else None if self.engine is None else f"--engine {self.engine}"

    def check(self, gguf: tuple[str, ...]) -> None:
        """Check the options before anything is drawn.

        Raises:
            ConfigError: If an option needs another one that is missing, or two exclude each other.
            ImportError: If Ray is needed and not installed.
        """
        from bestroute._utils.extras import need
        from bestroute.billing.store_url import POSTGRES, store_url

        if self.form is None and (self.command is not None or self.price is not None):
            raise ConfigError("--batch-command and --batch-price are for --batch")
        if self.command is not None and self.form != "command":
            raise ConfigError("--batch-command is for --batch command")
        if self.engine is None:
            if self.address is not None or self.ledger is not None:
                raise ConfigError("--cluster and --ledger are for --engine ray")
            return
        if self.form is not None:
            raise ConfigError("--batch and --engine ray exclude each other: batch files go to the provider as a whole")
        if self.ledger is None or not store_url(self.ledger, "a ledger").startswith(POSTGRES):
            raise ConfigError(
                f"--engine ray needs a ledger that every machine can reach: --ledger {POSTGRES}user@host/name"
            )
        if gguf:
            raise ConfigError(
                "--gguf serves a model on this machine only; with --engine ray set base_url in the pool file"
            )
        need("--engine ray", "ray", extra="ray")

    def drawer(
        self, pool: Pool, generators: Mapping[str, Generator], out: Path, *, job: str, kind: Kind, concurrency: int
    ) -> tuple[Drawer | None, Pool]:
        """Return what replaces single calls (``None``: nothing does), and the pool at the prices that then apply.

        Args:
            pool: The pool.
            generators: Those of its members that draw.
            out: The output file; the state of unfinished draws is kept beside it.
            job: The ``run_id`` of the bills in the ledger.
            kind: The kind of those bills.
            concurrency: Draws in parallel; on a cluster, in each worker.

        Raises:
            ConfigError: If an earlier run left unfinished draws that this one would not pick up.
        """
        from bestroute.engine.cluster_draws import runs_file

        self.check_under_way(out)
        if self.engine is None and runs_file(out).exists():
            raise ConfigError(
                f"{out}: an earlier run on a cluster left draws in its ledger; add --engine ray to use them, or "
                f"delete {runs_file(out)} to discard them"
            )
        if self.form is not None:
            return self.by_batches(pool, generators, out)
        if self.engine is None:
            return None, pool
        return self._on_cluster(pool, tuple(generators), out, job=job, kind=kind, concurrency=concurrency), pool

    def check_under_way(self, out: Path) -> None:
        """Refuse to draw in another way while batches of an earlier run are unfinished.

        Raises:
            ConfigError: If there are any, and ``--batch`` was not given.
        """
        from bestroute.generators.batches import are_under_way, folder_of, replies_file

        if self.form is not None:
            return
        left = folder_of(out) if are_under_way(out) else replies_file(out)
        if left.exists():
            raise ConfigError(
                f"{out}: batches of an earlier run are unfinished; add --batch to use them, or delete "
                f"{left} to discard their answers"
            )

    def by_batches(
        self,
        pool: Pool,
        generators: Mapping[str, Generator],
        out: Path,
        replies: KeptReplies | None = None,
    ) -> tuple[BatchDraws, Pool]:
        """Return what draws by batch files, and the pool at batch prices; see ``drawer`` and ``BatchDraws``."""
        from bestroute.generators.batches import VLLM, BatchDraws, at_batch_prices, form_of

        forms = {model: form_of(generators[model], self.form, command=self.command or VLLM) for model in generators}  # type: ignore[arg-type]
        factors = {m: form.price_factor if self.price is None else self.price for m, form in forms.items()}
        draws = BatchDraws(forms, out, poll_s=self.poll_s, on_wait=_say, replies=replies)
        return draws, at_batch_prices(pool, factors)

    def _on_cluster(self, pool: Pool, models: tuple[str, ...], out: Path, **options: Any) -> Drawer:
        from bestroute.engine.cluster_draws import ClusterDraws
        from bestroute.engine.ray_blocks import on_ray
        from bestroute.generators.openai import generators_from

        return ClusterDraws(
            partial(generators_from, pool, only=models),
            pool,
            out,
            str(self.ledger),
            cluster=partial(on_ray, address=self.address),
            **options,
        )


def _say(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\rbatches: {done} of {total} lines done", nl=done == total, err=True)


BATCH_OPTIONS = (
    click.option(
        "--batch",
        "form",
        is_flag=False,
        flag_value="auto",
        type=click.Choice(["auto", "openai", "anthropic", "command"]),
        help="Draw by batch files. Without a value: Anthropic's format at its own address, else OpenAI's.",
    ),
    click.option(
        "--batch-command", "command", metavar="TEXT", help="The command for --batch command; default: vLLM's run-batch."
    ),
    click.option(
        "--batch-price",
        "price",
        type=NumberRange(0.0),
        metavar="FACTOR",
        help="Batch price as a factor of the normal price; default: 0.5, or 1 for --batch command.",
    ),
    click.option(
        "--poll",
        "poll_s",
        type=NumberRange(0.0),
        default=30.0,
        show_default=True,
        help="Seconds between checks of a batch's status.",
    ),
)
OPTIONS = (
    *BATCH_OPTIONS,
    click.option("--engine", type=click.Choice(["ray"]), help="Spread the calls over a Ray cluster (extra ray)."),
    click.option(
        "--cluster",
        "address",
        metavar="ADDRESS",
        help="The cluster for --engine ray: auto, or host:port; default: this machine.",
    ),
    click.option(
        "--ledger", metavar="URL", help="For --engine ray: a PostgreSQL URL, where bills and unfinished draws are kept."
    ),
)


def drawing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``OPTIONS`` to a command, which gets their values as one argument, ``drawing``."""

    @wraps(command)
    def run(**given: Any) -> Any:
        drawing = Drawing(**{name: given.pop(name) for name in Drawing.__dataclass_fields__})
        drawing.check(given["gguf"])
        return command(drawing=drawing, **given)

    return _with(OPTIONS, run)


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``BATCH_OPTIONS`` to a command, which gets their values as one argument, ``drawing``."""

    @wraps(command)
    def run(**given: Any) -> Any:
        drawing = Drawing(**{name: given.pop(name) for name in ("form", "command", "price", "poll_s")})
        drawing.check(())
        return command(drawing=drawing, **given)

    return _with(BATCH_OPTIONS, run)


def _with(options: Sequence[Callable[[Callable[..., Any]], object]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        option(command)
    return command
