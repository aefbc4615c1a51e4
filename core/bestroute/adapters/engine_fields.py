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
    """What an engine over a framework's models is made of, in the words of every adapter, with its defaults."""

    models: Mapping[str, Any]
    """Members by pool name."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """USD per million tokens of each member."""
    reference: str = ""
    """The model whose quality is to be matched; default: the dearest output price."""
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
    """With ``max_drop``: the price of quality is steered to it by what audits show."""
    window: int = WINDOW
    """With ``follow``: how many of the last decisions steering looks back on."""
    default: Default = "plan"
    """What is done without router and reward model."""
    max_n: int = 5
    """The most samples a step may draw."""
    bills_input: Any = "per_sample"
    """How often n samples bill the prompt; for all or by model."""
    ledger: Ledger | Store | None = None
    """Where bills are kept, a ``Ledger``, its path or its URL; default: in memory."""
    settings: Settings | None = None
    """Faults, pace and what is done at a budget's end."""
    budget: Budget | float | None = None
    """What all calls together may spend, USD."""
    max_retries: int | None = None
    """How often a failed draw is tried again."""
    mode: Mode = "on"
    """``"shadow"``: decide, but let the reference answer; ``"off"``: let it answer."""
    share: float = 1.0
    """Of conversations that ``mode`` is for."""
    audit: float = 0.0
    """For which share of calls the reference is asked, too, and compared."""
    audit_budget: Budget | float | None = None
    """What audits together may spend, USD."""
    judge: Any = None
    """Compares two answers for audits: ``fn(query, texts) -> scores`` in [0, 1]."""
    on_alarm: Any = None
    """Is told of alarms: ``fn(alarm)``."""
    tracing: Any = None
    """Whether calls and draws become spans and metrics of OpenTelemetry."""

    @classmethod
    def of(cls, model: Any) -> Self:
        """Read the fields of a framework's model."""
        return cls(**{name: getattr(model, name) for name in ENGINE_FIELDS})


ENGINE_FIELDS = tuple(f.name for f in fields(EngineFields))
"""Fields of which a change makes another engine."""
LIVE_FIELDS = ("mode", "share", "audit")
"""Those that an engine may be told while it runs, so that their change makes no other."""
ENGINE_PARTS = (
    *("models", "router", "reward_model", "policy", "ledger", "bills_input", "settings", "budget"),
    *("audit_budget", "judge", "on_alarm", "tracing"),
)
"""Those that hold objects: described in a few words, never dumped."""


def as_reference(reference: Any) -> Any:
    """Return the reference as its field holds it: no name is the default."""
    return "" if reference is None else reference


def as_stop(stop: Any) -> Any:
    """Return sequences that end an answer as their field holds them: one of them is a list of one."""
    return [stop] if isinstance(stop, str) else stop


def change_field(
    model: Any, name: str, change: Callable[[], object], build: Callable[[], object], *, others: Collection[str] = ()
) -> None:
    """Change a field; a field of the engine's builds it anew, or is told to it while it runs.

    What raises leaves every field as it was. A model whose copies use its engine, too, gets one of its own.

    Args:
        model: A pydantic model.
        name: Of the field.
        change: Sets it.
        build: Makes the engine from the fields.
        others: Fields of the adapter's own of which a change makes another engine, too.
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
