"""Where the rewards of records come from."""

from __future__ import annotations

from typing import Literal

RewardKind = Literal["recorded", "quality", "majority"]
"""Where the rewards of records come from: their own, their quality (a verifier known at run time), or a vote."""
