"""What a generator, a reward model, a router and a policy may have beside what they must: base classes with defaults.

Inherit one, or have the methods and no base class: an object is completed by what the base says of the rest.
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
    """A ``Generator`` and everything that one may have."""

    native_n: bool = False
    """Whether ``generate(query, n)`` is one call that bills the prompt once; else the engine makes ``n`` calls."""
    max_output_tokens: int | None = None
    """The most tokens of one sample; budgets need it, and assume a number where it is ``None``."""
    model_name: str | None = None
    """What the provider calls the model; ``None``: as the pool does."""
    model: str | None = None
    """The same, as clients name it; taken where there is no ``model_name``."""
    provider: str | None = None
    """Who serves it, in the words of OpenTelemetry's conventions: ``openai``, ``anthropic``; ``None``: not known."""
    tools_mode: str = "native"
    """How the member is offered tools, ``"native"`` or ``"prompt"``: what is learnt of it in one way says nothing of
    the other."""

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; see ``Generator.generate``."""
        raise NotImplementedError

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the loop. By default ``generate`` does, in a thread of its own."""
        return await in_own_thread(self.generate, query, n, params=params, cancel=cancel)

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield deltas, then the finished sample. By default the sample alone."""
        yield from self.generate(query, 1, params=params, cancel=cancel)

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield deltas, then the finished sample, without blocking the loop. By default the sample alone."""
        for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
            yield sample

    def lacks(self, query: Query) -> str | None:
        """Say what the member cannot do and the query needs; ``None``, the default: it can answer."""
        return None

    def takes_greedy(self, query: Query) -> bool:
        """Whether a draw may be at temperature 0 in place of one above it; ``DrawParams.greedy`` wishes for it.

        By default not: whose temperature cannot be set keeps its own.
        """
        return False

    def without_retries(self) -> Any:
        """Return a twin that tries once, so that its retries and the engine's do not multiply. By default itself."""
        return self

    def close(self) -> None:
        """Close its connections; it may be used again."""

    async def aclose(self) -> None:
        """Close its connections, those of this event loop among them. By default as ``close`` does."""
        self.close()


