"""Records as arrays: quality, reward, cost and tokens of every sample of every model of a pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from bestroute.errors import RecordError
from bestroute.labels.answer_forms import form_reader
from bestroute.labels.greedy_answers import GreedyAnswers, greedy_answers
from bestroute.labels.reward_kinds import RewardKind
from bestroute.labels.tokens import RecordedUsage, TokenMeans, costs, fill
from bestroute.labels.vote_rules import AGREEMENT, MAJORITY, VoteRule
from bestroute.records.records import ModelSamples, Record, judged_only
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.pool import Pool
from bestroute.types.query import Query
from bestroute.types.signals import answer_probability


@dataclass(frozen=True, eq=False)
class SampleArrays:
    """``Q`` records of ``K`` models with up to ``S`` samples as arrays; absent samples are NaN."""

    pool: Pool
    quality: FloatArray
    """Shape ``(Q, K, S)``."""
    reward: FloatArray | None
    """Orders samples, shape ``(Q, K, S)``; ``None`` if samples vote or there is no reward."""
    acceptance: FloatArray | None
    """Compared with ``accept``, shape ``(Q, K, S)``; never falls as ``reward`` rises; ``None`` if not calibrated."""
    answers: IntArray | None
    """Votes only: equal numbers are equal answers of a record, 0 is no answer, -1 absent; shape ``(Q, K, S)``."""
    output_tokens: FloatArray
    """Shape ``(Q, K, S)``."""
    input_tokens: FloatArray
    """As recorded, or filled in, shape ``(Q, K)``."""
    prompt_usd: FloatArray
    """Cost of the prompt alone, shape ``(Q, K)``."""
    sample_usd: FloatArray
    """Cost of a sample drawn alone, with its prompt, shape ``(Q, K, S)``."""
    recorded: RecordedUsage
    """Tokens and costs as recorded."""
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    votes: VoteRule = MAJORITY
    """When an answer that samples vote on is accepted."""
    probability: FloatArray | None = None
    """Token probability of each sample's answer, NaN if unknown, shape ``(Q, K, S)``; only for ``confidence``."""
    greedy: GreedyAnswers | None = None
    """Answers at temperature 0, the first draws of plans with several; ``None``: every draw is a sample."""
    greedy_urns: Mapping[int, int] = field(default_factory=dict)
    """The index of a model's greedy answer as an urn of its own, after the models' urns; see ``with_greedy_urns``."""

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.ids)

    @property
    def sizes(self) -> IntArray:
        """Number of samples of each model, shape ``(Q, K)``."""
        return np.asarray((~np.isnan(self.quality)).sum(axis=2), dtype=np.intp)

    @property
    def can_accept(self) -> bool:
        """Whether a plan may stop at an accepted sample: rewards are calibrated, or samples vote."""
        return self.acceptance is not None or self.answers is not None

    @property
    def can_choose(self) -> bool:
        """Whether the best of several samples can be chosen."""
        return self.reward is not None or self.answers is not None

    def take(self, rows: Sequence[int] | IntArray) -> SampleArrays:
        """Return some of the records."""
        keep = np.asarray(rows, dtype=np.intp)
        rows_of: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                value = value[keep]
            elif isinstance(value, RecordedUsage | GreedyAnswers):
                value = value.take(keep)
            elif isinstance(value, tuple):
                value = tuple(value[i] for i in keep)
            rows_of[f.name] = value
        return SampleArrays(**rows_of)

    def queries(self) -> list[Query]:
        """Return the queries as the engine gets them, without the prompt length, which it does not know in advance."""
        return [Query(text) for text in self.texts]

    @property
    def token_means(self) -> TokenMeans:
        """Mean recorded tokens of each model."""
        return self.recorded.means(self.pool)

    def with_token_means(self, means: TokenMeans) -> SampleArrays:
        """Return the same records, with these means in place of tokens that were not recorded."""
        outputs, inputs = fill(self.pool, self.recorded, ~np.isnan(self.quality), means)
        prompt, single = costs(self.pool, outputs, inputs, self.recorded.usd)
        return replace(self, output_tokens=outputs, input_tokens=inputs, prompt_usd=prompt, sample_usd=single)

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        pool: Pool,
        *,
        reward: RewardKind = "recorded",
        normalise: Callable[[str], str] | None = None,
        token_means: TokenMeans | None = None,
        verifier_error: float = 0.0,
        greedy: bool = False,
        seed: int = 0,
    ) -> SampleArrays:
        """Read records into arrays; samples without a quality are left out.

        Args:
            records: Records, each with judged samples of all the pool's models.
            pool: Prices, and default tokens for records without.
            reward: Kind of reward.
            normalise: Brings answers to canonical form, for votes; default: as ``MajorityVote``.
            token_means: Mean tokens of the training records, for tokens that are not recorded; default: means of these.
            verifier_error: Share of wrong samples (quality below 0.5) that a verifier accepts as right.
            greedy: Whether plans of several draws begin with a model's greedy answer, as in the engine, if every record
                has a judged one.
            seed: Seed of the choice of wrongly accepted samples.

        Raises:
            RecordError: If samples, tokens, rewards or texts that are needed are missing; names record and field.
        """
        records = _judged(records, pool)
        most = max((record.samples[model].size for record in records for model in pool.models), default=1)
        shape = (len(records), len(pool.models), most)
        quality, tokens, dollars = (np.full(shape, np.nan) for _ in range(3))
        inputs = np.full(shape[:2], np.nan)
        for q, record in enumerate(records):
            for k, model in enumerate(pool.models):
                samples = record.samples[model]
                quality[q, k, : samples.size] = samples.quality
                for array, row in ((tokens, samples.output_tokens), (dollars, samples.cost_usd)):
                    array[q, k, : samples.size] = np.nan if row is None else row
                inputs[q, k] = np.nan if samples.input_tokens is None else samples.input_tokens
        present = ~np.isnan(quality)
        recorded = RecordedUsage(tokens, inputs, dollars)
        outputs, filled = fill(pool, recorded, present, recorded.means(pool) if token_means is None else token_means)
        prompt, single = costs(pool, outputs, filled, dollars)
        rewards, acceptance, answers = _rewards(records, pool, reward, quality, normalise or str.strip)
        probability = _probabilities(records, pool, quality.shape) if reward == "confidence" else None
        if verifier_error:
            if reward != "quality" or rewards is None:
                raise RecordError("verifier error needs a verifier: --reward quality")
            fooled = np.random.default_rng(seed).random(shape) < verifier_error
            rewards = acceptance = np.where(fooled & (quality < 0.5), 1.0, rewards)
        first = None
        if greedy:
            fooled_first = np.random.default_rng(seed + 1).random(shape[:2]) < verifier_error
            first = greedy_answers(records, pool, reward, rewards, normalise or str.strip, answers, fooled_first)
        return cls(
            pool,
            quality,
            rewards,
            acceptance,
            answers,
            outputs,
            filled,
            prompt,
            single,
            recorded,
            tuple(r.query for r in records),
            tuple(r.id for r in records),
            tuple(r.group for r in records),
            MAJORITY if reward == "majority" else AGREEMENT,
            probability,
            first,
        )

    def with_greedy_urns(self) -> SampleArrays:
        """Return the same records with each model's greedy answer as an urn of one sample, after the models' urns."""
        if self.greedy is None or self.greedy_urns:
            return self
        models, first = len(self.pool.models), self.greedy
        output_price = np.array([self.pool.prices[m].output for m in self.pool.models])
        tokens = np.where(np.isnan(first.output_tokens), np.nanmean(self.output_tokens, axis=2), first.output_tokens)
        usd = np.where(np.isnan(first.usd), self.prompt_usd + tokens * output_price / 1e6, first.usd)

        def beside(urns: Any, one: Any, absent: float) -> Any:
            if urns is None:
                return None
            alone = np.full_like(urns, absent)
            alone[:, :, 0] = np.where(first.is_drawn, one, absent)
            return np.concatenate([urns, alone], axis=1)

        return replace(
            self,
            quality=beside(self.quality, first.quality, np.nan),
            reward=beside(self.reward, first.reward, np.nan),
            acceptance=beside(self.acceptance, first.reward, np.nan),
            answers=beside(self.answers, first.answers, -1),
            probability=beside(self.probability, first.probability, np.nan),
            output_tokens=beside(self.output_tokens, tokens, np.nan),
            sample_usd=beside(self.sample_usd, usd, np.nan),
            prompt_usd=np.hstack([self.prompt_usd, self.prompt_usd]),
            input_tokens=np.hstack([self.input_tokens, self.input_tokens]),
            greedy_urns={k: models + k for k in range(models) if first.is_drawn[k]},
        )


