import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import ArtifactError, BestRoute, MajorityVote, Plan, Pool, Price, QualityPolicy, Query, Step
from bestroute.demo.dataset import ROUTER
from bestroute.features.hashing import BUCKETS, WIDTH, featurise
from bestroute.features.query_statistics import STATISTICS, statistics
from bestroute.records.seen import SeenRecords
from bestroute.router import MultiHeadRouter
from bestroute.router.feature_maps import FeatureMaps
from bestroute.router.forest import Forest
from bestroute.router.heads import HeadLayout
from bestroute.router.train_settings import TrainSettings
from bestroute.testing import FakeGenerator

QUERIES = [Query("What is 12 * 7?"), Query("def f(x): return x"), Query("", messages=["image"])]
RANK, TEXT, LANDMARKS = 3, 4, 5
CASCADE = Plan((Step("small", 2, 0.9), Step("large", 1)))


def single(array):
    return array.astype(np.float32)


def make(pool, *, trees=True, **changes):
    """A router of random weights for every candidate up to n = 2 and one cascade."""
    plans = (*(Plan.of(c) for c in pool.candidates(max_n=2)), CASCADE)
    rng = np.random.default_rng(0)
    maps = FeatureMaps(
        projection=rng.normal(0, 0.2, (BUCKETS, TEXT)).astype(np.float16).astype(np.float32),
        center=single(rng.normal(size=TEXT)),
        mean=single(rng.normal(size=len(STATISTICS))),
        scale=single(np.ones(len(STATISTICS))),
        text_landmarks=single(rng.normal(size=(LANDMARKS, TEXT))),
        statistics_landmarks=single(rng.normal(size=(LANDMARKS, len(STATISTICS)))),
    )
    heads = HeadLayout(plans, pool.models).width
    inputs = rng.normal(size=(200, TEXT + len(STATISTICS)))
    parts = {
        "pool": pool,
        "plans": plans,
        "maps": maps,
        "weights": single(rng.normal(0, 0.2, (maps.width, RANK))).astype(float),
        "offsets": single(rng.normal(size=RANK)).astype(float),
        "forest": Forest.fit(inputs, inputs[:, :RANK], trees=5) if trees else Forest.empty(RANK),
        "loadings": single(rng.normal(0, 0.1, (RANK, heads))).astype(float),
        "means": single(np.linspace(0.25, 0.75, heads)).astype(float),
        "match_slopes": np.full(len(plans), 0.5),
        "shrinkage": 0.5,
        "path": (0.001, 0.01),
        "frozen": {"0": None, "0.01": 0.01},
        "fixed_plans": (pool.reference_plan,),
        "settings": TrainSettings(),
        "token_means": {model: {"input": 12.5, "output": None} for model in pool.models},
        "seen_records": SeenRecords.of([], ["group-1"]),
        "default_policy": QualityPolicy(0.01),
    }
    return MultiHeadRouter(**{**parts, **changes})


def test_predictions_are_in_range_and_the_reference_matches_itself(pool):
    prediction = make(pool).predict(QUERIES)
    assert prediction.match_probability.shape == (3, 6)
    assert ((prediction.match_probability >= 0) & (prediction.match_probability <= 1)).all()
    assert (prediction.match_probability[:, prediction.plans.index(pool.reference_plan)] == 1.0).all()
    assert (prediction.output_tokens >= 0).all()


def test_a_candidate_draws_its_n_and_a_cascade_at_least_once_and_at_most_its_steps(pool):
    prediction = make(pool).predict(QUERIES)
    assert prediction.expected_draws[:, 1, 0].tolist() == [2.0, 2.0, 2.0]
    first, last = prediction.expected_draws[:, -1].T
    assert ((first >= 1) & (first <= 2) & (last >= 0) & (last <= 1)).all()


def test_probability_and_quality_never_fall_with_n(pool):
    prediction = make(pool).predict(QUERIES)
    for values in (prediction.match_probability, prediction.expected_quality):
        assert (values[:, 1] >= values[:, 0]).all()
        assert (values[:, 3] >= values[:, 2]).all()


