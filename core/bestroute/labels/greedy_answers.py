"""The recorded answer of each model at temperature 0: the first draw of a plan with several draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bestroute.labels.answer_forms import form_reader
from bestroute.labels.reward_kinds import RewardKind
from bestroute.records.records import GreedySample, Record
from bestroute.types.arrays import BoolArray, FloatArray, IntArray
from bestroute.types.pool import Pool
from bestroute.types.signals import answer_probability


@dataclass(frozen=True, eq=False)
class GreedyAnswers:
    """Greedy answers of ``Q`` records and ``K`` models; NaN for models without one."""

    is_drawn: BoolArray
    """Whether a model has one in every record, shape ``(K,)``."""
    quality: FloatArray
    """Shape ``(Q, K)``, like the arrays below."""
    reward: FloatArray
    answers: IntArray
    """Numbered as the samples' answers are; 0 if no votes are counted."""
    probability: FloatArray
    output_tokens: FloatArray
    """NaN if not recorded."""
    usd: FloatArray
    """NaN if not recorded."""

    def take(self, rows: IntArray) -> GreedyAnswers:
        """Return the greedy answers of some of the records."""
        by_record = ("quality", "reward", "answers", "probability", "output_tokens", "usd")
        return replace(self, **{name: getattr(self, name)[rows] for name in by_record})


def greedy_answers(
    records: Sequence[Record],
    pool: Pool,
    kind: RewardKind,
    rewards: FloatArray | None,
    normalise: Callable[[str], str],
    answers: IntArray | None,
    fooled: BoolArray,
) -> GreedyAnswers | None:
    """Read the greedy answers of records; ``None`` if no model has a judged one in every record.

    Args:
        records: The records.
        pool: The models.
        kind: Kind of reward; a greedy answer that lacks what the kind needs is ignored.
        rewards: Rewards of the samples; ``None`` if they have none.
        normalise: Brings answers to canonical form for a majority vote.
        answers: Numbered answers of the samples, if they vote.
        fooled: Whether a verifier would accept the greedy answer if it is wrong, shape ``(Q, K)``.
    """
    shape = (len(records), len(pool.models))
    quality, reward, probability, tokens, usd = (np.full(shape, np.nan) for _ in range(5))
    numbers = np.zeros(shape, dtype=np.intp)
    is_drawn = np.array([all(_is_usable(r.samples[m].greedy, kind, rewards) for r in records) for m in pool.models])
    if not is_drawn.any():
        return None
    for q, record in enumerate(records):
        form_of = normalise if kind == "majority" else form_reader(record)
        number = {} if answers is None else _numbers(record, pool, form_of, answers[q])
        for k in np.flatnonzero(is_drawn):
            greedy = record.samples[pool.models[k]].greedy
            assert greedy is not None
            quality[q, k], probability[q, k] = greedy.quality, answer_probability(greedy.signals)
            for column, value in ((reward, greedy.reward), (tokens, greedy.output_tokens), (usd, greedy.cost_usd)):
                column[q, k] = np.nan if value is None else value
            if answers is not None:
                numbers[q, k] = number.setdefault(form_of(greedy.text or ""), len(number))
    if kind == "quality":
        reward = np.where(fooled & (quality < 0.5), 1.0, quality)
    if kind == "logprobs":
        reward = np.nan_to_num(probability)
    return GreedyAnswers(is_drawn, quality, reward, numbers, probability, tokens, usd)


def _is_usable(greedy: GreedySample | None, kind: RewardKind, rewards: FloatArray | None) -> bool:
    if greedy is None or greedy.quality is None:
        return False
    if kind == "recorded":
        return rewards is None or greedy.reward is not None
    return kind in ("quality", "logprobs") or greedy.text is not None


def _numbers(record: Record, pool: Pool, form_of: Callable[[str], str], numbers: IntArray) -> dict[str, int]:
    """Return the number of each answer of a record's samples, by its form; the empty answer is 0."""
    found = {"": 0}
    for k, model in enumerate(pool.models):
        for s, text in enumerate(record.samples[model].text or ()):
            found[form_of(text)] = int(numbers[k, s])
    return found
