"""Tables of live traffic: what a router trained on one part of a set would have done, at every price, on another part.

``live.py`` draws its streams from them; the data are not part of the project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import DataSet  # first: it sets how many threads numpy may use

import numpy as np  # isort: skip

from bestroute.labels import SampleArrays, label_plans
from bestroute.records.records import read_records
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.pool import Pool

SETS = (
    DataSet("livecodebench", "livecodebench", "quality", "by time"),
    DataSet("reasoning_gym", "reasoning_gym", "recorded", "by task"),
    DataSet("routellm_mmlu", "routellm", "recorded", "by topic"),
)
CUTS = (0.6, 0.4, 0.8, 0.5, 0.7)
"""Shares of livecodebench that are trained on, oldest first within each site; the first of them is the first deal."""
MOST_TRAINED = 2_500
"""Queries of routellm_mmlu that a deal trains on."""
TARGETS = ("0", "0.01", "0.03")


@dataclass(frozen=True, eq=False)
class Table:
    """What ``P`` plans give on ``Q`` queries, in their order, and what a router predicted of it.

    Args:
        quality, cost: True expected quality, and cost in USD, of every plan, shape ``(Q, P)``.
        expected_quality, expected_cost: As the router predicted, shape ``(Q, P)``.
        own: The column of the plan "one sample of the reference".
        path: The router's prices, USD, rising.
        frozen: For each of ``TARGETS`` the price; infinite: the reference alone.
        tasks: Of each query.
    """

    quality: FloatArray
    cost: FloatArray
    expected_quality: FloatArray
    expected_cost: FloatArray
    own: int
    path: FloatArray
    frozen: FloatArray
    tasks: np.ndarray[Any, Any]

    def save(self, path: Path) -> None:
        """Write it."""
        np.savez_compressed(path, **self.__dict__)

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read it."""
        with np.load(path) as found:
            return cls(**{name: found[name] for name in found.files})


def split(data: DataSet, arrays: SampleArrays, tasks: Sequence[str], deal: int) -> tuple[IntArray, IntArray]:
    """Return the rows that are trained on and those that the stream is of, the latter in their order."""
    rng = np.random.default_rng(deal)
    if data.name == "livecodebench":
        number = np.array([int(re.sub(r"\D", "", group) or 0) for group in arrays.groups])
        site = np.array([re.sub(r"\d.*", "", group) for group in arrays.groups])
        age = np.zeros(len(arrays))
        for name in set(site):
            rows = np.flatnonzero(site == name)
            ranks = np.unique(number[rows], return_inverse=True)[1]
            age[rows] = (ranks + 0.5) / (ranks.max() + 1)
        train, rest = np.flatnonzero(age < CUTS[deal]), np.flatnonzero(age >= CUTS[deal])
        return train, rest[np.argsort(age[rest], kind="stable")]
    of = np.array(tasks)
    names = rng.permutation(np.unique(of))
    mine = np.isin(of, names[: int(0.6 * len(names))])
    train, rest = np.flatnonzero(mine), np.flatnonzero(~mine)
    seen_groups = {arrays.groups[row] for row in train}
    rest = np.array([row for row in rest if arrays.groups[row] not in seen_groups], dtype=np.intp)
    train = rng.permutation(train)[:MOST_TRAINED] if data.name == "routellm_mmlu" else train
    place = {name: i for i, name in enumerate(names)}
    return np.sort(train), rest[np.argsort([place[of[row]] for row in rest], kind="stable")]


def tables(data: DataSet, shared: Path, deals: Sequence[int]) -> Iterator[tuple[int, Table]]:
    """Train a router for each deal and let it choose at every price."""
    pool = Pool.from_file(shared / "data" / "pools" / f"{data.pool}.yaml")
    if data.reward == "recorded":  # nothing chooses among samples
        pool = replace(pool, max_n=1)
    records = read_records(shared / "data" / f"{data.name}.jsonl.gz", pool=pool)
    arrays = SampleArrays.of(records, pool, reward=data.reward)  # type: ignore[arg-type]
    tasks = [str(record.group if data.name == "reasoning_gym" else record.task) for record in records]
    for deal in deals:
        train, test = split(data, arrays, tasks, deal)
        part = arrays.take(train)
        router = train_router(part, TrainSettings(reward=data.reward, seed=deal)).router  # type: ignore[arg-type]
        stream = arrays.take(test).with_token_means(part.token_means)
        labels = label_plans(stream, router.plans, matches=False)
        prediction, cost = predicted(router, stream)
        prices = [router.frozen[target] for target in TARGETS]
        yield (
            deal,
            Table(
                labels.quality,
                labels.cost_usd,
                prediction.expected_quality,
                cost,
                router.plans.index(stream.pool.reference_plan),
                np.array(router.path),
                np.array([np.inf if price is None else price for price in prices]),
                np.array(tasks)[test],
            ),
        )
