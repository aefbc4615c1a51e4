"""The kinds of rewards that samples of records can have."""

from __future__ import annotations

from typing import Literal

RewardKind = Literal["recorded", "quality", "majority", "logprobs", "agreement", "confidence"]
"""``recorded``: rewards in the records. ``quality``: their quality, as from a verifier at run time. ``majority``: a
vote. ``logprobs``: the token probability of short answers. ``agreement``: a vote on canonical forms. ``confidence``:
the last two combined.
"""
