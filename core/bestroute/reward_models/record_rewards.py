"""Records with the rewards that a trained model gives them."""

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
    """Return records whose rewards are the model's, as probabilities: they order samples, and plans accept on them.

    Args:
        model: A trained reward model.
        records: Every sample of them needs a text.
        for_training: Of records that the model was trained on take the rewards that were held out when it was, as
            a router may learn from them. Else such records are refused: they would flatter it.
        on_progress: Told the records done and all records.

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
                f"the reward model was trained on the {what} {name!r}, so this would flatter it; give other records"
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
