"""The command line: parse, call one public function, print. Results to stdout, progress to stderr."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bestroute._utils.text import brief
from bestroute._utils.version import __version__
from bestroute.cli.collect_command import collect
from bestroute.cli.import_command import import_logs_command
from bestroute.cli.init_command import init
from bestroute.cli.label_command import label
from bestroute.cli.learning_commands import evaluate, train
from bestroute.cli.live_commands import feedback, monitor
from bestroute.cli.live_members import live_generators
from bestroute.cli.paths import FOLDER
from bestroute.cli.pool_commands import add_model, remove_model
from bestroute.cli.printing import print_line
from bestroute.cli.records_commands import compare, schema, split
from bestroute.cli.report_command import report
from bestroute.cli.reward_commands import train_reward
from bestroute.cli.route_command import route
from bestroute.cli.route_engine import deciding_engine
from bestroute.cli.serve_command import serve
from bestroute.cli.spend_command import spend
from bestroute.cli.tuning_commands import tune
from bestroute.errors import BestRouteError, ConfigError, GenerationError
from bestroute.errors.redaction import describe

if TYPE_CHECKING:
    from bestroute.demo.run import Framework
    from bestroute.types.pool import Pool
    from bestroute.types.protocols import Generator

BAD_INPUT = 2
_AT_LEAST_1 = click.IntRange(min=1)


class _Commands(click.Group):
    """Reports every bestroute, option and file error as one sentence on stderr, with exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (BestRouteError, ImportError) as error:
            _refuse(str(error))
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else ctx.command_path
            sentence = " ".join(error.format_message().split())  # click lists choices one a line
            _refuse(f"{sentence.rstrip('.')}; see {command} --help")
        except UnicodeError as error:
            text = brief(getattr(error, "object", ""))
            _refuse(f"{text} is not valid UTF-8: it holds an invalid byte or a lone surrogate")
        except OSError as error:
            if error.errno is None or isinstance(error, BrokenPipeError):  # click handles a closed pipe
                raise
            _refuse(f"{f'{error.filename}: ' if error.filename else ''}cannot read or write: {error.strerror}")


