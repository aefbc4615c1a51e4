"""Split records into parts that share no group, at random or by time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random

from bestroute.errors import ConfigError
from bestroute.records.logs.logged_call import moment
from bestroute.records.records import Record


def split_records(
    records: Sequence[Record], shares: Mapping[str, float], *, by_time: bool = False, seed: int = 0
) -> dict[str, list[Record]]:
    """Divide records by group into named parts.

    Each group is assigned to the part that is furthest below its share, the largest groups first, so that parts are
    close to their shares even if a few groups are large. By time, groups are ordered by their first record, so that the
    training part precedes the test part, as in use.

    Args:
        records: Records with groups; for ``by_time`` with a ``time`` field.
        shares: Share of each part, in the order of time; they sum to 1.
        by_time: Whether to order groups by time instead of at random.
        seed: Seed of the random order.

    Raises:
        ConfigError: If the shares are invalid, there are fewer groups than parts, or a record has no time.
    """
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) <= 0:
        raise ConfigError(f"the shares of a split must be above 0 and sum to 1, got {dict(shares)}")
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.group].append(record)
    if len(groups) < len(shares):
        raise ConfigError(
            f"{len(groups)} groups cannot be split into {len(shares)} parts, since a group stays whole; "
            "give more records, or leave 'group' out where queries do not belong together"
        )
    place = _by_time(groups, shares, len(records)) if by_time else _at_random(groups, shares, len(records), seed)
    return {name: [record for record in records if place[record.group] == name] for name in shares}


def _at_random(
    groups: Mapping[str, Sequence[Record]], shares: Mapping[str, float], total: int, seed: int
) -> dict[str, str]:
    order = sorted(groups)
    Random(seed).shuffle(order)
    order.sort(key=lambda group: -len(groups[group]))
    left = {name: share * total for name, share in shares.items()}
    place: dict[str, str] = {}
    for number, group in enumerate(order):
        empty = [name for name in shares if name not in place.values()]
        names = empty if len(order) - number <= len(empty) else list(shares)
        name = max(names, key=lambda name: left[name])
        place[group], left[name] = name, left[name] - len(groups[group])
    return place


def _by_time(groups: Mapping[str, Sequence[Record]], shares: Mapping[str, float], total: int) -> dict[str, str]:
    times = {}
    for group, records in groups.items():
        found = [moment(record.extra.get("time")) for record in records]
        known = [at for at in found if at is not None]
        if len(known) < len(found):
            at = found.index(None)
            raise ConfigError(f"record {records[at].id!r} has no 'time', so records cannot be split by time")
        times[group] = min(known)
    names = list(shares)
    place, done = {}, 0
    ends = [sum(list(shares.values())[: i + 1]) * total for i in range(len(names))]
    for group in sorted(groups, key=lambda group: (times[group], group)):
        middle = done + len(groups[group]) / 2
        place[group] = next((name for name, end in zip(names, ends, strict=True) if middle <= end), names[-1])
        done += len(groups[group])
    return place
