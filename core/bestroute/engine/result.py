"""The result of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from bestroute.engine.decision import Decision
from bestroute.errors.redaction import describe
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample
from bestroute.types.signals import Signals
from bestroute.types.usage import Usage


@dataclass(frozen=True, eq=False)
class Result:
    """The answer of one run, with all samples drawn for it and the bill."""

    text: str
    payload: Any
    """The framework's own object for the chosen sample."""
    samples: tuple[DrawnSample, ...]
    """All samples in drawing order."""
    chosen: int
    """Index of the answer in ``samples``."""
    decision: Decision
    usage: Usage
    """Billed tokens of all samples together."""
    cost_usd: float
    reference_cost_usd: float
    """The cost of one sample of the reference for this prompt."""
    reference_cost_is_estimated: bool
    query: Query | None = field(default=None, repr=False)
    """The query; ``to_dict`` leaves it out, and removes it where an error quotes it."""
    call_id: str = ""
    """The call's id in the ledger."""

    @property
    def model(self) -> str:
        """Pool name of the model that gave the answer."""
        return self.samples[self.chosen].model

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, which the adapters attach to the message."""
        samples = [
            {
                "model": s.model,
                "step": s.step,
                "reward": _plain(s.reward),
                "accepted": s.accepted,
                "cost_usd": s.cost_usd,
                "signals": None if s.sample.signals is None else _plain_signals(s.sample.signals),
                "error": None if s.sample.error is None else describe(s.sample.error, self.query),
            }
            for s in self.samples
        ]
        return {
            "call_id": self.call_id,
            "model": self.model,
            "n": len(samples),
            "chosen": self.chosen,
            "samples": samples,
            "rewards": [sample["reward"] for sample in samples],
            "flaws": [s.sample.flaw or s.sample.unchecked for s in self.samples],
            "reason": self.decision.reason,
            "familiarity": self.decision.familiarity,
            "cost_usd": self.cost_usd,
            "reference_cost_usd": self.reference_cost_usd,
            "reference_cost_is_estimated": self.reference_cost_is_estimated,
            "plan": self.decision.plan.to_json(),
            "shadow": None if self.decision.shadow is None else self.decision.shadow.plan.to_json(),
        }


def _plain_signals(signals: Signals) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, float) else value for name, value in vars(signals).items()}


def _plain(reward: float | None) -> float | None:
    """Return a reward as JSON: NaN and infinity become ``None``."""
    return reward if reward is not None and math.isfinite(reward) else None
