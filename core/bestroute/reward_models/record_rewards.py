"""Score the samples of records with a trained reward model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from bestroute.errors import RecordError
from bestroute.records.records import Record
from bestroute.reward_models.proxy import ProxyRewardModel
from bestroute.types.query import Query


def score_records(
    model: ProxyRewardModel,
    records: Sequence[Record],
    *,
    for_training: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> list[Record]:
    """Return records with the model's calibrated rewards, which order samples and decide acceptance.

    Args:
        model: A trained reward model.
        records: Records whose samples all have texts.
        for_training: For records that the model was trained on, use the held-out rewards, as
            a router may learn from them. Otherwise such records are refused, since the model's rewards on them are
            biased.
        on_progress: Called with the number of records done and in total.

    Raises:
        RecordError: If a text is missing, or the model was trained on a record or its group and no held-out reward
            of it was kept.
    """
    scored = []
    for done, record in enumerate(records, start=1):
        is_seen = model.seen_records.has_id(record.id) or model.seen_records.has_group(record.group)
        if is_seen and not for_training:
            what, name = ("id", record.id) if model.seen_records.has_id(record.id) else ("group", record.group)
            raise RecordError(
                f"the reward model was trained on the {what} {name!r}, so its rewards would look too good; give other "
                "records, or evaluate --cross-fit 5, which trains anew for each fold"
            )
        samples = {}
        for name, own in record.samples.items():
            if own.text is None:
                raise RecordError(
                    f"record {record.id!r}: 'samples.{name}.text' is missing, and a reward model reads it"
                )
            if is_seen:
                rewards = model.held_out.find([(record.id, name, text) for text in own.text])
                if np.isnan(rewards).any():
                    raise RecordError(
                        f"record {record.id!r}: the reward model was trained on it or its group, and kept no held-out "
                        "reward of its samples; train the reward model with --folds 5, or on other records"
                    )
            else:
                rewards = np.array(model.score(Query(record.query), own.text))
            samples[name] = replace(own, reward=tuple(model.calibrated(rewards.tolist())))
        scored.append(replace(record, samples=samples))
        if on_progress is not None:
            on_progress(done, len(records))
    return scored
