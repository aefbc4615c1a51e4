"""``bestroute init``."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from bestroute._utils.extras import to_install
from bestroute.cli.import_command import import_into, log_options, read_log_options
from bestroute.cli.paths import FILE, check_not_read
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError, named

_PROVIDERS = {
    "openai": (None, "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "mistralai": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
}
"""The OpenAI-compatible address of each provider, and the usual environment variable of its key."""


@click.command(
    epilog="\b\nExamples:\n  bestroute init\n"
    "  bestroute init --model small=openai:gpt-4o-mini --model large=openai:gpt-4o --out pool.yaml"
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=PROVIDER:MODEL",
    help="A member of the pool; the most expensive last.",
)
@click.option("--base-url", "urls", multiple=True, metavar="NAME=URL", help="The address of a member.")
@click.option(
    "--price", "prices", multiple=True, metavar="NAME=IN/OUT", help="Input and output price, USD per million tokens."
)
@click.option("--reference", help="The model whose quality is to be matched; default: the last one.")
@click.option("--judge", metavar="NAME=PROVIDER:MODEL", help="A model that labels answers and never gives one.")
@click.option(
    "--log", "logs", type=FILE, multiple=True, help="A log to convert to prompts.jsonl, beside the pool file."
)
@log_options
@click.option("--out", type=FILE, default=Path("pool.yaml"), show_default=True, help="The pool file to write.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def init(
    models: tuple[str, ...],
    urls: tuple[str, ...],
    prices: tuple[str, ...],
    reference: str | None,
    judge: str | None,
    logs: tuple[Path, ...],
    out: Path,
    force: bool,
    **reading: Any,
) -> None:
    """Write a pool file: the models, their addresses and prices, and a judge. Asks for the models without --model.

    \b
    PROVIDER is openai, anthropic, mistralai, groq, deepseek, xai, openrouter, or local for your own endpoint
    (with --base-url). Prices of the providers' own models are filled in by exact name (extra "prices"); give
    the others with --price. API keys are never written, only the names of the variables that hold them.
    With --log, the prompts of a log are written beside the pool file, as by `bestroute import`; --from, --map,
    --sample, --stratify, --seed and --mask are its options.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    import yaml

    from bestroute._utils.files import atomic_file
    from bestroute.types.pool import Pool

    options = read_log_options(**reading)
    if not logs and any(options[name] for name in ("log_format", "columns", "size", "by", "mask")):
        raise ConfigError("--from, --map, --sample, --stratify and --mask say how a log is read; add --log FILE")
    check_not_read(out, logs)
    prompts = out.with_name("prompts.jsonl")
    exists = ConfigError(f"{out} exists already; add --force to overwrite it, or choose another --out")
    if not models and out.exists() and not force:
        raise exists
    chosen = _distinct(models) if models else _pairs_of_user()
    given, known = dict(_pair(url, "--base-url") for url in urls), dict(_pair(price, "--price") for price in prices)
    names = [name for name, _ in chosen]
    judges = [] if judge is None else [_pair(judge, "--judge")]
    if judges and judges[0][0] in names:
        raise ConfigError(f"--judge {judges[0][0]!r} is also the name of a --model; choose another name")
    every = [*chosen, *judges]
    for what, of in (("--base-url", given), ("--price", known)):
        if unknown := [name for name in of if name not in dict(every)]:
            raise ConfigError(f"{what} names {named(unknown)}, but the models are {named(dict(every))}")
    members = {name: _member(name, model, given.get(name), known.get(name)) for name, model in every}
    for name, _ in judges:
        members[name]["role"] = "judge"
    pool = {"reference": reference or names[-1], "models": members}
    Pool.from_dict(pool, where=str(out))
    text = yaml.safe_dump(pool, sort_keys=False, allow_unicode=True).encode()
    if out.exists() and not force and out.read_bytes() != text:  # an interrupted run may have written the same
        raise exists
    if logs:
        import_into(prompts, logs, keeps=not force, **options)
    with atomic_file(out) as stream:
        stream.write(text)
    print_line(f"{out}: {named(names)}, the reference is {pool['reference']!r}")
    if keys := sorted({member["api_key_env"] for member in members.values() if "api_key_env" in member}):
        print_line(f"set {', '.join(keys)}", err=True)
    judged = "".join(f" --judge {name}" for name, _ in judges)
    print_line(
        f"next: bestroute collect {prompts} --pool {out} --n 3{judged} --out {out.with_name('records.jsonl')}", err=True
    )


