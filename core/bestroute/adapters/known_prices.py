"""Prices of providers' own models by exact name, from the ``genai-prices`` library where it is installed.

That library matches names by rules, prefixes among them, so that one model is billed as another. Here only a name
that it lists letter by letter counts, only at the provider's own address, and only if the price is one number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bestroute.adapters.framework import Framework
from bestroute.generators.tools_in_prompt import ToolsInPrompt
from bestroute.types.prices import Price

_PROVIDERS = {"google_genai": "google", "mistralai": "mistral", "xai": "x-ai"}
"""From frameworks' names of providers to the library's, where they differ."""


def complete_prices(prices: Mapping[str, Price], members: Mapping[str, Any], framework: Framework) -> dict[str, Price]:
    """Add known prices of providers' own models, the caller's come first; an unknown one is the pool's to refuse.

    Args:
        prices: The caller's.
        members: By pool name.
        framework: Knows under what a provider lists one.
    """
    complete = dict(prices)
    for name, given in members.items():
        member = given.member if isinstance(given, ToolsInPrompt) else given
        listed = framework.listing(member) if name not in complete and framework.is_model(member) else None
        if listed is not None and (price := known_price(*listed)) is not None:
            complete[name] = price
    return complete


def known_price(model: str, provider: str, base_url: str | None = None) -> Price | None:
    """Look up what a provider asks for one of its models today.

    Args:
        model: The provider's name of the model.
        provider: ``"openai"``, ``"anthropic"``, ``"google_genai"``, ...
        base_url: Where the model is reached; ``None`` is the provider's own address. At any other address a model
            of the same name may cost anything.

    Returns:
        The price; ``None`` if the library is not installed, does not list exactly this name, or has a price that
        depends on the prompt's length.

    Example:
        >>> known_price("gpt-4o-min", "openai") is None  # a prefix of a name is no name
        True
    """
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    wanted = _PROVIDERS.get(provider, provider)
    for listed in get_snapshot().providers:
        if listed.id == wanted and (base_url is None or re.match(listed.api_pattern, base_url)):
            return next((_price(entry) for entry in listed.models if model in _names(entry)), None)
    return None


def _names(entry: Any) -> set[str]:
    """Names that an entry lists letter by letter: its id, and the equalities at the top of its rules."""
    match = entry.match
    clauses = [match, *(getattr(match, "or_", None) or [])]
    return {entry.id} | {clause.equals for clause in clauses if hasattr(clause, "equals")}


def _price(entry: Any) -> Price | None:
    listed = entry.get_prices(datetime.now(UTC))
    names = {
        "input": "input_mtok",
        "output": "output_mtok",
        "cached_input": "cache_read_mtok",
        "cache_write": "cache_write_mtok",
    }
    values = {ours: getattr(listed, theirs, None) for ours, theirs in names.items()}
    if any(hasattr(value, "tiers") for value in values.values()) or None in (values["input"], values["output"]):
        return None
    return Price(**{name: float(value) for name, value in values.items() if value is not None})
