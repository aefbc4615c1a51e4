"""The seams: what a router, a policy, a reward model and a generator must do. Each is faked in ten lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.sample import Cancel, Delta, Sample

if TYPE_CHECKING:
    from bestroute.types.pool import Pool
    from bestroute.types.prediction import Prediction
    from bestroute.types.query import Query


@runtime_checkable
class Router(Protocol):
    """Predicts, for each query, how every plan would do."""

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Return predictions over plans; no model is called."""
        ...


class Policy(Protocol):
    """Chooses a plan from predictions."""

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query.

        Args:
            prediction: Over ``Q`` queries and ``P`` plans.
            cost_usd: Expected cost, shape ``(Q, P)``, USD.
            pool: The pool; its reference is the fallback.
        """
        ...


@runtime_checkable
class ExplainingPolicy(Policy, Protocol):
    """A policy that can say why; one that cannot is explained by the numbers of its plans."""

    def verdicts(self, prediction: Prediction, cost_usd: FloatArray, chosen: int, pool: Pool) -> Sequence[str]:
        """Say for each plan of a single query why it was taken or not, and what would flip it."""
        ...


@runtime_checkable
class RewardModel(Protocol):
    """Scores the samples of one query; higher is better.

    A reward that is a probability of being as good as the reference declares ``range = (0.0, 1.0)`` (it may then
    be compared with a step's ``accept``), or has a method ``calibrated(rewards) -> list[float]`` that maps its
    scores to one. A reward in which samples judge each other (a vote) declares ``is_joint = True`` and is asked
    about all samples drawn so far. ``ascore`` is optional.
    """

    def score(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Return a reward for each text."""
        ...


class Generator(Protocol):
    """Draws samples of one pool member.

    ``native_n`` says that ``generate(query, n)`` is one call that bills the prompt once; otherwise the engine
    makes ``n`` calls of ``generate(query, 1)`` at the same time. A failed draw is raised, or returned as a sample
    with ``error`` when others of the same call succeeded. ``agenerate``, ``stream`` and ``astream`` are optional:
    the engine runs ``generate`` in a thread, or emits the whole text at once, where they are missing. A stream
    ends with the finished ``Sample``.
    """

    native_n: bool

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples."""
        ...


class AsyncGenerator(Generator, Protocol):
    """A generator that can also wait without a thread."""

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples."""
        ...


class StreamGenerator(Generator, Protocol):
    """A generator that can hand out its sample as it comes."""

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield deltas, then the finished sample."""
        ...

    def astream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> AsyncIterator[Delta | Sample]:
        """Yield deltas, then the finished sample."""
        ...
