"""The seams: what a router, a policy, a reward model and a generator must do; what each may do stands in ``bases``."""

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
    """Predicts, for each query, how every plan would do. What else it may have: ``RouterBase``."""

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Return predictions over plans; no model is called."""
        ...


class Policy(Protocol):
    """Chooses a plan from predictions. What else it may have: ``PolicyBase``, its reasons among it."""

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
    """Scores the samples of one query; higher is better. What else it may have: ``RewardModelBase``."""

    def score(self, query: Query, texts: Sequence[str]) -> Sequence[float]:
        """Return a reward for each text."""
        ...


class Generator(Protocol):
    """Draws samples of one pool member. What else it may have: ``GeneratorBase``.

    ``native_n`` says that ``generate(query, n)`` is one call that bills the prompt once; otherwise the engine
    makes ``n`` calls of ``generate(query, 1)`` at the same time. A failed draw is raised, or returned as a sample
    with ``error`` when others of the same call succeeded.
    """

    native_n: bool

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples."""
        ...