def _judged(records: Sequence[Record], pool: Pool) -> Sequence[Record]:
    """Return the records without the samples that have no quality.

    Raises:
        RecordError: If a model of a record has no sample left.
    """
    kept = judged_only(
        replace(record, samples={model: record.samples[model] for model in pool.models}) for record in records
    )
    if kept.left_out:
        raise RecordError(
            f"record {kept.left_out[0]!r} has a model without a judged sample; judge it (bestroute collect "
            "with --checker) or leave the record out"
        )
    return kept.records


def _rewards(
    records: Sequence[Record],
    pool: Pool,
    kind: RewardKind,
    quality: FloatArray,
    normalise: Callable[[str], str],
) -> tuple[FloatArray | None, FloatArray | None, IntArray | None]:
    """Return rewards, acceptance and answers; those that the kind of reward does not give are ``None``."""
    if kind == "quality":
        is_probability = bool(((quality >= 0) & (quality <= 1) | np.isnan(quality)).all())
        return quality, quality if is_probability else None, None
    if kind == "majority":
        return None, None, _answers(records, pool, quality.shape, lambda record: normalise)
    if kind in ("agreement", "confidence"):
        return None, None, _answers(records, pool, quality.shape, form_reader)
    if kind == "logprobs":
        known = np.where(np.isnan(quality), np.nan, np.nan_to_num(_probabilities(records, pool, quality.shape)))
        return known, known, None
    rewards = np.full(quality.shape, np.nan)
    for q, record in enumerate(records):
        for k, model in enumerate(pool.models):
            samples = record.samples[model]
            if samples.reward is None:
                if pool.max_n == 1:
                    return None, None, None
                raise RecordError(
                    f"record {record.id!r}: 'samples.{model}.reward' is missing, and n up to {pool.max_n} needs it; "
                    "choose --reward majority (a vote), --reward quality (a verifier) or, in train, --reward learn, or "
                    "set max_n to 1"
                )
            rewards[q, k, : samples.size] = samples.reward
    is_probability = bool(((rewards >= 0) & (rewards <= 1) | np.isnan(rewards)).all())
    return rewards, rewards if is_probability else None, None


