import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import ArtifactError, BestRoute, MajorityVote, Plan, Pool, Price, QualityPolicy, Query
from bestroute.demo.dataset import ROUTER
from bestroute.pool_file import pool_to_dict
from bestroute.router import MultiHeadRouter
from bestroute.router.features import BUCKETS, STATISTICS, WIDTH, featurise
from bestroute.router.multi_head import fit_heads, seen_hash
from bestroute.testing import FakeGenerator


def make(pool, **changes):
    plans = tuple(Plan.of(c) for c in pool.candidates(max_n=2))
    rng = np.random.default_rng(0)
    parts = {
        "pool": pool,
        "plans": plans,
        "weights": rng.normal(0, 0.2, (WIDTH, 2 * len(plans))).astype(np.float32).astype(float),
        "means": np.linspace(0.25, 0.75, 2 * len(plans)).astype(np.float32).astype(float),
        "center": np.zeros(WIDTH),
        "output_tokens": np.array([10.0, 20.0, 30.0]),
        "shrinkage": 0.5,
        "seen": frozenset({seen_hash("group-1")}),
        "default_policy": QualityPolicy(0.01),
    }
    return MultiHeadRouter(**{**parts, **changes})


QUERIES = [Query("What is 12 * 7?"), Query("def f(x): return x"), Query("", messages=["image"])]


def test_predictions_are_probabilities_and_the_reference_matches_itself(pool):
    prediction = make(pool).predict(QUERIES)
    assert prediction.match_probability.shape == (3, 5)
    assert (prediction.match_probability[:, -1] == 1.0).all()
    assert ((prediction.expected_quality >= 0) & (prediction.expected_quality <= 1)).all()
    assert prediction.output_tokens[1].tolist() == [10.0, 20.0, 30.0]


def test_without_a_word_of_difference_every_query_gets_the_mean(pool):
    prediction = make(pool, shrinkage=0.0).predict(QUERIES)
    assert np.ptp(prediction.expected_quality, axis=0).max() == 0
    assert prediction.expected_quality[0] == pytest.approx(np.linspace(0.25, 0.75, 10)[5:], abs=1e-6)


def test_batch_equals_one_by_one(pool):
    router = make(pool)
    together = router.predict(QUERIES).expected_quality
    alone = np.vstack([router.predict([q]).expected_quality for q in QUERIES])
    assert together == pytest.approx(alone)


def test_saved_equals_loaded(pool, tmp_path):
    router = make(pool)
    router.save_pretrained(tmp_path / "router")
    again = MultiHeadRouter.from_pretrained(tmp_path / "router")
    assert np.array_equal(again.predict(QUERIES).expected_quality, router.predict(QUERIES).expected_quality)
    assert (again.plans, again.default_policy) == (router.plans, QualityPolicy(0.01))
    assert pool_to_dict(again.pool) == pool_to_dict(router.pool)
    assert again.fingerprint == router.fingerprint
    assert again.has_seen("group-1")
    assert not again.has_seen("group-2")
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
        (lambda c: {**c, "format": 99}, "format 99, this version reads 1"),
        (lambda c: {**c, "weights_sha256": "0"}, "the folder is damaged"),
        (lambda c: {**c, "plans": [[{"model": "x", "n": 1, "accept": None}]]}, "weights must have shape|damaged"),
        (lambda c: {k: v for k, v in c.items() if k != "pool"}, "damaged router folder"),
        (lambda c: {**c, "shrinkage": "much"}, "damaged router folder"),
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


def test_ridge_recovers_a_linear_function():
    rng = np.random.default_rng(0)
    features, true = rng.normal(size=(60, 5)), rng.normal(size=(5, 2))
    weights, means, center = fit_heads(features, features @ true + 3.0, l2=1e-8)
    assert weights == pytest.approx(true, abs=1e-5)
    assert (features - center) @ weights + means == pytest.approx(features @ true + 3.0, abs=1e-5)


def test_features_have_bounded_size_and_keep_no_vocabulary():
    features = featurise([Query("What is 12 * 7?"), Query("x " * 50_000), Query("é" * 100)])
    assert features.shape == (3, WIDTH) == (3, BUCKETS + len(STATISTICS))
    assert np.isfinite(features).all()
    assert np.linalg.norm(features[0, : BUCKETS // 2]) == pytest.approx(1.0)


def test_features_are_the_same_in_every_process():
    code = "from bestroute.router.features import *; print(featurise([Query('a b')]).sum())"
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


def test_the_shipped_router_loads_and_knows_the_demo_pool():
    router = MultiHeadRouter.from_pretrained(ROUTER)
    assert router.pool.reference == "qwen2.5-coder-1.5b"
    assert len(router.seen) > 100
