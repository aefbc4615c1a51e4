"""A draw's parameters: what the caller asked for, and what the engine wishes for beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DrawParams(dict[str, Any]):
    """The parameters of a call, with wishes of the engine's that a generator may grant or pass over.

    Args:
        params: What the caller asked for.
        greedy: Wish for a draw at temperature 0.
        logprobs: Wish for the log-probabilities of the tokens.
    """

    def __init__(self, params: Mapping[str, Any] = {}, *, greedy: bool = False, logprobs: bool = False) -> None:
        """Keep both apart."""
        super().__init__(params)
        self.greedy, self.logprobs = greedy, logprobs


def wishes_greedy(params: Mapping[str, Any]) -> bool:
    """Whether the engine wishes for a draw at temperature 0."""
    return isinstance(params, DrawParams) and params.greedy


def wishes_logprobs(params: Mapping[str, Any]) -> bool:
    """Whether the engine wishes for log-probabilities."""
    return isinstance(params, DrawParams) and params.logprobs


def sets_sampling(params: Mapping[str, Any]) -> bool:
    """Whether parameters say how to sample, at the top or among the options within: then nobody else does.

    Example:
        >>> sets_sampling({"temperature": None, "stop": ["x"]}), sets_sampling({"options": {"temperature": 0.2}})
        (False, True)
    """
    for name, value in params.items():
        if name in _SAMPLING and value is not None:
            return True
        if isinstance(value, Mapping) and name in _OPTIONS and sets_sampling(value):
            return True
    return False


_SAMPLING = frozenset({"temperature", "reasoning_effort", "reasoning", "thinking"})
"""Reasoning is among them: a model that reasons takes no temperature."""
_OPTIONS = frozenset({"options", "extra_body", "model_kwargs", "additional_kwargs", "generation_config"})
