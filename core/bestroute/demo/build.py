"""Trains the router that the demo ships: ``python -m bestroute.demo.build``.

It sees the training groups only. Everything that is chosen is chosen on folds by group inside them, and is then
frozen. Two ways to believe the heads are a standard error apart there, so that the last digits of products of matrices,
which differ between processors, decide: it is made with the kernels of one of them, wherever the command runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bestroute.demo.dataset import POLICIES, RECORDS, ROUTER, demo_arrays, demo_pool, demo_records, training
from bestroute.demo.tasks import check
from bestroute.records.records import Record, read_records, write_records
from bestroute.router import MultiHeadRouter
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.types.pool import Pool

KERNELS = {"OPENBLAS_CORETYPE": "Haswell"}
"""In the environment when numpy is loaded; where a processor has none of these they are passed over."""
SAVINGS = (0.1, 0.3, 0.5)
"""Operating points: for each, the price at which the policy comes closest to that saving on the folds. Nothing is
promised by that; the demo shows what comes of it on groups that were not seen."""


def relabel() -> int:
    """Check every recorded answer anew and write the records back; for when a checker was mended.

    Returns:
        How many samples and greedy answers have another quality now.
    """
    changed = 0
    records = []
    for record in read_records(RECORDS):
        samples = {}
        for model, old in record.samples.items():
            quality = tuple(check(record.extra, text) for text in old.text or ())
            changed += sum(new != before for new, before in zip(quality, old.quality, strict=True))
            greedy = old.greedy
            if greedy is not None:
                right = check(record.extra, greedy.text or "")
                changed += right != greedy.quality
                greedy = replace(greedy, quality=right)
            samples[model] = replace(old, quality=quality, greedy=greedy)
        records.append(replace(record, samples=samples))
    write_records(RECORDS, records)
    return changed


def build(records: Sequence[Record], pool: Pool) -> tuple[MultiHeadRouter, dict[float, float]]:
    """Train a router for majority votes on records.

    Args:
        records: Of the training groups.
        pool: The demo pool.

    Returns:
        The router, and the price of each operating point.
    """
    arrays = demo_arrays(records, pool)
    guessed = np.array([[float(query.prompt_tokens)] * len(pool.models) for query in arrays.queries()])
    # the engine will guess the length of prompts; bills stay what they were
    made = train_router(replace(arrays, input_tokens=guessed), TrainSettings(reward="majority"))
    path = np.array(made.router.path)
    return made.router, {wanted: float(path[np.abs(made.savings - wanted).argmin()]) for wanted in SAVINGS}


def main() -> None:
    """Check the recorded answers, train on the training groups, write the router and its operating points."""
    if os.environ.items().isdisjoint(KERNELS.items()):
        sys.exit(subprocess.call([sys.executable, "-m", "bestroute.demo.build"], env={**os.environ, **KERNELS}))
    changed = relabel()
    demo_records.cache_clear()
    router, prices = build(training(), demo_pool())
    router.save_pretrained(ROUTER)
    POLICIES.write_text(json.dumps({str(saving): price for saving, price in prices.items()}, indent=1) + "\n")
    print(f"{changed} samples relabelled")  # noqa: T201
    print(f"shrinkage {router.shrinkage:.3f}, prices {prices}, fingerprint {router.fingerprint}")  # noqa: T201


if __name__ == "__main__":
    main()
