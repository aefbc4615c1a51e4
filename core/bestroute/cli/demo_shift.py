"""The demo's change of traffic: streams of its held-out queries in which the kinds of task change halfway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bestroute.evaluation.shift import Shift

TARGET, AUDIT, STREAMS, CALLS = 0.05, 0.05, 20, 10_000


def shift_lines(seed: int = 0, *, streams: int = STREAMS, calls: int = CALLS) -> Iterator[str]:
    """Yield the results of a frozen price and of one that follows audits, as lines."""
    from bestroute.evaluation.shift import SPANS

    yield ""
    yield (
        f"Traffic that changes midway: {streams} streams of 2 x {calls:,} calls of the same questions, aimed at a drop "
        f"of {TARGET:.0%}; mean (+- standard deviation over streams)."
    )
    yield (
        f"frozen: the best price for the first half in hindsight; follow: the same to begin with, steered by audits of "
        f"{AUDIT:.0%} of the calls, whose cost is taken off."
    )
    names = ("to what the middle model is bad at", "to what it is good at")
    for name, found in zip(names, demo_shifts(seed, streams=streams, calls=calls), strict=True):
        yield f"  90 % of the calls change {name}"
        for part in SPANS:
            yield f"    {part:7} frozen {found.frozen[part]}   follow {found.follow[part]}"


def demo_shifts(seed: int = 0, *, streams: int = STREAMS, calls: int = CALLS) -> tuple[Shift, Shift]:
    """Return what they come to on the demo's recorded answers, computed now, in both directions.

    Kinds of task are told apart on the training templates alone: the half of them in which the middle model falls
    furthest behind the reference, and the others.
    """
    from bestroute.demo.dataset import ROUTER, demo_arrays, demo_pool, held_out, training
    from bestroute.evaluation.shift import shifted
    from bestroute.labels import label_plans
    from bestroute.router import MultiHeadRouter
    from bestroute.router.predicting import predicted

    router, pool, records = MultiHeadRouter.from_pretrained(ROUTER), demo_pool(), held_out()
    middle = pool.cheaper_models[-1]
    gaps: dict[str, list[float]] = {}
    for record in training():
        quality = [
            float(np.mean([q for q in record.samples[model].quality if q is not None]))
            for model in (pool.reference, middle)
        ]
        gaps.setdefault(record.task, []).append(quality[0] - quality[1])
    kinds = sorted({record.task for record in records}, key=lambda task: float(np.mean(gaps[task])))
    is_far = np.isin([record.task for record in records], kinds[len(kinds) // 2 :])
    arrays = demo_arrays(records, pool)
    # the engine guesses the length of prompts, as it does when it decides
    guessed = np.array([[float(query.prompt_tokens)] * len(pool.models) for query in arrays.queries()])
    prediction, cost = predicted(router, replace(arrays, input_tokens=guessed))
    labels = label_plans(arrays, router.plans)
    first, second = (
        shifted(
            router, pool, labels, prediction, cost, of_new,
            target=TARGET, audit=AUDIT, calls=calls, streams=streams, seed=seed,
        )
        for of_new in (is_far, ~is_far)
    )  # fmt: skip
    return first, second
