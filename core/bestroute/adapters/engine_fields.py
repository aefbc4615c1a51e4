"""The fields of a framework's model that holds an engine: their names, their defaults, and how one is changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from bestroute.billing.budget import Budget
from bestroute.billing.ledger import Ledger
from bestroute.billing.store_url import Store
from bestroute.engine.decider import WINDOW, Default
from bestroute.engine.rollout import Mode
from bestroute.types.prices import Price
from bestroute.types.settings import Settings

if TYPE_CHECKING:
    LedgerField = Ledger
    SettingsField = Settings | None
    BudgetField = Budget | float | None
else:  # a framework's own checks would copy such objects, or fail to describe them
    LedgerField = SettingsField = BudgetField = Any


@dataclass(frozen=True)
class EngineFields:
    """The fields from which an engine over a framework's models is built, the same in every adapter, with defaults."""

    models: Mapping[str, Any]
    """Members by pool name."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """USD per million tokens of each member."""
    reference: str = ""
    """The model whose quality is to be matched; default: the highest output price."""
    router: Any = None
    """A ``Router``, the folder of a trained one, a function ``fn(query)``, or ``None``."""
    reward_model: Any = None
    """A ``RewardModel`` or a function ``fn(query, texts) -> list[float]``."""
    policy: Any = None
    """Chooses among the router's plans."""
    threshold: float | None = None
    """Short for ``policy=ThresholdPolicy(threshold)``."""
    max_drop: float | None = None
    """Short for a promise that the router was tuned for; with ``follow``, a target."""
    follow: bool = False
    """Makes ``max_drop`` a target: the price of quality is adjusted to the drop that audits measure."""
    window: int = WINDOW
    """With ``follow``: how many of the latest decisions the adjustment takes into account."""
    default: Default = "plan"
    """What to do without a router and a reward model."""
    max_n: int = 5
    """The most samples a step may draw."""
    bills_input: Any = "per_sample"
    """How n samples bill the prompt; for all or by model."""
    ledger: Ledger | Store | None = None
    """Where bills are kept, a ``Ledger``, its path or its URL; default: in memory."""
    settings: Settings | None = None
    """Retries, circuit breakers, concurrency, and what happens when a budget is used up."""
    budget: Budget | float | None = None
    """What all calls together may spend, USD."""
    max_retries: int | None = None
    """How often a failed draw is retried."""
    mode: Mode = "on"
    """``"on"``: follow decisions; ``"shadow"``: only make and log them; ``"off"``: the reference answers."""
    share: float = 1.0
    """Share of conversations that ``mode`` applies to."""
    audit: float = 0.0
    """Share of calls that are audited by also asking the reference."""
    audit_budget: Budget | float | None = None
    """What audits together may spend, USD."""
    judge: Any = None
    """Compares two answers for audits: ``fn(query, texts) -> scores`` in [0, 1]."""
    on_alarm: Any = None
    """``fn(alarm)``, called with each alarm."""
    tracing: Any = None
    """Whether to report calls and draws to OpenTelemetry."""

    @classmethod
    def of(cls, model: Any) -> Self:
        """Read the fields of a framework's model."""
        return cls(**{name: getattr(model, name) for name in ENGINE_FIELDS})


ENGINE_FIELDS = tuple(f.name for f in fields(EngineFields))
"""Fields whose change rebuilds the engine."""
LIVE_FIELDS = ("mode", "share", "audit")
"""Fields that can be changed on a running engine, without rebuilding it."""
ENGINE_PARTS = (
    *("models", "router", "reward_model", "policy", "ledger", "bills_input", "settings", "budget"),
    *("audit_budget", "judge", "on_alarm", "tracing"),
)
"""Fields that hold objects, which are described briefly and never dumped."""


def as_reference(reference: Any) -> Any:
    """Return the value of the field ``reference``; ``None`` becomes ``""``, the default."""
    return "" if reference is None else reference


def as_stop(stop: Any) -> Any:
    """Return the value of the field ``stop``; a single text becomes a list."""
    return [stop] if isinstance(stop, str) else stop


def change_field(
    model: Any, name: str, change: Callable[[], object], build: Callable[[], object], *, others: Collection[str] = ()
) -> None:
    """Change a field; a field of the engine rebuilds the engine, or is changed on the running one.

    If that raises, all fields keep their old values. A model that shares its engine with copies gets its own engine.

    Args:
        model: A pydantic model.
        name: Of the field.
        change: Sets it.
        build: Makes the engine from the fields.
        others: Further fields, of the adapter, whose change rebuilds the engine.
    """
    is_built = "_engine" in (model.__pydantic_private__ or {})
    if not is_built or not (name in ENGINE_FIELDS or name in others):
        change()
        return
    values, given = dict(model.__dict__), set(model.__pydantic_fields_set__)
    change()
    try:
        if name in LIVE_FIELDS and not (model.__pydantic_private__ or {}).get("_has_copies"):
            setattr(model._engine, name, getattr(model, name))
        else:
            build()
    except BaseException:
        model.__dict__.clear()
        model.__dict__.update(values)
        model.__pydantic_fields_set__.intersection_update(given)
        raise
