"""A router's predictions for records, with the expected cost of every plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bestroute.billing.expected_cost import plan_costs
from bestroute.labels import SampleArrays
from bestroute.router.multi_head import MultiHeadRouter
from bestroute.types.arrays import FloatArray
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction


def predicted(
    router: MultiHeadRouter,
    arrays: SampleArrays,
    features: NDArray[np.float32] | None = None,
    *,
    pool: Pool | None = None,
) -> tuple[Prediction, FloatArray]:
    """Return the router's predictions for records and the expected cost of every plan, USD, shape ``(Q, P)``.

    Args:
        router: A router for the records' pool, or for ``pool``.
        arrays: The records.
        features: Features of the records' queries, if they are computed already.
        pool: The pool whose prices apply; default: the records'.
    """
    prediction = router.predict(arrays.queries(), features)
    inputs = arrays.input_tokens[:, arrays.pool.models.index(arrays.pool.reference)]
    return prediction, plan_costs(
        prediction.plans, prediction.expected_draws, prediction.output_tokens, inputs, pool or arrays.pool
    )
