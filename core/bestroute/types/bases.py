"""Base classes of generators, reward models, routers and policies, with a default for every optional member.

Inherit from one, or implement its protocol alone: ``completed`` then adds the defaults of the base class.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from bestroute._utils.threads import in_own_thread
from bestroute.errors import ConfigError
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.protocols import Policy, RewardModel, Router
from bestroute.types.sample import Cancel, Delta, DrawnSample, Sample

if TYPE_CHECKING:
    from bestroute.types.pool import Pool
    from bestroute.types.prediction import Prediction
    from bestroute.types.query import Query

_Base = TypeVar("_Base")


class GeneratorBase:
    """A ``Generator`` with all optional members."""

    native_n: bool = False
    """Whether ``generate(query, n)`` is one request that bills the prompt once; else the engine makes ``n`` calls."""
    max_output_tokens: int | None = None
    """The most tokens of one sample, which budgets reserve money for; if ``None``, they assume a number."""
    model_name: str | None = None
    """The provider's name of the model; ``None``: the pool name."""
    model: str | None = None
    """Used if there is no ``model_name``, since many clients call it so."""
    provider: str | None = None
    """The provider, as in OpenTelemetry's conventions: ``openai``, ``anthropic``; ``None``: unknown."""
    tools_mode: str = "native"
    """How tools are offered to the member, ``"native"`` or ``"prompt"``; its quality differs between the two."""

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; see ``Generator.generate``."""
        raise NotImplementedError

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the event loop. Default: ``generate`` in a thread."""
        return await in_own_thread(self.generate, query, n, params=params, cancel=cancel)

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield deltas, then the finished sample. Default: only the sample."""
        yield from self.generate(query, 1, params=params, cancel=cancel)

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield deltas, then the finished sample, without blocking the event loop. Default: only the sample."""
        for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
            yield sample

    def lacks(self, query: Query) -> str | None:
        """Say what the query needs and the member cannot do; ``None``, the default: it can answer."""
        return None

    def takes_greedy(self, query: Query) -> bool:
        """Whether the member can draw at temperature 0 when ``DrawParams.greedy`` asks for it.

        Default: no, since the temperature of an unknown member may not be settable.
        """
        return False

    def without_retries(self) -> Any:
        """Return a copy without retries, so that they do not multiply with the engine's. Default: itself."""
        return self

    def close(self) -> None:
        """Close the connections; the member may be used again."""

    async def aclose(self) -> None:
        """Close the connections, including those of this event loop. Default: ``close``."""
        self.close()


