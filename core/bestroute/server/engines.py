"""The engines behind model names: one per policy, over the same members, ledger and budgets."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from bestroute.billing.ledger import Ledger
from bestroute.engine.engine import BestRoute
from bestroute.engine.router_reward import stored_reward
from bestroute.errors import ConfigError, NotTunedError, did_you_mean, named
from bestroute.generators.openai import generators_from
from bestroute.monitoring.tracing.spans import Tracing
from bestroute.policies.parsing import parse_policy
from bestroute.policies.policies import QualityPolicy
from bestroute.reward_models.by_name import reward_by_name
from bestroute.reward_models.conversion import as_reward_model
from bestroute.router import MultiHeadRouter
from bestroute.server.api_errors import RequestError
from bestroute.server.config import ServerConfig
from bestroute.server.own_functions import is_function, load_function
from bestroute.server.relay import Relay
from bestroute.types.protocols import Policy

AUTO = "auto"
CHEAP = "auto-cheap"
_MAX_DROP = re.compile(r"auto-max-drop-(\d{1,2}(?:\.\d{1,4})?)")
"""A promise, in percent."""


class Engines:
    """The engines by the model names of requests.

    ``auto`` is the configured policy; ``auto-cheap`` the router's price for the largest drop that training froze one
    for, without a router the cheapest member; ``auto-max-drop-1`` the promise of one percent that the router was
    tuned for; the configuration's own names; and each member by its pool name.

    Args:
        config: The validated configuration.

    Raises:
        ConfigError: If it is inconsistent, or a member's key is not set.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Read the router, open ledger and budget; no model is called."""
        importlib.import_module("openai.resources.chat.completions")  # it takes seconds, which no first call should
        self.config, self.pool = config, config.pool
        self.router = None if config.router is None else MultiHeadRouter.from_pretrained(config.router)
        self.reward_model = as_reward_model(_reward_of(config, self.router))
        self.judge = as_reward_model(_scorer(config.judge, config), "judge")
        self.members = generators_from(config.pool, make=_relay)
        for name, member in self.members.items():
            assert isinstance(member, Relay)
            member.name = name
        self.ledger = Ledger(config.ledger, keep_notes=config.keep_notes)
        store = self.ledger_store
        self.budget = None if config.budget is None else config.budget.open(store)
        self.audit_budget = None if config.audit_budget is None else config.audit_budget.open(store, "server audits")
        self.tracing: Tracing | None = None
        self._end_tracing: Callable[[], None] = _nothing
        if config.tracing is not None:
            self.tracing, self._end_tracing = config.tracing.open()
        self.auto = self._engine(None if config.policy is None else parse_policy(config.policy))
        self._by_name: dict[str, BestRoute] = {AUTO: self.auto}
        if self.router is not None:
            self._by_name[CHEAP] = self._engine(_cheap(self.router))
            for promise in self.router.promises:
                if promise.kind == "max_drop":
                    self._by_name[f"{AUTO}-max-drop-{100 * promise.value:g}"] = self._engine(
                        QualityPolicy(max_drop=promise.value)
                    )
        for name, policy in config.policies.items():
            self._by_name[name] = self._engine(parse_policy(policy))

    def close(self) -> None:
        """Write pending data of ledger, budgets and traces."""
        self.ledger.close()
        for budget in (self.budget, self.audit_budget):
            if budget is not None:
                budget.close()
        self._end_tracing()

    @property
    def ledger_store(self) -> str | None:
        """Where budgets are shared: the ledger's database, if it has one."""
        return self.config.ledger if self.ledger.is_persistent else None

    @property
    def names(self) -> list[str]:
        """All model names: policies, then members."""
        policies = list(self._by_name)
        if CHEAP not in policies:
            policies.insert(1, CHEAP)
        return [*policies, *self.pool.models]

    def find(self, model: str) -> tuple[BestRoute, dict[str, Any]]:
        """Return the engine of a name, and the call options that it implies.

        Raises:
            RequestError: Status 404 if the name is unknown; 400 if it is a promise that was not established.
        """
        if (engine := self._by_name.get(model)) is not None:
            return engine, {}
        if model in self.pool.models:
            return self.auto, {"model": model, "n": 1}
        if model == CHEAP:
            cheapest = next(iter(self.pool.cheaper_models), self.pool.reference)
            return self.auto, {"model": cheapest, "n": 1, "reason": f"{CHEAP}: the cheapest member"}
        if found := _MAX_DROP.fullmatch(model):
            raise _not_tuned(self.router, float(found[1]) / 100)
        hint = did_you_mean(model, self.names)
        raise RequestError(
            404,
            f"the model {model!r:.200} does not exist; there are {named(self.names)}.{hint}",
            code="model_not_found",
            param="model",
        )

    def each(self) -> list[BestRoute]:
        """Return every engine."""
        return list(self._by_name.values())

    @property
    def alarms_raised(self) -> Counter[tuple[str, str]]:
        """Number of alarms raised by this process, by kind and model, over all engines, including zeros."""
        total: Counter[tuple[str, str]] = Counter()
        for engine in self.each():
            total.update(engine.alarms_raised)
        return total

    def _engine(self, policy: Policy | None) -> BestRoute:
        config = self.config
        try:
            engine = BestRoute(
                self.pool,
                self.members,
                router=self.router,
                reward_model=self.reward_model,
                policy=policy,
                ledger=self.ledger,
                budget=self.budget,
                mode=config.mode,
                share=config.share,
                audit=config.audit,
                audit_budget=self.audit_budget,
                judge=self.judge,
                tracing=self.tracing,
            )
        except (ConfigError, NotTunedError) as error:
            raise type(error)(f"{config.source}: {error}") from error
        if hasattr(self, "auto"):
            engine.share_members(self.auto)
        return engine


def _nothing() -> None:
    """Do nothing: closes what was not opened."""


def _relay(model: str, **options: Any) -> Relay:
    return Relay(model, max_retries=0, **options)


def _cheap(router: MultiHeadRouter) -> Policy:
    """Return the policy of the largest drop for which training froze a price."""
    frozen: Mapping[str, float | None] = router.frozen
    price = frozen[max(frozen, key=float)] if frozen else 0.0
    if price is None:  # the reference alone kept it
        price = 0.0
    return QualityPolicy(price, reason=CHEAP)


def _reward_of(config: ServerConfig, router: MultiHeadRouter | None) -> Any:
    """Return the configured reward, else the one that the router was trained with.

    Raises:
        ConfigError: If its plans need one, and none is known.
    """
    if config.reward is not None:
        return _scorer(config.reward, config)
    if router is None or config.router is None or not router.needs_reward:
        return None
    if (found := stored_reward(router, config.router)) is not None:
        return found
    raise ConfigError(
        f"{config.source}: the router was trained with {router.settings.reward} rewards, and nothing says what scores "
        "answers here; give reward: majority, logprobs, agreement, confidence, or the folder of a trained reward model"
    )


def _scorer(name: str | None, config: ServerConfig) -> Any:
    """Return a configured reward or judge: a function, an untrained one, or one from a folder."""
    if name is None or not is_function(name):
        return None if name is None else reward_by_name(name)
    return load_function(name, config.folder, config.source)


def _not_tuned(router: MultiHeadRouter | None, drop: float) -> RequestError:
    if router is None:
        return RequestError(
            400, "a promise is looked up in a router's folder, and there is no router", code="not_tuned", param="model"
        )
    try:
        QualityPolicy(max_drop=drop).resolve(router)
    except NotTunedError as error:
        return RequestError(400, str(error), code="not_tuned", param="model")
    return RequestError(400, "the promise is not served", code="not_tuned", param="model")
