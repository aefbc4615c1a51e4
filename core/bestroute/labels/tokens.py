"""Tokens and costs of samples: as recorded, else the means of the training records, else the pool's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bestroute.errors import RecordError
from bestroute.types.arrays import BoolArray, FloatArray, IntArray
from bestroute.types.pool import Pool
from bestroute.types.prices import PER_MILLION

TokenMeans = Mapping[str, Mapping[str, float | None]]
"""Mean ``"input"`` and ``"output"`` tokens of each model on the training records; ``None`` if never recorded."""


@dataclass(frozen=True, eq=False)
class RecordedUsage:
    """Tokens and costs as recorded; NaN if not recorded."""

    output_tokens: FloatArray
    """Shape ``(Q, K, S)``."""
    input_tokens: FloatArray
    """Shape ``(Q, K)``."""
    usd: FloatArray
    """Cost of a sample, with its prompt, USD, shape ``(Q, K, S)``."""

    def take(self, rows: IntArray) -> RecordedUsage:
        """Return the usage of some of the records."""
        return RecordedUsage(self.output_tokens[rows], self.input_tokens[rows], self.usd[rows])

    def means(self, pool: Pool) -> dict[str, dict[str, float | None]]:
        """Return the means of what is recorded, as ``TokenMeans``."""
        return {
            model: {"input": _mean(self.input_tokens[:, k]), "output": _mean(self.output_tokens[:, k])}
            for k, model in enumerate(pool.models)
        }


def fill(pool: Pool, recorded: RecordedUsage, present: BoolArray, means: TokenMeans) -> tuple[FloatArray, FloatArray]:
    """Fill in missing tokens: the model's training mean, else the pool's default, else what the cost amounts to.

    Args:
        pool: Prices and defaults.
        recorded: Usage as recorded.
        present: Whether a sample exists, shape ``(Q, K, S)``.
        means: Mean tokens of the training records.

    Returns:
        Output tokens ``(Q, K, S)`` and input tokens ``(Q, K)``.

    Raises:
        RecordError: If there is no source for them; names the model.
    """
    outputs, inputs = recorded.output_tokens.copy(), recorded.input_tokens.copy()
    everywhere = np.ones(len(inputs), dtype=bool)
    for k, model in enumerate(pool.models):
        endpoint, known = pool.endpoint(model), means.get(model, {})
        are_costs_recorded = not np.isnan(recorded.usd[:, k][present[:, k]]).any()
        for array, name, default, where in (
            (outputs[:, k], "output", endpoint.default_output_tokens, present[:, k]),
            (inputs[:, k], "input", endpoint.default_input_tokens, everywhere),
        ):
            missing = np.isnan(array) & where
            if not missing.any():
                continue
            if (mean := known.get(name)) is not None:
                array[missing] = mean
            elif default is not None:
                array[missing] = default
            elif are_costs_recorded and name == "output" and pool.prices[model].output > 0:
                array[missing] = (recorded.usd[:, k] * PER_MILLION / pool.prices[model].output)[missing]
            elif are_costs_recorded and name == "input" and pool.bills(model) == "per_sample":
                array[missing] = 0.0  # the output tokens already account for the whole cost
            else:
                raise RecordError(
                    f"no record has {name}_tokens of {model!r}, so its cost is unknown; add them or 'cost_usd' to "
                    f"the records, or default_{name}_tokens to the pool"
                )
    return outputs, inputs


def costs(pool: Pool, outputs: FloatArray, inputs: FloatArray, usd: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the cost of prompts ``(Q, K)`` and of samples drawn alone ``(Q, K, S)``, USD."""
    prices = [pool.prices[model] for model in pool.models]
    prompt = inputs * np.array([p.input for p in prices]) / PER_MILLION
    answer = outputs * np.array([p.output for p in prices])[:, None] / PER_MILLION
    single = np.where(np.isnan(usd), prompt[:, :, None] + answer, usd)
    return np.minimum(prompt, np.nanmin(single, axis=2)), single


def _mean(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