class RewardModelBase:
    """A ``RewardModel`` with all optional members."""

    range: tuple[float, float] | None = None
    """``(0.0, 1.0)`` declares that rewards are probabilities of being as good as the reference, so that a step's
    ``accept`` can be compared with them."""
    is_joint: bool = False
    """Whether a reward depends on the other samples, as votes do; all samples are then scored again after each draw."""
    needs_training: bool = True
    """Whether it is trained on records. One that is not can be used without a router."""
    default_accept: float | None = None
    """The ``accept`` of the plan that runs without a router; ``None``: it provides no such plan."""
    needs_logprobs: bool = False
    """Whether it reads log-probabilities, so that members are asked for them."""
    is_light: bool = False
    """Whether it takes less than a millisecond, so that async calls need no thread for it."""
    kind: str | None = None
    """Its name in ``--reward`` and in promises, if it is not loaded from a folder."""
    fingerprint: str | None = None
    """Equal for two reward models only if they score alike; used by promises and caches."""

    def score(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Return a reward for each text; see ``RewardModel.score``."""
        raise NotImplementedError

    def score_samples(self, query: Query, samples: Sequence[DrawnSample]) -> Sequence[float]:
        """Return a reward for each sample, for reward models that read more than its text.

        If defined, it replaces ``score``, and NaN means unknown, which is never accepted. Default: ``score``.
        """
        return self.score(query, [sample.text for sample in samples])

    def evidence(self, query: Query, samples: Sequence[DrawnSample]) -> Sequence[float]:
        """Return evidence for ``Confidence``: a probability or NaN for each sample. Default: calibrated rewards."""
        return self.calibrated(list(self.score_samples(query, samples)))

    async def ascore(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Return a reward for each text without blocking the event loop. Default: ``score`` in a thread."""
        return await in_own_thread(self.score, query, texts)

    def calibrated(self, rewards: Sequence[float]) -> Sequence[float]:
        """Return the probabilities of being as good as the reference that rewards correspond to.

        Default: the rewards themselves, if ``range`` declares them to be such.

        Raises:
            ConfigError: If the rewards are not calibrated.
        """
        if not declares_probability(self):
            raise ConfigError(not_calibrated(self))
        return rewards

    def least_samples(self, accept: float) -> int | None:
        """Return the fewest samples with which one can be accepted; ``None``: never. Default: 1."""
        return 1


class RouterBase:
    """A ``Router`` with all optional members."""

    plans: Sequence[Any] = ()
    """The plans it predicts, checked once at construction; empty: the plans of every prediction are checked."""
    is_light: bool = False
    """Whether it takes about a millisecond, so that async calls need no thread for it."""
    default_policy: Policy | None = None
    """The policy to use if the user names none."""
    promises: Sequence[Any] = ()
    """The promises that ``tune`` has shown for it."""
    fingerprint: str | None = None
    """Equal for two routers only if they predict alike."""

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Return predictions over plans; see ``Router.predict``."""
        raise NotImplementedError

    def steering_prices(self, drop: float) -> tuple[float, float | None, float] | None:
        """Return the lowest price of quality, the one frozen for a drop, and the highest one, in USD per unit.

        The second is ``None`` if only the reference kept that drop. Default: ``None``, the router has no such prices
        and cannot be used with ``follow``.
        """
        return None

    def check_pool(self, pool: Pool) -> None:
        """Raise ``ConfigError`` if the router does not fit the pool. Default: it fits every pool."""


class PolicyBase:
    """A ``Policy`` with all optional members."""

    is_light: bool = False
    """Whether it takes about a millisecond, so that async calls need no thread for it and a light router."""
    max_drop: float | None = None
    """The relative drop in quality that it promises or aims at; ``monitor`` compares it with the audited drop."""
    reason: str | None = None
    """Where its parameters come from, a promise for example; shown in traces."""

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query; see ``Policy.choose``."""
        raise NotImplementedError

    def verdicts(self, prediction: Prediction, cost_usd: FloatArray, chosen: int, pool: Pool) -> Sequence[str]:
        """Say for each plan of one query why it was or was not chosen, and what would change that.

        Default: the expected differences in quality and cost from the chosen plan.

        Args:
            prediction: Over one query and ``P`` plans.
            cost_usd: Expected cost, shape ``(1, P)``, USD.
            chosen: Index of the chosen plan.
            pool: The pool.
        """
        quality, cost = prediction.expected_quality[0], cost_usd[0]
        return [
            f"taken by {type(self).__name__}"
            if i == chosen
            else f"not taken: quality {quality[i] - quality[chosen]:+.3f}, cost {cost[i] - cost[chosen]:+.3g} USD"
            for i in range(len(prediction.plans))
        ]

    def resolve(self, router: Router, pool: Pool | None = None, reward_model: RewardModel | None = None) -> Policy:
        """Return the policy to use with a router, a pool and a reward model. Default: itself.

        Raises:
            NotTunedError: If it needs a promise that was not shown for the router.
        """
        return self

    def observe(self, audit: Any) -> None:
        """Learn from an ``Audit`` of a call (``bestroute.monitoring``). Default: nothing is learnt.

        May be called from any thread, some time after the call.
        """

    def observe_certain(self, calls: int, probability: float) -> None:
        """Take notice of calls that the reference answered, so that nothing was lost. By default nothing follows.

        May be called from any thread, that of a call among them.

        Args:
            calls: How many.
            probability: With which each would have been audited.
        """

    def observe_failed(self) -> None:
        """Take notice of an audit that showed nothing: it failed, or nothing could compare. By default nothing follows.

        May be called from any thread, that of a call among them.
        """


def declares_probability(reward_model: RewardModelBase) -> bool:
    """Whether uncalibrated rewards can be compared with ``accept``, because they are declared to be probabilities."""
    return tuple(reward_model.range or ()) == (0.0, 1.0)


def not_calibrated(reward_model: object) -> str:
    """Return the message that a plan with ``accept`` cannot use this reward model."""
    return (
        f"a plan with accept needs a calibrated reward, and {type(reward_model).__name__} is not: declare "
        "range = (0.0, 1.0) if it is a probability, or give it a method calibrated(rewards)"
    )


def completed(part: Any, base: type[_Base]) -> _Base:
    """Return a wrapper that adds the defaults of a base class to an object.

    Members of the object are looked up at each use; one that is ``None`` counts as missing.

    Args:
        part: An object with the methods that the base's protocol requires.
        base: One of the classes above.
    """
    if isinstance(part, base):
        return part
    own = {name: property(attrgetter(f"_part.{name}")) for name in _members(base) if _has(part, name, base)}
    ends = {"__reduce__": lambda self: (completed, (self._part, base)), "__str__": lambda self: str(self._part)}
    twin: Any = type(type(part).__name__, (base,), {**own, **ends})()
    twin._part = part
    return twin  # type: ignore[no-any-return]


def has_own(part: object, method: Callable[..., Any]) -> bool:
    """Whether an object overrides this default method of its base class."""
    return getattr(getattr(part, method.__name__), "__func__", None) is not method


def _members(base: type) -> list[str]:
    return [name for name in dir(base) if not name.startswith("_")]


def _has(part: object, name: str, base: type) -> bool:
    value = getattr(part, name, None)
    return value is not None and (callable(value) or not callable(getattr(base, name)))