def _is_asked() -> bool:
    """Whether a user can answer questions."""
    return sys.stdin.isatty()


def _pairs_of_user() -> list[tuple[str, str]]:
    """Ask for models, the most expensive last, until an empty line."""
    if not _is_asked():
        raise ConfigError("give --model NAME=PROVIDER:MODEL at least twice; without a terminal nobody can be asked")
    print_line(
        "Name the models, the cheapest first, the one whose quality is to be matched last; end with an empty line."
    )
    chosen: list[tuple[str, str]] = []
    while True:
        model = click.prompt(f"model {len(chosen) + 1} (PROVIDER:MODEL)", default="", show_default=False).strip()
        if not model and chosen:
            return chosen
        if not model:
            raise ConfigError("no model was named, so no pool file was written")
        plain = model.partition(":")[2] or model
        name = click.prompt("  name", default=plain.rpartition("/")[2])
        while name in dict(chosen):
            name = click.prompt(f"  {name!r} is taken; name")
        chosen.append((name, model))


def _distinct(models: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return models by name.

    Raises:
        ConfigError: If a name is given twice.
    """
    pairs = [_pair(model, "--model") for model in models]
    if twice := [name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i])]:
        raise ConfigError(f"--model names {twice[0]!r} twice; names must differ")
    return pairs


def _pair(text: str, option: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise ConfigError(f"{option} must be NAME=VALUE, got {text!r}")
    return name, value


def _member(name: str, model: str, url: str | None, price: str | None) -> dict[str, Any]:
    """Return the entry of a member in the pool file.

    Raises:
        ConfigError: If its provider or its price is unknown.
    """
    provider, _, api_model = model.partition(":") if ":" in model else ("openai", "", model)
    if provider == "local" and not url:
        raise ConfigError(f"{name!r}: an endpoint of your own needs its address; add --base-url {name}=URL")
    if provider not in _PROVIDERS and provider != "local":
        raise ConfigError(
            f"{name!r}: unknown provider {provider!r}; known are {named(_PROVIDERS)}. For your own endpoint write "
            f"{name}=local:{api_model} and --base-url {name}=URL"
        )
    own_url, key = _PROVIDERS.get(provider, (None, None))
    entry: dict[str, Any] = {**_price(name, provider, api_model, url, price), "api_model": api_model}
    if url or own_url:
        entry["base_url"] = url or own_url
    if key and not url:
        entry["api_key_env"] = key
    return entry


def _where_prices_are(url: str | None) -> str:
    """Say what else makes a price known: nothing at an address of one's own, or where providers' prices are at hand."""
    if url is not None:
        return ", 0/0 if it costs nothing"
    if find_spec("genai_prices") is None:
        return f", or install providers' own prices: {to_install('prices')}"
    return ""


def _price(name: str, provider: str, api_model: str, url: str | None, price: str | None) -> dict[str, float]:
    from bestroute.adapters.known_prices import known_price

    if price is not None:
        amounts = price.split("/")
        try:
            numbers = [float(part) for part in amounts]
        except ValueError:
            numbers = []
        if len(numbers) != 2:
            raise ConfigError(
                f"--price must be {name}=IN/OUT in USD per million tokens, such as 0.15/0.6, got {price!r}"
            )
        return {"input_price": numbers[0], "output_price": numbers[1]}
    known = known_price(api_model, provider) if url is None else None
    if known is None:
        raise ConfigError(
            f"the price of {name!r} ({provider}:{api_model}) is not known; add --price {name}=IN/OUT in USD per "
            f"million tokens{_where_prices_are(url)}"
        )
    prices = {"input_price": known.input, "output_price": known.output}
    if known.cached_input is not None:
        prices["cached_input_price"] = known.cached_input
    return prices
