"""The light reward model: a linear score of hashed text and statistics, trained on pairs; numpy at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bestroute.errors import ArtifactError
from bestroute.features.answer_statistics import ANSWER_STATISTICS, ASKS, answer_statistics, asks
from bestroute.features.hash_rules import BUCKETS
from bestroute.features.hashing import featurise
from bestroute.features.query_statistics import STATISTICS
from bestroute.types.arrays import BoolArray, FloatArray, IntArray
from bestroute.types.query import Query

Float32Array = NDArray[np.float32]

QUERY_WIDTH = len(STATISTICS) + len(ASKS)
ANSWER_WIDTH = len(STATISTICS) + len(ANSWER_STATISTICS)
CROSSED = 1 + QUERY_WIDTH
"""An answer's statistics enter alone and multiplied by each statistic of the query, so that weights depend on the
query."""
FEATURES = [BUCKETS, *STATISTICS, *ASKS, *ANSWER_STATISTICS]
TENSORS = ("query_mean", "query_scale", "answer_mean", "answer_scale", "weights")
WIDTH = BUCKETS + ANSWER_WIDTH * CROSSED
PENALTIES = (1e-4, 1e-3, 1e-2)
_FARTHEST = 4.0
"""Standardised statistics are clipped to this absolute value."""
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class LightFeatures:
    """Features of ``N`` samples of ``Q`` queries."""

    query: Float32Array
    """Shape ``(Q, QUERY_WIDTH)``."""
    query_of: IntArray
    """Index of each sample's query, shape ``(N,)``."""
    hashed: Any
    """Hashed texts of the answers, shape ``(N, BUCKETS)``, sparse or dense."""
    answer: Float32Array
    """Statistics of the answers, shape ``(N, ANSWER_WIDTH)``."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.query_of)


def read_query(query: str) -> Float32Array:
    """Return the statistics of a query, shape ``(QUERY_WIDTH,)``."""
    own = featurise([Query(query)])[0, BUCKETS:] if query.strip() else np.zeros(len(STATISTICS))
    return np.concatenate([own, asks(query)]).astype(np.float32)


def read_answer(query: str, requested: FloatArray, text: str) -> tuple[Float32Array, Float32Array]:
    """Return an answer's hashed text, shape ``(BUCKETS,)``, and its statistics, shape ``(ANSWER_WIDTH,)``."""
    own = featurise([Query(text)])[0] if text.strip() else np.zeros(BUCKETS + len(STATISTICS), dtype=np.float32)
    statistics = np.concatenate([own[BUCKETS:], answer_statistics(query, requested, text)])
    return own[:BUCKETS], statistics.astype(np.float32)