def _answers(
    records: Sequence[Record],
    pool: Pool,
    shape: tuple[int, ...],
    reader: Callable[[Record], Callable[[str], str]],
) -> IntArray:
    answers = np.full(shape, -1, dtype=np.intp)
    for q, record in enumerate(records):
        number: dict[str, int] = {"": 0}
        normalise = reader(record)
        for k, model in enumerate(pool.models):
            samples: ModelSamples = record.samples[model]
            if samples.text is None:
                raise RecordError(f"record {record.id!r}: 'samples.{model}.text' is missing, and a vote needs answers")
            for s, text in enumerate(samples.text):
                answers[q, k, s] = number.setdefault(normalise(text), len(number))
    return answers


def _probabilities(records: Sequence[Record], pool: Pool, shape: tuple[int, ...]) -> FloatArray:
    """Return the token probability of each short answer, shape ``(Q, K, S)``; NaN if unknown.

    Raises:
        RecordError: If no record has log-probabilities: nothing could be accepted.
    """
    found = np.full(shape, np.nan)
    for q, record in enumerate(records):
        for k, model in enumerate(pool.models):
            signals = record.samples[model].signals
            if signals is not None:
                found[q, k, : len(signals)] = [answer_probability(one) for one in signals]
    if np.isnan(found).all():
        raise RecordError(
            "no record has log-probabilities of a short answer ('samples.MODEL.signals'); collect with "
            "logprobs: true in the pool, or choose --reward agreement"
        )
    return found
