"""A pool that changes: what is new is used where it is good, and what was there stays to the last bit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from bestroute import BestRoute, ConfigError, Plan, Pool, Price, QualityPolicy, RecordError
from bestroute.cli import main
from bestroute.evaluation.evaluate import evaluate
from bestroute.labels import SampleArrays, label_plans
from bestroute.policies.policies import ReferencePolicy
from bestroute.records.records import ModelSamples, write_records
from bestroute.reward_models.verifier import Verifier
from bestroute.router import MultiHeadRouter
from bestroute.router.heads import HeadLayout, combine
from bestroute.router.pool_changes import add_model, remove_model, without_member
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import PoolChange, TrainSettings, policy_for
from bestroute.router.training import train_router
from bestroute.testing import FakeGenerator, synthetic_records
from bestroute.tuning import tune_max_drop
from bestroute.types.plans import Candidate

PRICES = {"small": Price(0.5, 2.0), "prover": Price(0.5, 2.0), "mid": Price(1.0, 4.0), "large": Price(2.0, 8.0)}
NEW = Pool(tuple(PRICES), PRICES, "large", max_n=2)
OLD = without_member(NEW, "prover")
PROVES = {"easy": 0.05, "hard": 0.95}
"""Chance of a right answer of the new member: it is good where ``small`` is not."""
QUALITY = TrainSettings(reward="quality")
PROVER = Plan.of(Candidate("prover"))


def with_prover(records, *, seed=7):
    rng = np.random.default_rng(seed)
    told = []
    for record in records:
        right = tuple((rng.random(6) < PROVES[record.task]).astype(float).tolist())
        text = tuple("right" if r else "wrong" for r in right)
        prover = ModelSamples(right, text, right, input_tokens=50.0, output_tokens=(40.0,) * 6)
        told.append(replace(record, samples={**record.samples, "prover": prover}))
    return told


def arrays_of(records, pool):
    return SampleArrays.of(records, pool, reward="quality")


@pytest.fixture(scope="module")
def base():
    """A router that follows the price frozen for a drop of 1 %, for which 240 records would be too few by default."""
    router = train_router(arrays_of(synthetic_records(240), OLD), QUALITY).router
    return replace(router, default_policy=policy_for(router.frozen["0.01"]))


@pytest.fixture(scope="module")
def labelled():
    return arrays_of(with_prover(synthetic_records(56, seed=3, prefix="new")), NEW)


@pytest.fixture(scope="module")
def extended(base, labelled):
    return add_model(base, labelled)


@pytest.fixture(scope="module")
def fresh():
    return arrays_of(with_prover(synthetic_records(200, seed=9, prefix="fresh"), seed=8), NEW)


def assert_same(smaller, larger, queries):
    """The router of fewer plans says of them exactly what the router of more plans says of them."""
    for asked in (queries, queries[:1]):
        one, other = smaller.predict(asked), larger.predict(asked)
        columns = [other.plans.index(plan) for plan in one.plans]
        models = [larger.pool.models.index(model) for model in smaller.pool.models]
        steps = one.expected_draws.shape[2]
        assert np.array_equal(one.match_probability, other.match_probability[:, columns])
        assert np.array_equal(one.expected_quality, other.expected_quality[:, columns])
        assert np.array_equal(one.expected_draws, other.expected_draws[:, columns, :steps])
        assert not other.expected_draws[:, columns, steps:].any()
        assert np.array_equal(one.output_tokens, other.output_tokens[:, models])


def test_a_head_does_not_depend_on_its_neighbours_to_the_last_bit():
    rng = np.random.default_rng(0)
    directions, loadings = rng.normal(size=(37, 12)), rng.normal(size=(12, 301))
    every = combine(directions, loadings)
    assert every == pytest.approx(directions @ loadings)
    for columns in ([5], [300, 2, 17], list(range(1, 301, 7))):
        assert np.array_equal(combine(directions, loadings[:, columns]), every[:, columns])
        assert np.array_equal(combine(directions[3:4], loadings[:, columns]), every[3:4, columns])


def test_heads_find_their_places_in_another_layout():
    one, other = Plan.of(Candidate("a")), Plan.of(Candidate("b"))
    left, right = HeadLayout((one,), ("a",)), HeadLayout((other,), ("b",))
    both = HeadLayout((other, one), ("a", "b"))
    joined = both.arrange([(left, np.array([[1.0, 2.0, 3.0, 4.0]])), (right, np.array([[5.0, 6.0, 7.0, 8.0]]))])
    match, quality, draws, tokens = both.split(joined)
    assert match.tolist() == [[5.0, 1.0]]
    assert quality.tolist() == [[6.0, 2.0]]
    assert draws.tolist() == [[[7.0], [3.0]]]
    assert tokens.tolist() == [[4.0, 8.0]]


def test_predictions_about_the_others_stay_bit_by_bit_saved_or_not(base, extended, fresh, tmp_path):
    queries = fresh.queries()
    assert_same(base, extended, queries)
    extended.save_pretrained(tmp_path)
    again = MultiHeadRouter.from_pretrained(tmp_path)
    assert_same(base, again, queries)
    assert_same(extended, again, queries)
    assert (again.plans, again.changes, again.fingerprint) == (extended.plans, extended.changes, extended.fingerprint)
    assert (again.frozen, again.default_policy) == (extended.frozen, extended.default_policy)


def test_the_new_member_is_used_on_the_queries_it_is_good_at(extended, fresh):
    hard = np.array(["hard" in group for group in fresh.groups])
    prediction, cost = predicted(extended, fresh)
    column = prediction.plans.index(PROVER)
    for values in (prediction.expected_quality[:, column], prediction.match_probability[:, column]):
        assert values[hard].mean() > values[~hard].mean() + 0.3  # a mean alone would make them equal
    chosen = QualityPolicy(2e-4).choose(prediction, cost, fresh.pool)
    asks_first = np.array([prediction.plans[c].steps[0].model == "prover" for c in chosen])
    assert asks_first[hard].mean() > 0.7
    assert asks_first[~hard].mean() < 0.3


def test_it_is_worth_having(base, extended, fresh):
    """At the same price of quality, what is gained less what is paid rises."""
    price, worth = 2e-4, []
    for router, pool in ((base, OLD), (extended, NEW)):
        arrays = replace(fresh, pool=pool, **columns_of(fresh, pool))
        prediction, cost = predicted(router, arrays)
        chosen, rows = QualityPolicy(price).choose(prediction, cost, pool), np.arange(len(fresh))
        labels = label_plans(arrays, router.plans)
        worth.append((labels.quality * price - labels.cost_usd)[rows, chosen])
    gain = worth[1] - worth[0]
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def columns_of(arrays, pool):
    keep = [arrays.pool.models.index(model) for model in pool.models]
    names = ("quality", "reward", "acceptance", "output_tokens", "input_tokens", "prompt_usd", "sample_usd")
    return {name: getattr(arrays, name)[:, keep] for name in names}


def test_easy_labelled_queries_do_not_flatter_it(base):
    """The mean is that of the training queries, not that of the labelled ones."""
    records = [r for r in with_prover(synthetic_records(160, seed=4, prefix="lopsided")) if r.task == "hard"][:50]
    records += [r for r in with_prover(synthetic_records(160, seed=4, prefix="lopsided")) if r.task == "easy"][:10]
    lopsided = arrays_of(records, NEW)
    router = add_model(base, lopsided)
    _, quality, _, _ = router.layout.split(router.means[None])
    labelled = label_plans(lopsided, [PROVER]).quality.mean()
    assert labelled > 0.75
    assert quality[0, router.plans.index(PROVER)] == pytest.approx(0.5, abs=0.12)


def test_what_the_old_members_do_not_tell_is_not_made_up(base):
    rng = np.random.default_rng(1)
    records = []
    for record in with_prover(synthetic_records(80, seed=5, prefix="noise")):
        right = tuple((rng.random(6) < 0.5).astype(float).tolist())
        records.append(replace(record, samples={**record.samples, "prover": replace_quality(record, right)}))
    router = add_model(base, arrays_of(records, NEW))
    spread = np.ptp(router.predict(arrays_of(records, NEW).queries()).expected_quality, axis=0)
    assert spread[router.plans.index(PROVER)] < 0.3 * spread[router.plans.index(Plan.of(Candidate("small")))]


def replace_quality(record, right):
    return replace(record.samples["prover"], quality=right, reward=right)


def test_candidates_stand_in_the_order_of_the_pool_before_all_other_plans(extended):
    candidates = [plan.candidate for plan in extended.plans if plan.candidate is not None]
    assert [c is not None for c in (p.candidate for p in extended.plans)] == sorted(
        [c is not None for c in (p.candidate for p in extended.plans)], reverse=True
    )
    assert candidates == sorted(candidates, key=lambda c: (NEW.models.index(c.model), c.n))
    assert any(len(plan.steps) > 1 and "prover" in plan.models for plan in extended.plans)


def test_removal_is_free_and_gives_back_what_was_there(base, extended, fresh):
    back = remove_model(extended, "prover")
    assert (back.plans, back.fixed_plans) == (base.plans, base.fixed_plans)
    assert back.pool.to_dict() == base.pool.to_dict()
    for name, array in base.tensors().items():
        assert np.array_equal(back.tensors()[name], array), name
    assert [change.kind for change in back.changes] == ["added", "removed"]
    without = remove_model(extended, "small")
    assert without.pool.models == ("prover", "mid", "large")
    assert not any("small" in plan.models for plan in (*without.plans, *without.fixed_plans))
    assert_same(without, extended, fresh.queries())
    alone = remove_model(remove_model(without, "mid"), "prover")
    assert alone.pool.models == ("large",)
    assert NEW.reference_plan in alone.fixed_plans
    assert_same(alone, base, fresh.queries())


def test_prices_of_quality_rise_only_where_the_wider_choice_would_miss_the_target(base, extended, labelled):
    assert extended.path == base.path
    prediction, cost = predicted(extended, labelled)
    reference = prediction.expected_quality[:, extended.plans.index(NEW.reference_plan)].mean()
    rows, kept = np.arange(len(labelled)), 0
    for target, before in base.frozen.items():
        after = extended.frozen[target]
        assert (before is None) == (after is None)
        if after is None:
            continue
        kept += 1
        assert after >= before
        chosen = QualityPolicy(after).choose(prediction, cost, NEW)
        quality = prediction.expected_quality[rows, chosen].mean()
        ours, its_cost = predicted(base, replace(labelled, pool=OLD, **columns_of(labelled, OLD)))
        without = ours.expected_quality[rows, QualityPolicy(before).choose(ours, its_cost, OLD)].mean()
        assert quality >= min((1 - float(target)) * reference, without) - 1e-9
    assert kept
    assert extended.default_policy == QualityPolicy(extended.frozen["0.01"])
    own = replace(base, default_policy=QualityPolicy(0.123))
    assert add_model(own, labelled).default_policy == QualityPolicy(0.123)
    careful = replace(base, default_policy=ReferencePolicy())  # as training leaves it where the evidence is thin
    assert add_model(careful, labelled).default_policy == ReferencePolicy()


def test_a_member_that_is_never_right_changes_no_price(base):
    """Also where the router misses its target on the labelled queries without it."""
    careless = replace(base, frozen={"0": base.path[40], "0.01": base.path[30], "0.02": None})
    records = with_prover(synthetic_records(56, seed=3, prefix="new"))
    never = [replace(r, samples={**r.samples, "prover": replace_quality(r, (0.0,) * 6)}) for r in records]
    labelled = arrays_of(never, NEW)
    said, cost = predicted(careless, replace(labelled, pool=OLD, **columns_of(labelled, OLD)))
    chosen = QualityPolicy(base.path[40]).choose(said, cost, OLD)
    reference = said.expected_quality[:, careless.plans.index(OLD.reference_plan)].mean()
    assert said.expected_quality[np.arange(len(labelled)), chosen].mean() < reference
    assert add_model(careless, labelled).frozen == careless.frozen


def test_a_router_that_froze_no_price_gets_none(base, labelled):
    only_reference = replace(base, frozen=dict.fromkeys(base.frozen))
    assert add_model(only_reference, labelled).frozen == only_reference.frozen


def test_evaluation_and_engine_take_it(extended, fresh, tmp_path):
    report = evaluate(extended, fresh, resamples=100).report
    assert report["policy"]["saving"] > 0
    assert "prover" in {arm["model"] for arm in report["arms"]}
    extended.save_pretrained(tmp_path)
    members = {model: FakeGenerator([model]) for model in NEW.models}
    engine = BestRoute(NEW, members, str(tmp_path), Verifier(lambda query, text: True), QualityPolicy(2e-4))
    hard = next(text for text, group in zip(fresh.texts, fresh.groups, strict=True) if "hard" in group)
    assert engine.run(hard).text == "prover"


def test_labelled_queries_count_as_seen_and_are_refused_later(extended, labelled):
    with pytest.raises(RecordError, match="trained on the id 'new0'"):
        evaluate(extended, labelled)
    assert extended.changes == (PoolChange("added", "prover", 56),)


def test_cross_fit_shows_nothing_about_a_router_that_was_changed(extended, fresh):
    with pytest.raises(ConfigError, match="prover added on 56 queries"):
        tune_max_drop(extended, fresh, 0.1, cross_fit=2)


def pool_of(*models, reference="large"):
    prices = {model: PRICES.get(model, Price(1.0, 1.0)) for model in models}
    return Pool(models, prices, reference, max_n=2)


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        (pool_of("small", "mid", "large"), "with one model more"),
        (pool_of("mid", "small", "prover", "large"), "in this order, with one model more"),
        (pool_of("small", "prover", "large"), "with one model more"),
        (pool_of("small", "prover", "mid", "large", reference="mid"), "the reference must stay 'large'"),
    ],
)
def test_a_pool_that_is_not_one_member_more_is_refused(base, pool, sentence):
    with pytest.raises(ConfigError, match=sentence):
        add_model(base, arrays_of(with_prover(synthetic_records(60)), pool))


def test_too_few_labelled_queries_or_groups_are_refused(base, labelled):
    with pytest.raises(RecordError, match="at least 50 labelled queries of at least 5 groups, got 49 of"):
        add_model(base, labelled.take(range(49)))
    with pytest.raises(RecordError, match="got 56 of 2"):
        add_model(base, replace(labelled, groups=("a", "b") * 28))


@pytest.mark.parametrize(("model", "sentence"), [("large", "is the reference"), ("smal", "Did you mean|did you mean")])
def test_the_reference_and_unknown_models_cannot_be_removed(base, model, sentence):
    with pytest.raises(ConfigError, match=sentence):
        remove_model(base, model)


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def test_the_commands_add_and_remove_and_say_what_changed(base, fresh, tmp_path):
    promised = tmp_path / "router"
    base.save_pretrained(promised)
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(NEW.to_dict(), sort_keys=False))
    records = with_prover(synthetic_records(56, seed=3, prefix="new"))
    write_records(tmp_path / "labelled.jsonl", records)
    added = run(
        "add-model", promised, tmp_path / "labelled.jsonl", "--pool", tmp_path / "new.yaml", "--out", tmp_path / "more"
    )
    assert added.exit_code == 0, added.output
    assert "prover added on 56 queries" in added.stdout
    assert f"kept: {len(base.plans)} plans" in added.stdout
    assert "prover x 1" in added.stdout
    more = MultiHeadRouter.from_pretrained(tmp_path / "more")
    assert_same(base, more, fresh.queries())
    removed = run("remove-model", tmp_path / "more", "small", "--out", tmp_path / "more")
    assert removed.exit_code == 0, removed.output
    assert "small removed" in removed.stdout
    assert "removed:" in removed.stdout
    assert MultiHeadRouter.from_pretrained(tmp_path / "more").pool.models == ("prover", "mid", "large")


def test_cross_fitting_a_changed_router_says_that_it_is_not_what_is_scored(base, tmp_path):
    remove_model(base, "mid").save_pretrained(tmp_path / "router")
    write_records(tmp_path / "records.jsonl", synthetic_records(60, prefix="other"))
    told = run("evaluate", tmp_path / "router", tmp_path / "records.jsonl", "--cross-fit", 2, "--resamples", 100)
    assert told.exit_code == 0, told.output
    assert (
        "the pool was changed after training (mid removed): newly trained routers are scored, not this one"
        in told.stderr
    )


def test_the_commands_drop_promises_and_say_so(base, fresh, tmp_path):
    promise = tune_max_drop(base, replace(fresh, pool=OLD, **columns_of(fresh, OLD)), 0.4)
    replace(base, promises=(promise,)).save_pretrained(tmp_path)
    assert MultiHeadRouter.from_pretrained(tmp_path).promises == (promise,)
    told = run("remove-model", tmp_path, "small", "--out", tmp_path)
    assert "dropped: the promise of a drop of at most 0.4" in told.stdout
    assert not (tmp_path / "promises.json").exists()


def test_records_that_lack_the_new_model_are_refused_in_one_sentence(base, tmp_path):
    base.save_pretrained(tmp_path / "router")
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(NEW.to_dict(), sort_keys=False))
    write_records(tmp_path / "old.jsonl", synthetic_records(56, prefix="other"))
    told = run(
        "add-model", tmp_path / "router", tmp_path / "old.jsonl", "--pool", tmp_path / "new.yaml", "--out", tmp_path
    )
    assert told.exit_code == 2
    assert "'samples' has no 'prover'" in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (tmp_path / "router.json").exists()


def test_folders_of_before_pools_could_change_are_read(base, tmp_path):
    base.save_pretrained(tmp_path)
    path = tmp_path / "router.json"
    told = json.loads(path.read_text())
    assert told.pop("changes") == []
    path.write_text(json.dumps(told))
    assert MultiHeadRouter.from_pretrained(tmp_path).changes == ()
