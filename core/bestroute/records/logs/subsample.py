"""A part of the calls that stands for all of them: drawn at random, by day, task or length where that is wished."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from random import Random

from bestroute.errors import ConfigError, named
from bestroute.records.logs.logged_call import LoggedCall

STRATA: Mapping[str, Callable[[LoggedCall], str]] = {
    "day": lambda call: "" if call.at is None else call.at.date().isoformat(),
    "task": lambda call: call.task,
    "length": lambda call: str(int(math.log2(1 + len(call.query)))),
}


def subsample(calls: Sequence[LoggedCall], size: int, by: Sequence[str], seed: int) -> list[LoggedCall]:
    """Return so many calls in their order, each stratum in its share, and one of each that there is room for.

    Args:
        calls: All of them.
        size: How many are wanted.
        by: Names in ``STRATA``; none: by chance alone.
        seed: Of the drawing.

    Raises:
        ConfigError: If a name is unknown or ``size < 1``.
    """
    if unknown := [name for name in by if name not in STRATA]:
        raise ConfigError(f"--stratify takes {named(STRATA)}, got {named(unknown)}")
    if size < 1:
        raise ConfigError(f"--sample must be >= 1, got {size}")
    if size >= len(calls):
        return list(calls)
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, call in enumerate(calls):
        strata[tuple(STRATA[name](call) for name in by)].append(place)
    random = Random(seed)
    for places in strata.values():
        random.shuffle(places)
    taken = [place for key, count in _shares(strata, size).items() for place in strata[key][:count]]
    return [calls[place] for place in sorted(taken)]


def _shares(strata: Mapping[tuple[str, ...], Sequence[int]], size: int) -> dict[tuple[str, ...], int]:
    """Divide a number in proportion, by largest remainder, with one for each first, largest strata before others."""
    total = sum(map(len, strata.values()))
    shares = {key: min(len(places), size * len(places) // total) for key, places in strata.items()}
    remainder = {key: size * len(places) / total - shares[key] for key, places in strata.items()}
    order = sorted(strata, key=lambda key: (shares[key] > 0, -remainder[key], -len(strata[key]), key))
    left = size - sum(shares.values())
    for key in order:
        if left and shares[key] < len(strata[key]):
            shares[key], left = shares[key] + 1, left - 1
    return shares