def test_shrunk_to_nothing_every_query_gets_the_mean(pool):
    router = make(pool, shrinkage=0.0, match_slopes=np.zeros(6))
    prediction = router.predict(QUERIES)
    assert np.ptp(prediction.expected_quality, axis=0).max() == 0
    assert prediction.expected_quality[0] == pytest.approx(router.means[6:12])


def test_the_forest_counts(pool):
    with_trees, without = make(pool), make(pool, trees=False)
    assert not np.allclose(
        with_trees.predict(QUERIES).expected_quality, without.predict(QUERIES).expected_quality, atol=1e-3
    )


@pytest.mark.parametrize("trees", [True, False])
def test_batch_equals_one_by_one(pool, trees):
    router = make(pool, trees=trees)
    together = router.predict(QUERIES).expected_quality
    alone = np.vstack([router.predict([q]).expected_quality for q in QUERIES])
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("trees", [True, False])
def test_saved_equals_loaded(pool, tmp_path, trees):
    router = make(pool, trees=trees)
    router.save_pretrained(tmp_path / "router")
    again = MultiHeadRouter.from_pretrained(tmp_path / "router")
    assert np.array_equal(again.predict(QUERIES).expected_quality, router.predict(QUERIES).expected_quality)
    assert (again.plans, again.default_policy) == (router.plans, QualityPolicy(0.01))
    assert (again.path, again.frozen, again.fixed_plans) == (router.path, router.frozen, router.fixed_plans)
    assert again.settings == router.settings
    assert again.pool.to_dict() == router.pool.to_dict()
    assert again.fingerprint == router.fingerprint
    assert again.seen_records.has_group("group-1")
    assert not again.seen_records.has_group("group-2")
    assert not again.seen_records.has_id("group-1")
    assert "group-1" not in (tmp_path / "router" / "router.json").read_text()


def test_a_folder_is_a_router(pool, tmp_path):
    make(pool).save_pretrained(tmp_path)
    members = {m: FakeGenerator(["x"]) for m in pool.models}
    engine = BestRoute(pool, members, str(tmp_path), MajorityVote())
    assert engine.policy == QualityPolicy(0.01)
    assert engine.route("What is 12 * 7?").prediction is not None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: {**c, "format": 99}, "format 99, this version reads 4; a later release made it: upgrade"),
        (lambda c: {**c, "format": 3}, "format 3, this version reads 4; train the router again"),
        (lambda c: {**c, "sha256": {"router.safetensors": "0"}}, "the folder is damaged"),
        (lambda c: {**c, "plans": [[{"model": "x", "n": 1, "accept": None}]]}, "must have shape|damaged"),
        (lambda c: {k: v for k, v in c.items() if k != "pool"}, "damaged, it is no file of a router"),
        (lambda c: {**c, "shrinkage": "much"}, "damaged, it is no file of a router"),
        (lambda c: {**c, "shrinkage": float("nan")}, r"shrinkage must be in \[0, 1\], got nan"),
        (lambda c: {**c, "shrinkage": 2}, r"shrinkage must be in \[0, 1\], got 2"),
        (lambda c: {**c, "settings": {**c["settings"], "colour": 1}}, "damaged, it is no file of a router"),
        (lambda c: {**c, "changes": [{"kind": "lent", "model": "small"}]}, "'added' or 'removed'"),
        (lambda c: {**c, "changes": [{"colour": 1}]}, "damaged, it is no file of a router"),
        (lambda c: {**c, "changes": 3}, "damaged, it is no file of a router"),
        (lambda c: [], "format None"),
    ],
)
def test_a_damaged_folder_gets_one_sentence(pool, tmp_path, change, sentence):
    make(pool).save_pretrained(tmp_path)
    path = tmp_path / "router.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ArtifactError, match=sentence) as caught:
        MultiHeadRouter.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_cut_weights_get_one_sentence(pool, tmp_path):
    with pytest.raises(ArtifactError, match="is .* a router's folder"):
        MultiHeadRouter.from_pretrained(tmp_path / "none")
    make(pool).save_pretrained(tmp_path)
    weights = tmp_path / "router.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="damaged"):
        MultiHeadRouter.from_pretrained(tmp_path)


