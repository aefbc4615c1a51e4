"""Protocols: the required methods of routers, policies, reward models and generators; optional ones: ``bases``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.sample import Cancel, Sample

if TYPE_CHECKING:
    from bestroute.types.pool import Pool
    from bestroute.types.prediction import Prediction
    from bestroute.types.query import Query


@runtime_checkable
class Router(Protocol):
    """Predicts how every plan would do on each query. Optional members: ``RouterBase``."""

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Return predictions over plans; no model is called."""
        ...


class Policy(Protocol):
    """Chooses a plan from predictions. Optional members: ``PolicyBase``."""

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query.

        Args:
            prediction: Over ``Q`` queries and ``P`` plans.
            cost_usd: Expected cost, shape ``(Q, P)``, USD.
            pool: The pool; its reference is the fallback.
        """
        ...


@runtime_checkable
class RewardModel(Protocol):
    """Scores the samples of one query; higher is better. Optional members: ``RewardModelBase``."""

    def score(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Return a reward for each text."""
        ...


class Generator(Protocol):
    """Draws samples of one member of a pool. Optional members: ``GeneratorBase``.

    If ``native_n``, ``generate(query, n)`` is one request that bills the prompt once; otherwise the engine calls
    ``generate(query, 1)`` ``n`` times in parallel. A failed draw raises, or, if other draws of the same call
    succeeded, is returned as a sample with ``error``.
    """

    native_n: bool

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples."""
        ...
