"""Settings of an engine: retries, circuit breakers, concurrency, budgets; and the limits of one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from bestroute._utils.amounts import is_amount, is_whole, plain
from bestroute._utils.renamed import renamed_field
from bestroute._utils.text import brief
from bestroute.errors import ConfigError, named

OverBudget = Literal["degrade", "refuse"]
BrokenStream = Literal["raise", "keep"]
GreedyFirst = bool | Literal["always"]


@renamed_field("untold_output_tokens", "default_max_output_tokens")
@dataclass(frozen=True)
class Settings:
    """Settings of an engine; the defaults suit most applications."""

    attempts: int = 3
    """How often a draw is attempted in all, if a retry can help; 1 turns retries off."""
    first_wait_s: float = 0.25
    """Upper bound of the random wait before the second attempt; it doubles with each further attempt."""
    max_wait_s: float = 8.0
    """The longest wait before an attempt. If a provider asks to wait longer, the engine falls back instead."""
    breaker_failures: int = 3
    """Consecutive failed draws of a member after which its circuit breaker opens, so that others are asked instead."""
    breaker_rest_s: float = 30.0
    """How long a circuit breaker stays open before one trial draw is let through."""
    concurrency: int | Mapping[str, int] | None = None
    """The most calls of one member at the same time, for all members or by name; ``None`` sets no limit."""
    wave: int = 1
    """How many samples a step with ``accept`` draws at a time: 1 is the cheapest, n the fastest."""
    over_budget: OverBudget = "degrade"
    """What to do when a call could exceed a budget: draw less or from cheaper models, or refuse the call. If not even
    one sample fits, both raise ``BudgetError`` without spending anything."""
    broken_stream: BrokenStream = "raise"
    """What to do when a stream breaks after its first piece: raise the error, or keep the text so far as the answer
    (with the finish reason ``"broken"``). It is billed either way."""
    default_max_output_tokens: int = 4096
    """Token limit of a sample if a budget is nearly used up and neither the call nor the member sets one. No limit is
    sent while the budget could pay for samples four times as long."""
    greedy_first: GreedyFirst = True
    """Whether a plan of several draws makes the first draw of each member at temperature 0, and the others at the
    member's own temperature: one greedy answer is worth about as much as a vote of several samples. Does not apply if
    the call or the constructor sets the temperature, to reasoning models, to members without a temperature, and to
    plans of one draw. Nor, with ``True``, to ``n`` choices of one request; ``"always"`` makes the greedy draw a
    separate request there, which bills the prompt once more."""
    cache_lifetime_s: float | Mapping[str, float] = 300.0
    """How long a member's prompt cache is assumed to hold a conversation after its last turn there, for all members
    or by name; providers state at least five minutes. Matters only if a ``Price`` has ``cached_input``."""
    cache_least_tokens: int = 1024
    """The shortest prompt that providers cache, in tokens."""
    least_turns: int = 1
    """How many turns a conversation stays with a member at least, whatever a change is predicted to gain; only a
    failure or a call that names its model ends that earlier. Needs a router that predicts."""
    dry_run: bool = False
    """Answer each call with its decision as text; no model is called and nothing is billed."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: Names the field, what it may be and what it is.
        """
        if not isinstance(self.greedy_first, bool) and self.greedy_first != "always":
            raise ConfigError(f"Settings: greedy_first must be True, False or 'always', got {brief(self.greedy_first)}")
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
            object.__setattr__(self, name, check_count(getattr(self, name), f"Settings: {name}"))
        for name in ("first_wait_s", "max_wait_s", "breaker_rest_s"):
            object.__setattr__(self, name, check_amount(getattr(self, name), f"Settings: {name}", "seconds"))
        limits = self.concurrency.values() if isinstance(self.concurrency, Mapping) else [self.concurrency]
        for limit in limits:
            if limit is not None:
                check_count(limit, "Settings: concurrency")
        for name, choices in (("over_budget", OverBudget), ("broken_stream", BrokenStream)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"Settings: {name} must be one of {named(get_args(choices))}, got {brief(getattr(self, name))}"
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
    """The most samples in all; failed attempts do not count."""
    max_cost_usd: float | None = None
    """No draw is begun that could exceed it."""
    deadline_s: float | None = None
    """Seconds from the call's start, after which draws stop and the best sample so far is the answer."""
    wave: int | None = None
    """Replaces ``Settings.wave``."""
    allow: tuple[str, ...] | None = None
    """Pool names of the only members that may be asked."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: Names the field, what it may be and what it is.
        """
        for name in ("max_samples", "wave"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_count(getattr(self, name), name))
        for name, unit in (("max_cost_usd", "USD"), ("deadline_s", "seconds")):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_amount(getattr(self, name), name, unit))
        if self.allow is not None:
            if isinstance(self.allow, str) or not isinstance(self.allow, Iterable):
                raise ConfigError(f"allow must be a sequence of pool names, got {brief(self.allow)}")
            object.__setattr__(self, "allow", tuple(self.allow))
            if not self.allow:
                raise ConfigError("allow must name at least one member of the pool, got none")


LIMIT_NAMES = tuple(f.name for f in fields(Limits))
NO_LIMITS = Limits()


def check_count(value: Any, what: str) -> int:
    """Return a whole number >= 1.

    Raises:
        ConfigError: Begins with ``what``.
    """
    if not is_whole(value) or value < 1:
        raise ConfigError(f"{what} must be a whole number >= 1, got {brief(value)}")
    return int(value)


def check_amount(value: Any, what: str, unit: str) -> float:
    """Return a finite number >= 0.

    Raises:
        ConfigError: Begins with ``what``.
    """
    if not is_amount(value):
        raise ConfigError(f"{what} must be a number of {unit} >= 0, got {brief(value)}")
    return plain(value)