class RewardModelBase:
    """A ``RewardModel`` and everything that one may have."""

    range: tuple[float, float] | None = None
    """``(0.0, 1.0)`` says that its rewards are chances to be as good as the reference: a step's ``accept`` may be
    compared with them."""
    is_joint: bool = False
    """Whether samples judge each other, as votes do: then all drawn so far are scored again."""
    needs_training: bool = True
    """Whether it has to be made from records; one that does not is of use where there is no router."""
    default_accept: float | None = None
    """The ``accept`` of the plan that is run where there is no router; ``None``: it gives no such plan."""
    needs_logprobs: bool = False
    """Whether it reads the log-probabilities of samples, so that members are asked for them."""
    is_light: bool = False
    """Whether it takes less than a millisecond, so that async calls give it no thread."""
    kind: str | None = None
    """What it is called in ``--reward`` and in promises, if that is no folder."""
    fingerprint: str | None = None
    """A name that two of them share only if they score alike; promises and caches ask for it."""

    def score(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Return a reward for each text; see ``RewardModel.score``."""
        raise NotImplementedError

    def score_samples(self, query: Query, samples: Sequence[DrawnSample]) -> Sequence[float]:
        """Return a reward for each sample; for rewards that read more of it than its text.

        Its own replaces ``score``: NaN is then what it does not know, which is never accepted. By default ``score``
        does.
        """
        return self.score(query, [sample.text for sample in samples])

    def evidence(self, query: Query, samples: Sequence[DrawnSample]) -> Sequence[float]:
        """Return what it tells a ``Confidence`` of each sample, a probability or NaN. By default its rewards."""
        return self.calibrated(list(self.score_samples(query, samples)))

    async def ascore(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Return a reward for each text without blocking the loop. By default ``score`` does, in a thread."""
        return await in_own_thread(self.score, query, texts)

    def calibrated(self, rewards: Sequence[float]) -> Sequence[float]:
        """Return the chances to be as good as the reference that rewards stand for.

        By default the rewards themselves, if ``range`` says so.

        Raises:
            ConfigError: If they stand for none.
        """
        if not declares_probability(self):
            raise ConfigError(not_calibrated(self))
        return rewards

    def least_samples(self, accept: float) -> int | None:
        """Return how many samples it takes until one can be accepted; ``None``: no number. By default one."""
        return 1


class RouterBase:
    """A ``Router`` and everything that one may have."""

    plans: Sequence[Any] = ()
    """The plans it predicts, which are checked at construction; empty: those of each prediction are."""
    is_light: bool = False
    """Whether it takes about a millisecond, so that async calls give it no thread."""
    default_policy: Policy | None = None
    """What chooses among its plans where the user names no policy."""
    promises: Sequence[Any] = ()
    """What ``tune`` has shown about it."""
    fingerprint: str | None = None
    """A name that two of them share only if they predict alike."""

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Return predictions over plans; see ``Router.predict``."""
        raise NotImplementedError

    def steering_prices(self, drop: float) -> tuple[float, float | None, float] | None:
        """Return the lowest price of quality, the one frozen for a drop, and the highest that was, USD a unit.

        ``None`` in the middle: only the reference alone kept that drop. By default ``None``: it knows none, and its
        price cannot follow audits.
        """
        return None

    def check_pool(self, pool: Pool) -> None:
        """Refuse a pool that it knows nothing of, by a ``ConfigError``. By default it takes every pool."""


class PolicyBase:
    """A ``Policy`` and everything that one may have."""

    is_light: bool = False
    """Whether it takes about a millisecond, so that async calls give it no thread, nor a router that is as light."""
    max_drop: float | None = None
    """The relative drop in quality that it promises or steers to, which ``monitor`` puts beside what audits show."""
    reason: str | None = None
    """Where what it takes comes from, a promise for example; traces show it."""

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query; see ``Policy.choose``."""
        raise NotImplementedError

    def verdicts(self, prediction: Prediction, cost_usd: FloatArray, chosen: int, pool: Pool) -> Sequence[str]:
        """Say for each plan of a single query why it was taken or not, and what would flip it.

        By default in numbers: how much better and dearer than the plan taken each other plan is expected to be.

        Args:
            prediction: Over one query and ``P`` plans.
            cost_usd: Expected cost, shape ``(1, P)``, USD.
            chosen: Index of the plan taken.
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
        """Return the policy that chooses beside a router, a pool and a reward model. By default itself.

        Raises:
            NotTunedError: If it rests on a promise that was never shown about the router.
        """
        return self

    def observe(self, audit: Any) -> None:
        """Take notice of an ``Audit`` of a call (``bestroute.monitoring``). By default nothing follows from it.

        May be called from any thread, some time after the call.
        """


def declares_probability(reward_model: RewardModelBase) -> bool:
    """Whether the rewards as they are can be compared with ``accept``."""
    return tuple(reward_model.range or ()) == (0.0, 1.0)


def not_calibrated(reward_model: object) -> str:
    """Say why a plan with ``accept`` cannot use this reward."""
    return (
        f"a plan with accept needs a calibrated reward, and {type(reward_model).__name__} is not: declare "
        "range = (0.0, 1.0) if it is a probability, or give it a method calibrated(rewards)"
    )


def completed(part: Any, base: type[_Base]) -> _Base:
    """Return an object with the defaults of a base class for what it lacks.

    What it has is looked up in it each time; ``None`` is the same as not to have it.

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
    """Whether an object has a method of its own where its base class has this default."""
    return getattr(getattr(part, method.__name__), "__func__", None) is not method


def _members(base: type) -> list[str]:
    return [name for name in dir(base) if not name.startswith("_")]


def _has(part: object, name: str, base: type) -> bool:
    value = getattr(part, name, None)
    return value is not None and (callable(value) or not callable(getattr(base, name)))