def _refuse(sentence: str) -> NoReturn:
    print_line(f"bestroute: {sentence}", err=True)
    sys.exit(BAD_INPUT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bestroute")
def main() -> None:
    """Route each query to the right model and number of samples, and prove what that saved."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # an argument or a file may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")


main.add_command(init)
main.add_command(import_logs_command)
main.add_command(collect)
main.add_command(label)
main.add_command(train)
main.add_command(train_reward)
main.add_command(tune)
main.add_command(evaluate)
main.add_command(split)
main.add_command(compare)
main.add_command(schema)
main.add_command(add_model)
main.add_command(remove_model)
main.add_command(feedback)
main.add_command(monitor)
main.add_command(spend)
main.add_command(serve)
main.add_command(report)
main.add_command(route)


def _check_is_there(base_url: str) -> None:
    """Check that a server listens, before any member is called; behind a proxy that cannot be checked.

    Raises:
        GenerationError: If none does.
    """
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(base_url)
    if url.hostname is None or (url.scheme in getproxies() and not proxy_bypass(url.hostname)):
        return
    try:
        socket.create_connection((url.hostname, url.port or (443 if url.scheme == "https" else 80)), 10).close()
    except OSError as error:
        raise _not_there(base_url, error) from error


def _not_there(base_url: str | None, error: Exception) -> GenerationError:
    described = " ".join(describe(error).split())
    where = f" at {base_url}" if base_url else ""
    return GenerationError(f"the live models{where} cannot be reached ({described}); is the server running?")


@contextlib.contextmanager
def _live_failures(base_url: str | None) -> Iterator[None]:
    """Turn the errors of members' clients into one sentence; other errors pass through.

    Raises:
        GenerationError: If the models could not be reached.
    """
    from bestroute.faults.error_rules import UNKNOWN, rule_for

    try:
        yield
    except BestRouteError:
        raise
    except Exception as error:
        if rule_for(error) is UNKNOWN:
            raise
        raise _not_there(base_url, error) from error


@main.command(epilog="\b\nExample:\n  bestroute demo --llamaindex --limit 20")
@click.option("--live", is_flag=True, help="Draw from live models instead of recorded answers.")
@click.option("--gguf", multiple=True, metavar="MODEL=PATH", help="Serve this member from a local GGUF file (--live).")
@click.option("--base-url", help="An OpenAI-compatible endpoint that serves the members (--live).")
@click.option("--ask", metavar="TEXT", help="Answer one question live; without live models, explain the decision.")
@click.option("--llamaindex", is_flag=True, help="Use LlamaIndex's BestRouteLLM instead of LangChain's BestRouteChat.")
@click.option("--limit", type=_AT_LEAST_1, help="Only the first N queries.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Random seed of the order in which answers are replayed."
)
@click.option("--out", type=FOLDER, default=Path("demo-out"), show_default=True, help="Folder for plot and report.")
def demo(
    live: bool,
    gguf: tuple[str, ...],
    base_url: str | None,
    ask: str | None,
    llamaindex: bool,
    limit: int | None,
    seed: int,
    out: Path,
) -> None:
    """Route real queries through a pool of three small models. No key, no download.

    The queries are short tasks with checkable answers, from groups that the router was not trained on. The answers
    are recorded from real models, or drawn live with --live. Prints quality, cost and saving compared with every
    fixed choice, and what a change of traffic does to a frozen price of quality and to one that follows audits.
    Writes a plot, and a report of the last run's ledger.
    """
    from tqdm import tqdm

    from bestroute.billing.ledger import Ledger
    from bestroute.cli.report_command import ledger_report, write_report
    from bestroute.cli.summary import five_lines
    from bestroute.demo.dataset import ROUTER, demo_pool, held_out, operating_points
    from bestroute.demo.run import DAY_ONE, plot, report_on, run_routed, table
    from bestroute.generators.replay import ReplayGenerator
    from bestroute.policies.policies import QualityPolicy
    from bestroute.router import MultiHeadRouter

    pool = demo_pool()
    framework: Framework = "llamaindex" if llamaindex else "langchain"
    if (gguf or base_url) and not (live or ask):
        raise ConfigError("--gguf and --base-url serve live models; add --live, or --ask TEXT")
    if base_url is not None:
        _check_is_there(base_url)
    if ask is not None:
        click.echo(five_lines(deciding_engine(MultiHeadRouter.from_pretrained(ROUTER)).route(ask)))
        if not (gguf or base_url):
            print_line("no live models given (--gguf MODEL=PATH or --base-url URL), so only the decision is shown")
            return
        with live_generators(pool, gguf, base_url) as members, _live_failures(base_url):
            _answer_live(pool, members, ask, framework)
        return
    records = held_out()[:limit]
    points = operating_points()
    runs, ledgers = [], {}
    with contextlib.ExitStack() as stack:
        if live:
            served = stack.enter_context(live_generators(pool, gguf, base_url))
            stack.enter_context(_live_failures(base_url))
        policies = {f"tuned to save {saving:.0%}": QualityPolicy(price) for saving, price in points.items()}
        bar = stack.enter_context(tqdm(total=len(records) * (1 + len(points)), unit="query", disable=None))
        for name, policy in {DAY_ONE: None, **policies}.items():
            replayed = {model: ReplayGenerator(records, model, seed=seed) for model in pool.models}
            members = served if live else replayed
            ledgers[name] = ledger = Ledger()
            run = run_routed(name, records, pool, members, policy, bar.update, framework=framework, ledger=ledger)
            runs.append(run)
    report = report_on(records, pool, runs)
    click.echo(table(report, framework))
    if not live and limit is None:
        from bestroute.cli.demo_shift import shift_lines

        for line in shift_lines(seed):
            print_line(line)
    out.mkdir(parents=True, exist_ok=True)
    plot(report, out / "demo.png")
    print_line(f"plot: {out / 'demo.png'}")
    write_report(ledger_report(ledger, f"the demo, {name}"), out / "report.html", with_script=False)


def _answer_live(pool: Pool, members: Mapping[str, Generator], text: str, framework: Framework) -> None:
    from bestroute.demo.run import demo_model

    answer = demo_model(pool, members, framework=framework)(text)
    metadata = answer.metadata
    click.echo(f"{metadata['model']} answers (best of {metadata['n']}, {metadata['cost_usd']:.3g} USD): {answer.text}")