def test_maps_of_no_numbers_are_refused(pool):
    router = make(pool)
    for name in ("center", "mean", "text_landmarks"):
        broken = replace(router.maps, **{name: np.full_like(getattr(router.maps, name), np.nan)})
        with pytest.raises(ArtifactError, match=f"{name} holds NaN or infinity; train it again"):
            replace(router, maps=broken)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("left", 10**6, "children do not come after"),
        ("left", 0, "children do not come after"),
        ("inputs", 10**6, "inputs point outside"),
        ("roots", -1, "roots point outside"),
        ("limits", np.nan, "NaN"),
    ],
)
def test_a_hostile_forest_is_refused_before_it_is_walked(pool, name, value, sentence):
    forest = make(pool).forest
    array = getattr(forest, name).copy()
    array[-1 if name == "roots" else 1] = value
    with pytest.raises(ArtifactError, match=sentence):
        make(pool, forest=Forest(**{**vars(forest), name: array}))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_no_folder_crashes_without_a_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("router")
    (folder / "router.json").write_bytes(data)
    (folder / "router.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError):
        MultiHeadRouter.from_pretrained(folder)


def test_another_pool_is_refused_and_other_prices_are_not(pool):
    router = make(pool)
    router.check_pool(Pool(pool.models, {m: Price(9, 9) for m in pool.models}, "large"))
    other = Pool(["small", "large"], {"small": Price(1, 1), "large": Price(1, 1)}, "large")
    with pytest.raises(ArtifactError, match="was trained for the models 'small', 'mid', 'large'"):
        router.check_pool(other)
    with pytest.raises(ArtifactError, match="with reference 'large'; got .* with reference 'mid'"):
        router.check_pool(Pool(pool.models, pool.prices, "mid"))
    with pytest.raises(ArtifactError, match="offers up to 2 samples, the pool's max_n is 1"):
        router.check_pool(Pool(pool.models, pool.prices, "large", max_n=1))


def test_features_have_bounded_size_and_keep_no_vocabulary():
    features = featurise([Query("What is 12 * 7?"), Query("x " * 50_000), Query("é" * 100)])
    assert features.shape == (3, WIDTH) == (3, BUCKETS + len(STATISTICS))
    assert np.isfinite(features).all()
    assert np.linalg.norm(features[0, : BUCKETS // 2]) == pytest.approx(1.0)


def test_word_order_counts_and_numbers_count_by_their_length():
    one, other, number = featurise([Query("dog bites man 12"), Query("man bites dog 12"), Query("dog bites man 47")])
    words = slice(0, BUCKETS // 2)
    assert not np.array_equal(one[words], other[words])
    assert np.array_equal(one[words], number[words])


def test_features_are_the_same_in_every_process():
    code = "from bestroute.features.hashing import *; print(featurise([Query('a b')]).sum())"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200).filter(str.strip))
def test_any_text_has_features(text):
    assert np.isfinite(featurise([Query(text)])).all()


def test_statistics_by_hand():
    text = "Is NASA not 12 km\nfar, if (so) 345?"
    told = dict(zip(STATISTICS, statistics(Query(text, system="abc"), longest=1000), strict=True))
    size, words = len(text), 9
    expected = {
        "log_words": np.log1p(words) / 5,
        "log_characters": np.log1p(size) / 7,
        "log_system_characters": np.log1p(3) / 7,
        "log_context_characters": 0.0,
        "digit_share": 5 / size,
        "upper_share": 5 / size,
        "code_marks": np.log1p(2) / 4,
        "lines": np.log1p(1) / 4,
        "question_marks": np.log1p(1),
        "commas_a_word": 1 / words,
        "brackets_a_word": 2 / words,
        "distinct_word_share": 1.0,
        "capitalised_word_share": 2 / words,
        "acronym_share": 1 / words,
        "numbers_a_word": 2 / words,
        "longest_number": np.log1p(3),
        "negations_a_word": 10 / words,
        "conditions_a_word": 5 / words,
        "first_line_share": 17 / (size - 1),
    }
    assert {name: told[name] for name in expected} == pytest.approx(expected)


def test_the_shipped_router_loads_and_knows_the_demo_pool():
    router = MultiHeadRouter.from_pretrained(ROUTER)
    assert router.pool.reference == "qwen2.5-coder-1.5b"
    assert len(router.seen_records) > 100