def read_samples(
    queries: Sequence[str],
    query_of: IntArray,
    texts: Sequence[str],
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> LightFeatures:
    """Read the features of many samples for training; equal answers to one query are read once."""
    from scipy.sparse import csr_matrix, vstack

    requested = [asks(query) for query in queries]
    known: dict[tuple[int, str], int] = {}
    place = [known.setdefault((int(q), text), len(known)) for q, text in zip(query_of, texts, strict=True)]
    chunks, statistics, chunk = [], [], []
    for done, (q, text) in enumerate(known, start=1):
        hashed, own = read_answer(queries[q], requested[q], text)
        chunk.append(hashed)
        statistics.append(own)
        if len(chunk) == _CHUNK or done == len(known):
            chunks.append(csr_matrix(np.array(chunk)))
            chunk = []
            if on_progress is not None:
                on_progress(done, len(known))
    return LightFeatures(
        np.array([read_query(query) for query in queries]),
        query_of,
        vstack(chunks).tocsr()[place],
        np.array(statistics)[place],
    )


@dataclass(frozen=True, eq=False)
class PairDifferences:
    """Feature differences of ``P`` pairs; the crossed ones are stored as two factors."""

    hashed: Any
    """Sparse, shape ``(P, BUCKETS)``."""
    crosses: Float32Array
    """Factor from the query, shape ``(P, CROSSED)``."""
    answer: Float32Array
    """Factor from the answers, shape ``(P, ANSWER_WIDTH)``."""

    def margins(self, weights: FloatArray) -> FloatArray:
        """Return the score difference, better less worse, of each pair, shape ``(P,)``."""
        w = weights.astype(np.float32)
        table = w[BUCKETS:].reshape(CROSSED, ANSWER_WIDTH)
        return np.asarray(
            self.hashed @ w[:BUCKETS] + ((self.crosses @ table) * self.answer).sum(axis=1), dtype=np.float64
        )

    def weighted_sum(self, slopes: FloatArray) -> FloatArray:
        """Return the weighted sum of the differences, shape ``(WIDTH,)``: the gradient of a loss of margins."""
        by = slopes.astype(np.float32)
        crossed = self.crosses.T @ (self.answer * by[:, None])
        return np.concatenate([by @ self.hashed, crossed.ravel()]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class LightScorer:
    """Scores an answer by ``w . features``; equal answers to one query get equal scores.

    Args:
        query_mean, query_scale: Training mean and deviation of the queries' statistics, shape ``(QUERY_WIDTH,)``.
        answer_mean, answer_scale: Training mean and deviation of the answers' statistics, shape ``(ANSWER_WIDTH,)``.
        weights: Hashed text first, then statistics crossed with the query's, shape ``(WIDTH,)``.
    """

    query_mean: FloatArray
    query_scale: FloatArray
    answer_mean: FloatArray
    answer_scale: FloatArray
    weights: FloatArray

    kind = "light"

    @classmethod
    def from_tensors(cls, features: Sequence[Any], tensors: Mapping[str, np.ndarray[Any, Any]]) -> LightScorer:
        """Create a scorer from the arrays of a folder.

        Raises:
            ArtifactError: If it reads other features than this version has, or its arrays do not fit together.
        """
        if list(features) != FEATURES:
            raise ArtifactError(
                "reward model: it was made for other features than this version has; train the reward model again"
            )
        scorer = cls(**{name: tensors[name].astype(np.float64) for name in TENSORS})
        if problem := scorer.problem():
            raise ArtifactError(f"reward model: {problem}; train it again")
        return scorer

    def config(self) -> dict[str, Any]:
        """Return the scorer's part of the folder's configuration: the features that it reads."""
        return {"features": FEATURES}

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays by name, for saving."""
        return {name: getattr(self, name).astype(np.float32) for name in TENSORS}

    def files(self) -> dict[str, bytes]:
        """Return no files: the arrays suffice."""
        return {}

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return a score for each text, shape ``(len(texts),)``."""
        if not texts:
            return np.zeros(0)
        requested = asks(query)
        hashed, statistics = zip(*(read_answer(query, requested, text) for text in texts), strict=True)
        features = LightFeatures(
            read_query(query)[None], np.zeros(len(texts), dtype=np.intp), np.array(hashed), np.array(statistics)
        )
        return self.score_features(features)

    def score_features(self, features: LightFeatures) -> FloatArray:
        """Return the scores of samples whose features are computed, shape ``(N,)``."""
        table = self.weights[BUCKETS:].reshape(CROSSED, ANSWER_WIDTH)
        per_query = self._crosses(features.query) @ table  # (Q, ANSWER_WIDTH): weights for this query
        own = self._answers(features.answer)
        return np.asarray(
            features.hashed @ self.weights[:BUCKETS] + (own * per_query[features.query_of]).sum(axis=1),
            dtype=np.float64,
        )

    def _crosses(self, query: Float32Array) -> FloatArray:
        scaled = np.clip((query - self.query_mean) / self.query_scale, -_FARTHEST, _FARTHEST)
        return np.hstack([np.ones((len(query), 1)), scaled / np.sqrt(QUERY_WIDTH)])

    def _answers(self, answer: Float32Array) -> FloatArray:
        return np.asarray(np.clip((answer - self.answer_mean) / self.answer_scale, -_FARTHEST, _FARTHEST) / 2)

    def differences(self, features: LightFeatures, pairs: IntArray) -> PairDifferences:
        """Return the features of the better sample of each pair less those of the worse one."""
        better, worse = pairs.T
        return PairDifferences(
            features.hashed[better] - features.hashed[worse],
            self._crosses(features.query)[features.query_of[better]].astype(np.float32),
            (self._answers(features.answer[better]) - self._answers(features.answer[worse])).astype(np.float32),
        )

    def problem(self) -> str | None:
        """Return a description of what is invalid in the arrays; ``None`` if they are valid."""
        for name, array, width in (
            ("query_mean", self.query_mean, QUERY_WIDTH),
            ("query_scale", self.query_scale, QUERY_WIDTH),
            ("answer_mean", self.answer_mean, ANSWER_WIDTH),
            ("answer_scale", self.answer_scale, ANSWER_WIDTH),
            ("weights", self.weights, WIDTH),
        ):
            if array.shape != (width,):
                return f"{name} must have shape {(width,)}, got {array.shape}"
            if not np.isfinite(array).all():
                return f"{name} holds NaN or infinity"
        return None


def fit_light(
    features: LightFeatures,
    pairs: IntArray,
    in_training: BoolArray,
    *,
    penalties: Sequence[float] = PENALTIES,
) -> list[LightScorer]:
    """Fit a scorer for each penalty by the pairwise logistic loss.

    Args:
        features: Features of all samples.
        pairs: Rows ``(better, worse)``, shape ``(P, 2)``.
        in_training: Samples to train on, shape ``(N,)``; pairs with others are left out.
        penalties: Weights of the squared norm added to the mean loss; each fit starts from the previous solution.
    """
    from scipy.optimize import minimize

    visible = np.flatnonzero(in_training)
    query, answer = features.query[np.unique(features.query_of[visible])], features.answer[visible]
    blank = LightScorer(
        _as_saved(query.mean(axis=0, dtype=np.float64)),
        _spread(query),
        _as_saved(answer.mean(axis=0, dtype=np.float64)),
        _spread(answer),
        np.zeros(WIDTH),
    )
    gaps = blank.differences(features, pairs[in_training[pairs].all(axis=1)])
    fitted, weights = {}, blank.weights
    for penalty in sorted(penalties, reverse=True):

        def loss(w: FloatArray, penalty: float = penalty) -> tuple[float, FloatArray]:
            margins = gaps.margins(w)
            slopes = -1 / (1 + np.exp(np.clip(margins, -500, 500)))
            value = float(np.logaddexp(0, -margins).mean() + penalty * (w @ w))
            return value, gaps.weighted_sum(slopes / len(margins)) + 2 * penalty * w

        weights = minimize(loss, weights, jac=True, method="L-BFGS-B", options={"maxiter": 100, "gtol": 1e-5}).x
        fitted[penalty] = replace(blank, weights=_as_saved(weights))
    return [fitted[penalty] for penalty in penalties]


def _spread(values: Float32Array) -> FloatArray:
    spread = values.std(axis=0, dtype=np.float64)
    return _as_saved(np.where(spread > 1e-6, spread, 1.0))


def _as_saved(array: FloatArray) -> FloatArray:
    """Round to the precision of the file, so that scores are the same before and after it is saved."""
    return np.asarray(array).astype(np.float32).astype(np.float64)
