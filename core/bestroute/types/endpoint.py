"""How a member of a pool is reached, asked and billed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BillsInput = Literal["per_sample", "once"]
"""``per_sample``: n calls, the prompt is billed n times; ``once``: n choices of one call, billed once."""


MOST_N = 1000
"""The largest ``max_n``: every n up to it is a candidate."""


@dataclass(frozen=True)
class Endpoint:
    """Where a member is reached and how it is asked, as a pool file says it."""

    base_url: str | None = None
    """An OpenAI-compatible endpoint; ``None`` is the client's own default."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; the key itself is never in a file."""
    api_model: str | None = None
    """The provider's name of the model; ``None`` is the pool name."""
    temperature: float | None = None
    max_tokens: int | None = None
    default_input_tokens: float | None = None
    """Tokens of a prompt where a record tells none."""
    default_output_tokens: float | None = None
    """Tokens of a sample where a record tells none."""
    logprobs: bool | None = None
    """Whether it is asked for the log-probabilities of its tokens: always, never, or (``None``) where a plan's reward
    model reads them."""
