"""Where the rewards of records come from."""

from __future__ import annotations

from typing import Literal

RewardKind = Literal["recorded", "quality", "majority", "logprobs", "agreement", "confidence"]
"""Where the rewards of records come from: their own, their quality (a verifier known at run time), a vote, the
probability of short answers by their tokens, agreement of answers by their form, or both of the last."""
