"""Queries of kinds that training has not seen: where texts tell nothing of other kinds, evidence decides on them."""

import string
from dataclasses import replace

import numpy as np
import pytest

from bestroute import Plan, Pool, Price, QualityPolicy, Step
from bestroute.labels import SampleArrays
from bestroute.records.records import ModelSamples, Record
from bestroute.router.heads import HeadLayout
from bestroute.router.shrinkage import MOST_MADE_UP, relative_drops
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import FAMILIAR, KIND, carries_over, train_router
from bestroute.types.plans import Candidate
from bestroute.types.query import Query

POOL = Pool(["small", "large"], {"small": Price(0.1, 0.4), "large": Price(2.5, 10.0)}, reference="large", max_n=2)
VOTES = TrainSettings(reward="majority", forest=False)


def query(kind, rng):
    """Return words that all of a kind share and no other has, then some numbers."""
    own = np.random.default_rng(100 + kind)
    words = ["".join(own.choice(list(string.ascii_lowercase), size=own.integers(4, 9))) for _ in range(8)]
    return f"{' '.join(words)} {' '.join(map(str, rng.integers(0, 999, 2 + kind % 3)))}?"


def record(kind, i, rng):
    """Return a query whose kind alone says whether the small model knows the answer; then its two samples agree."""
    right = (1.0, 1.0) if kind % 2 else (0.0, 0.0)
    texts = ("12", "12") if kind % 2 else (f"{rng.integers(20, 60)}", f"{rng.integers(60, 99)}")
    samples = {
        "small": ModelSamples(right, texts, None, 50.0, (9.0, 9.0)),
        "large": ModelSamples((1.0, 1.0), ("12", "12"), None, 50.0, (9.0, 9.0)),
    }
    return Record(f"q{kind}-{i}", query(kind, rng), samples, f"kind {kind}")


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    return [record(kind, i, rng) for kind in range(16) for i in range(16)]


@pytest.fixture(scope="module")
def by_kind(records):
    return train_router(SampleArrays.of(records, POOL, reward="majority"), VOTES)


@pytest.fixture(scope="module")
def by_text(records):
    alone = [replace(r, group=r.id) for r in records]
    return train_router(SampleArrays.of(alone, POOL, reward="majority"), VOTES)


def queries(kinds, seed=1):
    rng = np.random.default_rng(seed)
    return [Query(query(kind, rng)) for kind in kinds for _ in range(8)]


def test_new_kinds_are_unfamiliar_where_texts_tell_nothing_of_other_kinds(by_kind):
    assert by_kind.summary[FAMILIAR].startswith("texts")
    assert (by_kind.router.predict(queries(range(16, 24))).familiarity < 0.05).mean() > 0.9
    assert (by_kind.router.predict(queries(range(16))).familiarity < 0.05).mean() < 0.2


def test_where_every_query_is_a_group_of_its_own_nothing_changes(by_text):
    assert FAMILIAR not in by_text.summary
    known = by_text.router.predict(queries(range(16)))
    odd = np.repeat(np.arange(16) % 2 == 1, 8)
    column = known.plans.index(Plan.of(Candidate("small")))
    assert known.expected_quality[odd, column].mean() > known.expected_quality[~odd, column].mean() + 0.4


@pytest.mark.parametrize(("each", "is_kind"), [(KIND - 1, False), (KIND, True)])
def test_groups_of_a_few_queries_are_no_kinds(each, is_kind):
    layout, names = HeadLayout((POOL.reference_plan,), POOL.models), [f"g{i // each}" for i in range(10 * each)]
    targets = np.random.default_rng(0).random((len(names), layout.width))
    nothing = np.zeros(targets.shape)  # is all that texts tell
    assert carries_over(targets.mean(axis=0), nothing, layout, targets, names) != is_kind
    assert carries_over(targets.mean(axis=0), targets - targets.mean(axis=0), layout, targets, names)


def test_a_new_kind_is_never_answered_by_a_cheaper_member_unheard(by_kind):
    router = by_kind.router
    prediction = router.predict(queries(range(16, 24)))
    cost = np.tile([sum(step.n for step in plan.steps) for plan in prediction.plans], (len(prediction), 1)).astype(
        float
    )
    chosen = QualityPolicy(1e-6).choose(prediction, cost, POOL)  # quality is worth next to nothing
    unlike = prediction.familiarity < 0.01
    assert unlike.any()
    allowed = {i for i, p in enumerate(prediction.plans) if p == POOL.reference_plan or p.falls_back_on("large")}
    assert set(chosen[unlike]) <= allowed


def test_a_plan_falls_back_only_if_all_before_its_last_draw_may_be_rejected():
    tried = Step("small", 2, 0.8)
    assert Plan((tried, Step("large"))).falls_back_on("large")
    assert not Plan((tried, Step("large"))).falls_back_on("small")
    assert not Plan((tried, Step("large", 2))).falls_back_on("large")
    assert not Plan((tried, Step("large", 1, 0.8))).falls_back_on("large")
    assert not POOL.reference_plan.falls_back_on("large")


def test_no_group_makes_up_for_more_of_others_losses_than_is_asked_for():
    losses = np.array([[0.01, 0.01, -0.05], [0.0, 0.004, -0.002]])
    assert relative_drops(losses, 0.0) == pytest.approx([0.02 - MOST_MADE_UP, 0.002])
    assert relative_drops(losses, 0.03) == pytest.approx([-0.01, 0.002])
    assert relative_drops(losses, 1.0) == pytest.approx(losses.sum(axis=1))


def test_one_kind_that_the_reference_fails_on_pays_for_no_others():
    rng, made = np.random.default_rng(5), []
    for kind in range(12):
        for i in range(14):
            right = {"small": float(not kind or i > 0), "large": float(kind > 0)}  # the small one is better in the mean
            samples = {model: ModelSamples((q,), None, None, 50.0, (9.0,)) for model, q in right.items()}
            made.append(Record(f"q{kind}-{i}", query(0, rng), samples, f"kind {kind}"))  # no text tells its kind
    arrays = SampleArrays.of(made, replace(POOL, max_n=1))
    trained = train_router(arrays, TrainSettings(forest=False))
    assert trained.labels.quality[:, 0].mean() > trained.labels.quality[:, 1].mean()
    assert (
        trained.router.frozen["0"] is None
        or trained.savings[trained.router.path.index(trained.router.frozen["0"])] < 0.1
    )
