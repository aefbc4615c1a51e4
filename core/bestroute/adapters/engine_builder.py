"""Building an engine from the fields of a framework's model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bestroute.adapters.engine_fields import LIVE_FIELDS, EngineFields
from bestroute.adapters.framework import Framework, as_generator, as_member
from bestroute.adapters.known_prices import complete_prices
from bestroute.adapters.shared_members import Shared, shared
from bestroute.billing.ledger import as_ledger
from bestroute.engine.engine import BestRoute
from bestroute.errors import ConfigError
from bestroute.types.pool import Pool, most_expensive


@dataclass(frozen=True)
class BuiltEngine:
    """An engine, and what became known while it was built."""

    engine: BestRoute
    members: Mapping[str, Any]
    """As objects."""
    shared: tuple[Shared[Any], ...]
    """What other routers over the same members use, too; to be held as long as the engine."""


def build_engine(
    given: EngineFields,
    framework: Framework,
    *,
    settled: tuple[object, ...],
    note: Callable[[str, Any], object] = lambda name, value: None,
) -> BuiltEngine:
    """Build an engine over a framework's models.

    Args:
        given: What the caller said.
        framework: Makes members of them.
        settled: The adapter's own settings that members are made with; routers that differ in one share none.
        note: Sets a field that was left to its default, as soon as it is known; a budget is one for all copies.

    Raises:
        ConfigError: If parts do not fit together.
        PriceError: If a member has no price.
    """
    if not given.models:
        raise ConfigError(f"models: needs at least one {framework.model_word}, got none")

    def settle(name: str, value: Any) -> Any:
        if value is not getattr(given, name):
            note(name, value)
        return value

    ledger = settle("ledger", as_ledger(given.ledger))
    words = tuple(map(repr, (*settled, given.bills_input)))
    held = (ledger, given.settings)

    def make_members() -> dict[str, Any]:
        return {name: as_member(framework, name, member) for name, member in given.models.items()}

    members = shared(given.models, held, ("members", *words), make_members)
    prices = settle("prices", complete_prices(given.prices, members.value, framework))
    reference = settle("reference", given.reference or most_expensive(prices, given.models))
    pool = Pool(tuple(given.models), prices, reference, given.max_n, given.bills_input)

    def make_generators() -> dict[str, Any]:
        return {
            name: as_generator(framework, name, member, native_n=pool.bills(name) == "once")
            for name, member in members.value.items()
        }

    generators = shared(given.models, held, ("generators", *words), make_generators)
    engine = BestRoute(
        pool,
        generators.value,
        router=given.router,
        reward_model=given.reward_model,
        policy=given.policy,
        ledger=ledger,
        threshold=given.threshold,
        max_drop=given.max_drop,
        follow=given.follow,
        window=given.window,
        settings=given.settings,
        budget=given.budget,
        max_retries=given.max_retries,
        default=given.default,
        audit_budget=given.audit_budget,
        judge=given.judge,
        on_alarm=given.on_alarm,
        tracing=given.tracing,
        **{name: getattr(given, name) for name in LIVE_FIELDS},
    )
    origin = shared(given.models, held, ("engine",), lambda: engine)
    engine.share_members(origin.value)
    settle("budget", engine.budget)
    settle("audit_budget", engine.audit_budget)
    return BuiltEngine(engine, members.value, (members, generators, origin))
