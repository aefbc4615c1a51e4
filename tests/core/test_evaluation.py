"""Evaluation: the report's figures against slow and plain ways to get them, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bestroute import Plan, QualityPolicy, RecordError, Step, ThresholdPolicy
from bestroute.errors import ConfigError
from bestroute.evaluation import baselines, cross_fit, evaluate
from bestroute.evaluation.mixtures import best_quality, least_cost
from bestroute.evaluation.oracle import chosen_on_half
from bestroute.evaluation.plots import plot
from bestroute.evaluation.tables import table
from bestroute.labels import SampleArrays, label_plans
from bestroute.policies.parsing import parse_policy
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.stats.bootstrap import interval95, resampled_means
from bestroute.stats.hull import hull_quality
from bestroute.testing import synthetic_pool, synthetic_records
from bestroute.types.plans import Candidate

POINT = {"quality", "cost_usd", "saving", "saving_ci95", "drop", "drop_ci95", "gain_over_hull_plans", "gain_ci95"}


def arrays_of(queries, seed, prefix, reward="quality", **options):
    records = synthetic_records(queries, seed=seed, prefix=prefix)
    return SampleArrays.of(records, synthetic_pool(), reward=reward, **options)


@pytest.fixture(scope="module")
def train():
    return arrays_of(240, 0, "train")


@pytest.fixture(scope="module")
def test():
    return arrays_of(160, 1, "test")


@pytest.fixture(scope="module")
def router(train):
    return train_router(train, TrainSettings(reward="quality")).router


@pytest.fixture(scope="module")
def done(router, train, test):
    return evaluate(router, test, train=train, resamples=500)


def test_the_report_has_every_part_and_is_plain_json(done):
    report = json.loads(json.dumps(done.report))
    assert {"reference", "arms", "plans", "hull_candidates", "hull_plans", "curve", "frozen", "oracle"} <= set(report)
    assert set(report["reference"]) == {"quality", "cost_usd"}
    assert len(report["arms"]) == 9
    assert set(report["arms"][0]) == {"model", "n", "quality", "cost_usd"}
    assert set(report["plans"][0]) == {"plan", "quality", "cost_usd"}
    assert set(report["saving_at_drop"]) == {"0", "0.01", "0.03", "0.05"}
    assert set(report["drop_at_saving"]) == {"0.1", "0.2", "0.4", "0.6"}
    assert {"0", "0.01", "0.03"} <= set(report["frozen"])
    assert set(report["frozen"]["0"]) >= POINT | {"parameter"}
    names = {"n_class", "n_label", "kmeans_tfidf", "cascade", "hybrid_llm", "best_route", "random_mix"}
    assert names <= set(report["baselines"])
    assert {"curve", "saving_at_drop", "drop_at_saving"} <= set(report["baselines"]["n_label"])
    point = report["curve"][0]
    assert {"parameter", "quality", "cost_usd", "saving", "drop", "drop_ci95", "gain_over_hull", "gain_ci95"} <= set(
        point
    )


def test_arms_and_curve_are_the_means_of_the_labels(done, router, test):
    reference = done.report["reference"]
    assert reference["quality"] == pytest.approx(np.nanmean(test.quality[:, 2]))
    assert reference["cost_usd"] == pytest.approx(np.nanmean(test.sample_usd[:, 2]))
    arm = next(a for a in done.report["arms"] if (a["model"], a["n"]) == ("mid", 2))
    labels = label_plans(test, [Plan.of(Candidate("mid", 2))])
    assert arm["quality"] == pytest.approx(labels.quality.mean())
    prediction, cost = predicted(router, test)
    point = done.report["curve"][len(done.report["curve"]) // 2]
    chosen = QualityPolicy(point["parameter"]).choose(prediction, cost, test.pool)
    every = label_plans(test, router.plans)
    rows = np.arange(len(test))
    assert point["quality"] == pytest.approx(every.quality[rows, chosen].mean())
    assert point["cost_usd"] == pytest.approx(every.cost_usd[rows, chosen].mean())
    arms = done.report["arms"]
    hull = hull_quality(
        np.array([a["cost_usd"] for a in arms]), np.array([a["quality"] for a in arms]), point["cost_usd"]
    )
    assert point["gain_over_hull"] == pytest.approx(point["quality"] - hull)


def test_a_router_that_can_learn_beats_the_hull_of_fixed_plans(done):
    frozen = done.report["frozen"]["0.01"]
    assert frozen["saving"] > 0.2
    assert frozen["gain_ci95"][0] > 0
    assert frozen["saving_over_hull_plans_ci95"][0] > 0


def test_a_router_that_can_learn_gains_most_of_what_knowing_the_kind_of_query_gains(done, router, test):
    """Queries are easy or hard, and say so by their words: nobody can do better than the best plan for either."""
    labels = label_plans(test, router.plans)
    is_hard = np.array(["hard" in group for group in test.groups])
    prediction, cost = predicted(router, test)
    best_fixed, best_by_kind, routed = 0.0, 0.0, 0.0
    for price in router.path[55:66:5]:  # where it matters which kind a query is
        worth = (labels.quality - labels.cost_usd / price) / len(test)
        best_fixed += worth.sum(axis=0).max()
        best_by_kind += worth[is_hard].sum(axis=0).max() + worth[~is_hard].sum(axis=0).max()
        routed += worth[np.arange(len(test)), QualityPolicy(price).choose(prediction, cost, test.pool)].sum()
    assert best_by_kind > best_fixed
    assert (routed - best_fixed) / (best_by_kind - best_fixed) > 0.8


def test_intervals_are_paired_over_groups_and_hold_the_value(done):
    for point in (*done.report["frozen"].values(), *done.report["frozen_plans"].values()):
        for name in ("saving", "drop"):
            low, high = point[f"{name}_ci95"]
            assert low <= point[name] <= high


def test_the_fixed_plan_is_frozen_on_the_training_part(done, router, train, test):
    labels = label_plans(train, router.fixed_plans)
    quality = np.append(labels.quality.mean(axis=0), np.nanmean(train.quality[:, 2]))
    cost = np.append(labels.cost_usd.mean(axis=0), np.nanmean(train.sample_usd[:, 2]))
    plans = (*router.fixed_plans, test.pool.reference_plan)
    best = plans[int(np.where(quality >= 0.97 * quality[-1], cost, np.inf).argmin())]
    told = label_plans(test, [best])
    assert done.report["frozen_plans"]["0.03"]["quality"] == pytest.approx(told.quality.mean())


def test_a_decision_a_query(done, test):
    assert [d["id"] for d in done.decisions] == list(test.ids)
    for decision in done.decisions:
        assert set(decision) == {"id", "plan", "match_probability", "expected_quality", "estimated_cost_usd"}
        assert set(decision["plan"][0]) == {"model", "n", "accept"}


def test_a_policy_that_follows_is_scored_on_streams_with_audits(router, test):
    scored = evaluate(router, test, policy=QualityPolicy(max_drop=0.03, follow=True), resamples=100)
    follow = scored.report["follow"]
    assert (follow["target"], follow["audit"], follow["streams"]) == (0.03, 0.03, 100)
    assert follow["drop_ci95"][0] <= follow["drop"] <= follow["drop_ci95"][1]
    assert "following a drop of 3.0%: the last half of streams of 10,000 calls" in table(scored.report)
    assert "follow" not in evaluate(router, test, policy=ThresholdPolicy(1.0), resamples=100).report


def test_the_policy_given_decides(router, test):
    scored = evaluate(router, test, policy=ThresholdPolicy(1.0), resamples=100)
    prediction, cost = predicted(router, test)
    chosen = ThresholdPolicy(1.0).choose(prediction, cost, test.pool)
    assert [d["plan"] for d in scored.decisions] == [router.plans[c].to_json() for c in chosen]
    assert scored.report["policy"]["policy"] == "threshold 1"


def test_without_train_learned_baselines_are_left_out_with_the_reason(router, test):
    report = evaluate(router, test, resamples=100).report
    for name in ("n_class", "n_label", "kmeans_tfidf"):
        assert report["baselines"][name]["curve"] is None
        assert report["baselines"][name]["reason"] == "needs TRAIN to be fitted on"
    assert "frozen_plans" not in report


def test_records_the_router_has_seen_are_refused(router, train, test):
    with pytest.raises(RecordError, match="trained on the id 'train0'"):
        evaluate(router, train)
    twin = replace(test, groups=(train.groups[0], *test.groups[1:]))
    with pytest.raises(RecordError, match="trained on the group 'train-group-0-hard'.*--cross-fit"):
        evaluate(router, twin)
    with pytest.raises(RecordError, match="TRAIN and TEST share the id"):
        evaluate(router, test, train=test)
    with pytest.raises(RecordError, match="TRAIN and TEST share the group"):
        evaluate(router, test, train=replace(test, ids=tuple(f"other-{i}" for i in range(len(test)))))


@pytest.mark.parametrize(("scale", "sentence"), [(0.0, "mean quality 0"), (-1.0, "mean quality -.*bring 'quality' to")])
def test_a_reference_without_quality_above_0_is_refused(router, train, test, scale, sentence):
    flat = replace(test, quality=test.quality * scale)
    with pytest.raises(RecordError, match=sentence):
        evaluate(router, flat)
    with pytest.raises(RecordError, match=sentence):
        train_router(replace(train, quality=train.quality * scale), TrainSettings())


def test_a_reference_that_costs_nothing_is_refused(train):
    with pytest.raises(RecordError, match="costs nothing, so nothing can be saved"):
        train_router(replace(train, sample_usd=train.sample_usd * 0), TrainSettings())


def test_an_id_is_not_taken_for_a_group(router, test):
    twins = replace(test, ids=(router_group := "train-group-0-hard", *test.ids[1:]))
    assert router.seen_records.has_group(router_group)
    assert evaluate(router, twins, resamples=100).report["queries"] == len(test)


def test_an_erring_verifier_costs_quality(router, train):
    exact = evaluate(router, arrays_of(160, 1, "test"), resamples=100).report
    erring = evaluate(router, arrays_of(160, 1, "test", verifier_error=0.3), resamples=100).report
    assert erring["reference"] == pytest.approx(exact["reference"])
    assert erring["frozen"]["0.01"]["quality"] < exact["frozen"]["0.01"]["quality"] - 0.01


def test_cross_fit_scores_every_record_once_and_refuses_more_folds_than_groups(train):
    done = cross_fit(train.take(range(120)), TrainSettings(reward="quality"), folds=3, resamples=100)
    assert done.report["queries"] == 120
    assert done.report["cross_fit"] == 3
    paths = {tuple(point["parameter"] is None for point in done.report["curve"])}
    assert paths == {(True,) * len(done.report["curve"])}, "each fold has its own prices, so none is named"
    assert sorted(d["id"] for d in done.decisions) == sorted(train.ids[:120])
    with pytest.raises(ConfigError, match="cross-fit must be in"):
        cross_fit(train.take(range(16)), TrainSettings(reward="quality"), folds=10)


def test_the_cascade_votes_and_needs_answers(test):
    with pytest.raises(ValueError, match="--reward majority"):
        baselines.cascade(test)
    votes = arrays_of(160, 1, "test", "majority")
    series = baselines.cascade(votes)
    assert series.quality.shape == (160, 5)
    assert (np.diff(series.cost.mean(axis=0)) >= -1e-12).all(), "more agreement wanted, more asked"
    everything = series.cost[:, 0]
    assert everything == pytest.approx(5 * np.nanmean(votes.sample_usd[:, 0], axis=1), rel=0.1)


def test_baselines_have_the_points_they_must(done, test):
    singles = {a["model"]: a for a in done.report["arms"] if a["n"] == 1}
    mixed = done.report["baselines"]["random_mix"]["curve"]
    assert sorted(p["cost_usd"] for p in mixed) == pytest.approx(
        sorted([singles["small"]["cost_usd"], singles["large"]["cost_usd"]])
    )
    for name in ("n_label", "hybrid_llm", "best_route"):
        careful = done.report["baselines"][name]["curve"][-1]
        assert careful["quality"] == pytest.approx(singles["large"]["quality"], abs=0.05)
    assert len(done.report["baselines"]["n_class"]["curve"]) == 1


def nowhere_above(row, bound):
    """Whether a row of tables is at no drop and at no saving above another."""
    saved, most = row["saving_at_drop"], bound["saving_at_drop"]
    drops, least = row["drop_at_saving"], bound["drop_at_saving"]
    return all(
        value is None or (most[d] is not None and value["value"] <= most[d]["value"] + 1e-9)
        for d, value in saved.items()
    ) and all(
        value is None or (least[s] is not None and value["value"] >= least[s]["value"] - 1e-9)
        for s, value in drops.items()
    )


@pytest.mark.parametrize(("samples", "reward"), [(1, "recorded"), (3, "recorded"), (5, "majority")])
def test_the_oracle_is_a_bound_with_few_samples_and_with_a_reward_that_errs(samples, reward):
    """Rewards that are noise for every third sample stand for a trained reward model."""
    rng = np.random.default_rng(5)

    def blur(s):
        blurred = np.where(rng.random(s.size) < 0.3, rng.random(s.size), s.quality)
        return replace(s, reward=tuple(map(float, blurred)))

    records = [
        replace(r, samples={m: blur(s) for m, s in r.samples.items()})
        for r in synthetic_records(64, samples=samples, seed=samples, prefix="few")
    ]
    pool = synthetic_pool(max_n=samples)
    train = SampleArrays.of(synthetic_records(64, samples=3, seed=7, prefix="fit"), pool, reward=reward)
    fitted = train_router(train, TrainSettings(reward=reward, offered=3, forest=False)).router
    fitted = replace(fitted, path=fitted.path[::5])
    report = evaluate(fitted, SampleArrays.of(records, pool, reward=reward), resamples=100).report
    rows = {"router": report, "plans": report["fixed_plans"], "candidates": report["fixed_candidates"]}
    rows |= {name: report["baselines"][name] for name in ("hybrid_llm", "best_route", "random_mix")}
    if reward == "majority":
        rows["cascade"] = report["baselines"]["cascade"]
    for name, row in rows.items():
        assert nowhere_above(row, report["oracle"]), name
    assert report["oracle"]["quality"] >= report["reference"]["quality"] - 1e-9
    assert report["oracle"]["cost_usd"] <= report["reference"]["cost_usd"] + 1e-12


def test_who_chooses_on_one_half_is_scored_on_the_other():
    pool = synthetic_pool()
    rng = np.random.default_rng(77)
    test = arrays_of(200, 3, "noise")
    noise = replace(test, quality=rng.random(test.quality.shape), reward=None, acceptance=None, pool=pool)
    plans = tuple(Plan.of(Candidate(model)) for model in pool.models)
    series = chosen_on_half(noise, plans, (1e9,))
    assert series.quality.mean() == pytest.approx(0.5, abs=0.03), "chosen on noise, it gains nothing on other samples"
    with pytest.raises(ValueError, match="cannot be halved"):
        chosen_on_half(replace(noise, quality=noise.quality[:, :, :1]), plans, (1.0,))


def test_where_samples_agree_half_of_them_is_enough_to_ask_the_cheap_model_exactly_when_it_is_right(test):
    quality = np.ones(test.quality.shape)
    quality[::2, :2] = 0.0  # every second query only the reference gets right, always
    always = replace(test, quality=quality, reward=quality, acceptance=quality)
    plans = tuple(Plan.of(Candidate(model)) for model in test.pool.models)
    series = chosen_on_half(always, plans, (1.0,))
    assert (series.quality == 1.0).all()
    labels = label_plans(always, plans)
    assert (series.cost[1::2, 0] < labels.cost_usd[1::2, 2]).all()


def test_mixtures_agree_with_the_hull():
    rng = np.random.default_rng(0)
    for _ in range(50):
        cost, quality = rng.random(6), rng.random(6)
        at = float(rng.uniform(cost.min(), 1.2))
        reached = best_quality(cost[None], quality[None], np.array([at]))[0]
        assert reached == pytest.approx(float(hull_quality(cost, quality, at)))
        assert least_cost(cost[None], quality[None], np.array([reached]))[0] <= at + 1e-9
    assert np.isnan(best_quality(np.array([[1.0]]), np.array([[1.0]]), np.array([0.5]))[0])


def test_resamples_draw_whole_groups_and_centre_on_the_mean():
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    means = resampled_means(values, ["a", "a", "b", "b"], resamples=4000)
    assert set(means[:, 0].round(6)) == {0.0, 0.5, 1.0}
    assert means.mean() == pytest.approx(0.5, abs=0.02)
    assert (means[:, 0] == 0.5).mean() == pytest.approx(0.5, abs=0.03)


def test_an_interval_needs_values_in_almost_every_resample():
    assert interval95(np.linspace(0, 1, 1001)) == pytest.approx([0.025, 0.975])
    assert interval95(np.append(np.linspace(0, 1, 900), np.full(100, np.nan))) is None


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("threshold:0.8", ThresholdPolicy(0.8)),
        ("quality:0.02", QualityPolicy(0.02)),
        ("max_drop:0.01", QualityPolicy(max_drop=0.01)),
    ],
)
def test_policies_are_written_as_text(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["", "0.8", "threshold", "threshold:x", "colour:1", "threshold:nan"])
def test_a_policy_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"policy must be threshold:0.8, quality:0.02, max_drop:0.01, follow:0.01 or"):
        parse_policy(text)


def test_the_table_tells_every_part_and_the_plot_is_a_picture(done, tmp_path):
    pytest.importorskip("matplotlib")
    told = table(done.report)
    for words in ("160 queries", "target drop 1.0%", "fixed plan, target", "this router", "oracle", "n label"):
        assert words in told
    plot(done.report, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_votes_are_trained_and_evaluated_too():
    train, test = (arrays_of(n, s, p, "majority") for n, s, p in ((160, 0, "train"), (80, 1, "test")))
    router = train_router(train, TrainSettings(reward="majority")).router
    report = evaluate(router, test, train=train, resamples=100).report
    assert report["baselines"]["cascade"]["curve"]
    assert any(len(plan.steps) > 1 for plan in router.plans)
    assert isinstance(router.plans[0].steps[0], Step)


def without_tokens(records):
    def bare(samples):
        return replace(samples, input_tokens=None, output_tokens=None, cost_usd=None)

    return [replace(r, samples={m: bare(s) for m, s in r.samples.items()}) for r in records]


def test_tokens_that_a_test_file_does_not_tell_are_the_training_means(router, train):
    bare = without_tokens(synthetic_records(20, seed=3, prefix="bare"))
    means = router.token_means
    assert means["small"]["output"] == pytest.approx(np.nanmean(train.output_tokens[:, 0]))
    arrays = SampleArrays.of(bare, synthetic_pool(), reward="quality", token_means=means)
    assert arrays.output_tokens[:, 0] == pytest.approx(means["small"]["output"])
    assert arrays.input_tokens[:, 2] == pytest.approx(means["large"]["input"])
    with pytest.raises(RecordError, match="no record has output_tokens of 'small'"):
        SampleArrays.of(bare, synthetic_pool(), reward="quality")
    half = SampleArrays.of([*bare, *synthetic_records(20, seed=4)], synthetic_pool(), reward="quality")
    other = half.take(range(10, 40)).with_token_means(means)
    assert other.output_tokens[:10, 0] == pytest.approx(means["small"]["output"])
    assert other.sample_usd[10:] == pytest.approx(half.sample_usd[20:])
    assert not np.allclose(other.sample_usd[:10], half.sample_usd[10:20])


def test_a_verifier_that_errs_is_scored_with_and_never_trained_with():
    clean, erring = (arrays_of(120, 6, "all", verifier_error=e) for e in (0.0, 0.5))
    settings = TrainSettings(reward="quality")
    both = [
        cross_fit(clean, settings, folds=3, scored_as=scored, resamples=100).scored.series for scored in (clean, erring)
    ]
    assert both[1]["curve"].quality.mean() < both[0]["curve"].quality.mean()
    assert both[1]["curve"].parameters == both[0]["curve"].parameters  # the routers are the same, and so are prices
    assert both[1]["reference"].quality == pytest.approx(both[0]["reference"].quality)


def test_one_group_has_no_interval(router):
    alone = arrays_of(20, 8, "alone")
    report = evaluate(router, replace(alone, groups=("alone",) * 20), resamples=100).report
    assert report["groups"] == 1
    for point in report["frozen"].values():
        assert {point[name] for name in point if name.endswith("ci95")} == {None}
    json.dumps(report, allow_nan=False)
    assert table(report)


def test_n_label_takes_its_margin(train, test):
    """With a margin of 1 every model is capable, so the cheapest is taken; without one it is not for every query."""
    features = baselines.QueryFeatures.of(train)
    here = baselines.QueryFeatures.of(test, features.maps)
    singles = label_plans(test, [Plan.of(Candidate(model)) for model in test.pool.models])
    lenient, strict = (baselines.n_label(train, test, features, margin=margin)(here) for margin in (1.0, 0.0))
    at = baselines.THRESHOLDS.index(0.9)
    assert lenient.quality[:, at] == pytest.approx(singles.quality[:, 0])
    assert (strict.cost[:, at] > lenient.cost[:, at] + 1e-12).any()
