"""Draw a random sample of calls, optionally stratified by day, task or length."""

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


def check_sample(size: int | None, by: Sequence[str]) -> None:
    """Check the options of sampling.

    Raises:
        ConfigError: If a name is unknown or ``size < 1``.
    """
    if unknown := [name for name in by if name not in STRATA]:
        raise ConfigError(f"--stratify takes {named(STRATA)}, got {named(unknown)}")
    if size is not None and size < 1:
        raise ConfigError(f"--sample must be >= 1, got {size}")


def stratum_of(call: LoggedCall, by: Sequence[str]) -> tuple[str, ...]:
    """Return the stratum of a call by names of ``STRATA``; without names all calls are in one."""
    return tuple(STRATA[name](call) for name in by)


def subsample(strata: Sequence[tuple[str, ...]], size: int, seed: int) -> list[int]:
    """Return the ascending indices of a proportional sample, with one of each stratum if there is room.

    Args:
        strata: The stratum of every call.
        size: Size of the sample.
        seed: Seed of the sample.
    """
    if size >= len(strata):
        return list(range(len(strata)))
    places_of: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, stratum in enumerate(strata):
        places_of[stratum].append(place)
    random = Random(seed)
    for places in places_of.values():
        random.shuffle(places)
    return sorted(place for key, count in _shares(places_of, size).items() for place in places_of[key][:count])


def _shares(strata: Mapping[tuple[str, ...], Sequence[int]], size: int) -> dict[tuple[str, ...], int]:
    """Divide the sample proportionally by largest remainder, with one for each stratum first, largest first."""
    total = sum(map(len, strata.values()))
    shares = {key: min(len(places), size * len(places) // total) for key, places in strata.items()}
    remainder = {key: size * len(places) / total - shares[key] for key, places in strata.items()}
    order = sorted(strata, key=lambda key: (shares[key] > 0, -remainder[key], -len(strata[key]), key))
    left = size - sum(shares.values())
    for key in order:
        if left and shares[key] < len(strata[key]):
            shares[key], left = shares[key] + 1, left - 1
    return shares
