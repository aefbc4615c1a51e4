"""How an engine behaves when things go wrong, and how much it does at a time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from bestroute._utils.renamed import renamed_field
from bestroute.errors import ConfigError, named

OverBudget = Literal["degrade", "refuse"]
BrokenStream = Literal["raise", "keep"]
GreedyFirst = bool | Literal["always"]


@renamed_field("untold_output_tokens", "default_max_output_tokens")
@dataclass(frozen=True)
class Settings:
    """Faults, pace and money; every default is meant to be kept."""

    attempts: int = 3
    """How often a draw is tried in all, where trying again can help; 1 is never again."""
    first_wait_s: float = 0.25
    """Longest wait before the second attempt; it doubles with each, and is drawn at random up to it."""
    max_wait_s: float = 8.0
    """Longest wait there is. A provider that asks for more is not asked again; the next plan is."""
    breaker_failures: int = 3
    """So many draws of a member in a row that failed for good, and it rests: others are asked while they can answer."""
    breaker_rest_s: float = 30.0
    """How long it rests before one draw is let through to see whether it is well."""
    concurrency: int | Mapping[str, int] | None = None
    """The most calls of one member at the same time, for all members or by name; ``None`` sets no limit."""
    wave: int = 1
    """How many samples a step with ``accept`` draws at a time: 1 is the cheapest, n the fastest."""
    over_budget: OverBudget = "degrade"
    """What is done when a call would pass a budget: draw less or cheaper, or refuse the whole call. If nothing at
    all fits, either is a ``BudgetError``, and nothing was spent."""
    broken_stream: BrokenStream = "raise"
    """What is done when a stream breaks after its first piece: raise the error, or keep what came as the answer
    (its finish reason is then ``"broken"``). Either way it is billed."""
    default_max_output_tokens: int = 4096
    """Tokens a sample is limited to where money is short and neither the call nor the member sets a limit. Money is
    not short, and no limit is sent, while samples of four times that length could be paid."""
    greedy_first: GreedyFirst = True
    """Draw first at temperature 0, and at the member's own from the second draw on, where a plan has several draws or
    members: one greedy answer is worth as much as a vote of several samples. It is never done where a call, or the
    router's constructor, sets the temperature, nor with a model that reasons, a member that takes none, or a plan of
    one draw. Where a member draws ``n`` choices in one request, whose prompt is billed once, they are all at its own
    temperature; with ``"always"`` the greedy one is a request of its own, which bills the prompt once more."""
    cache_lifetime_s: float | Mapping[str, float] = 300.0
    """How long members' prompt caches are taken to hold a conversation that is not asked of them, for all or by name:
    five minutes is what providers state at least. It matters where a ``Price`` has ``cached_input``."""
    cache_least_tokens: int = 1024
    """Tokens from which on providers cache a prompt."""
    least_turns: int = 1
    """Turns that a conversation stays with a member it came to, whatever a move is predicted to gain; only a failure,
    or a call that names its model, ends that. It takes a router that predicts."""
    dry_run: bool = False
    """Decide, and answer with the decision in words; no model is called and nothing is billed."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: Names the field, what it may be and what it is.
        """
        if not isinstance(self.greedy_first, bool) and self.greedy_first != "always":
            raise ConfigError(f"Settings: greedy_first must be True, False or 'always', got {self.greedy_first!r}")
        lifetimes = self.cache_lifetime_s
        for seconds in lifetimes.values() if isinstance(lifetimes, Mapping) else [lifetimes]:
            check_amount(seconds, "Settings: cache_lifetime_s", "seconds")
        for name in (
            "attempts",
            "breaker_failures",
            "wave",
            "default_max_output_tokens",
            "cache_least_tokens",
            "least_turns",
        ):
            check_count(getattr(self, name), f"Settings: {name}")
        for name in ("first_wait_s", "max_wait_s", "breaker_rest_s"):
            check_amount(getattr(self, name), f"Settings: {name}", "seconds")
        limits = self.concurrency.values() if isinstance(self.concurrency, Mapping) else [self.concurrency]
        for limit in limits:
            if limit is not None:
                check_count(limit, "Settings: concurrency")
        for name, choices in (("over_budget", OverBudget), ("broken_stream", BrokenStream)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"Settings: {name} must be one of {named(get_args(choices))}, got {getattr(self, name)!r}"
                )

    def cache_lifetime_of(self, model: str) -> float:
        """Return how long a member's prompt cache holds a conversation, seconds."""
        lifetimes = self.cache_lifetime_s
        return lifetimes.get(model, 300.0) if isinstance(lifetimes, Mapping) else lifetimes

    def concurrency_of(self, model: str) -> int | None:
        """Return the most calls of a member at the same time."""
        return self.concurrency.get(model) if isinstance(self.concurrency, Mapping) else self.concurrency


@dataclass(frozen=True)
class Limits:
    """What one call may use; ``None`` sets no limit."""

    max_samples: int | None = None
    """Samples drawn in all; attempts that failed do not count."""
    max_cost_usd: float | None = None
    """No draw is begun that could pass it."""
    deadline_s: float | None = None
    """Seconds from the call's start. Then draws stop and the best seen answers."""
    wave: int | None = None
    """In place of ``Settings.wave``."""
    allow: tuple[str, ...] | None = None
    """Pool names of the members that may be asked."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: Names the field, what it may be and what it is.
        """
        for name in ("max_samples", "wave"):
            if getattr(self, name) is not None:
                check_count(getattr(self, name), name)
        for name, unit in (("max_cost_usd", "USD"), ("deadline_s", "seconds")):
            if getattr(self, name) is not None:
                check_amount(getattr(self, name), name, unit)
        if self.allow is not None:
            if isinstance(self.allow, str):
                raise ConfigError(f"allow must be a sequence of pool names, got the string {self.allow!r}")
            object.__setattr__(self, "allow", tuple(self.allow))
            if not self.allow:
                raise ConfigError("allow must name at least one member of the pool, got none")


LIMIT_NAMES = tuple(f.name for f in fields(Limits))
NO_LIMITS = Limits()


def check_count(value: Any, what: str) -> None:
    """Refuse what is not a whole number >= 1.

    Raises:
        ConfigError: Begins with ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{what} must be a whole number >= 1, got {value!r}")


def check_amount(value: Any, what: str, unit: str) -> None:
    """Refuse what is not a finite number >= 0.

    Raises:
        ConfigError: Begins with ``what``.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= sys.float_info.max:  # nor NaN
        raise ConfigError(f"{what} must be a number of {unit} >= 0, got {value!r}")
