"""A trained reward model: what it learns, what it keeps, what it refuses."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bestroute import (
    ArtifactError,
    BestRoute,
    ConfigError,
    MajorityVote,
    Plan,
    ProxyRewardModel,
    Query,
    RecordError,
    RewardModel,
    Step,
)
from bestroute.records.records import ModelSamples, Record
from bestroute.reward_models.conversion import as_reward_model
from bestroute.reward_models.record_rewards import score_records
from bestroute.reward_models.reward_settings import RewardSettings
from bestroute.reward_models.training import train_reward
from bestroute.reward_models.untrained import is_calibrated
from bestroute.testing import FakeGenerator, synthetic_pool, synthetic_records

RIGHT = ("the total is", "we get", "so the answer is")
WRONG = ("i am not able to say", "perhaps it is", "sorry, it is")


def worded(records, seed=0):
    """Give samples texts that tell right from wrong by their words, nine times of ten."""
    rng = np.random.default_rng(seed)

    def text(quality):
        says = RIGHT if (quality > 0.5) ^ (rng.random() < 0.1) else WRONG
        return f"{rng.choice(says)} {rng.integers(100)}"

    return [
        replace(r, samples={m: replace(s, text=tuple(map(text, s.quality))) for m, s in r.samples.items()})
        for r in records
    ]


@pytest.fixture(scope="module")
def records():
    return worded(synthetic_records(120))


@pytest.fixture(scope="module")
def model(records):
    return train_reward(records, RewardSettings(reference="large"), resamples=200)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("reward")
    model.save_pretrained(path)
    return path


def test_it_learns_which_words_are_right(model):
    right, wrong = model.score(Query("sum list 3?"), ["the total is 5", "sorry, it is 5"])
    assert right > wrong
    for pairs in model.report["pair_accuracy"].values():
        assert pairs["value"] > 0.8
        assert pairs["ci95"][0] > 0.7


def test_the_best_of_n_by_it_beats_a_random_choice_and_no_oracle(model):
    best = model.report["best_of_n"]
    assert best["n"] == [1, 2, 3, 4, 5, 6]
    assert best["gain"][3]["ci95"][0] > 0.1
    for i in range(6):
        assert (
            best["random"][i]["quality"] <= best["reward"][i]["quality"] + 1e-9 <= best["oracle"][i]["quality"] + 2e-9
        )
    assert model.cap_n == best["cap_n"] >= 3


def test_probabilities_are_held_out_and_near_what_happens(model):
    curve = model.report["calibration"]
    assert curve["error"] < 0.1
    low, high = model.calibrated(sorted(model.score(Query("sum list 3?"), ["sorry, it is 5", "the total is 5"])))
    assert 0 <= low < high <= 1


def test_training_twice_gives_the_same_model(records):
    def trained(seed):
        return train_reward(records[:40], RewardSettings(folds=2, seed=seed), resamples=100).fingerprint

    assert trained(0) == trained(0) != trained(1)


def test_shuffled_qualities_teach_nothing(records):
    rng = np.random.default_rng(1)
    shuffled = [
        replace(
            r,
            samples={
                m: replace(s, quality=tuple(map(float, rng.permutation(s.quality)))) for m, s in r.samples.items()
            },
        )
        for r in records[:80]
    ]
    accuracy = train_reward(shuffled, RewardSettings(folds=2), resamples=100).report["pair_accuracy"]["ends"]
    assert 0.3 < accuracy["value"] < 0.7  # what is held out is held out


def test_the_interface_is_a_reward_models(model):
    assert isinstance(model, RewardModel)
    assert is_calibrated(model)
    assert model.needs_training
    query, texts = Query("sum?"), ["the total is 1", "sorry"]
    assert asyncio.run(model.ascore(query, texts)) == model.score(query, texts)
    assert model.score(query, []) == []
    assert model.score(query, ["", " ", "x" * 50_000]) == pytest.approx(
        [model.score(query, [t])[0] for t in ("", " ", "x" * 50_000)]
    )


def test_a_query_that_is_messages_alone_is_scored(model):
    assert len(model.score(Query("", messages=["an image"]), ["the total is 1"])) == 1


def test_saved_and_loaded_it_scores_and_remembers_alike(model, folder, records):
    loaded = ProxyRewardModel.from_pretrained(folder)
    query, texts = Query("sum list?"), ["the total is 1", "sorry", ""]
    assert loaded.score(query, texts) == model.score(query, texts)
    assert loaded.calibrated([0.0, 1.0]) == model.calibrated([0.0, 1.0])
    assert loaded.fingerprint == model.fingerprint
    assert loaded.seen_records.has_id(records[0].id)
    assert loaded.seen_records.has_group(records[0].group)
    assert not loaded.seen_records.has_group(records[0].id)
    assert not loaded.seen_records.has_id("q-new")
    assert loaded.report["best_of_n"] == model.report["best_of_n"]


def test_the_folder_holds_no_text_and_nothing_that_runs_code(folder, records):
    assert sorted(p.name for p in folder.iterdir()) == ["reward.json", "reward.safetensors"]
    data = b"".join(p.read_bytes() for p in folder.iterdir())
    assert records[0].query.encode() not in data
    assert records[0].group.encode() not in data


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "reward.json").unlink(),
        lambda f: (f / "reward.safetensors").unlink(),
        lambda f: (f / "reward.safetensors").write_bytes(b"x" * 100),
        lambda f: (f / "reward.json").write_text("{"),
        lambda f: (f / "reward.json").write_text("[]"),
        lambda f: _edit(f, format=99),
        lambda f: _edit(f, kind="oracle"),
        lambda f: _edit(f, features=["other"]),
        lambda f: _edit(f, calibration={}),
        lambda f: _edit(f, calibration={"center": 0.0, "scale": -1.0}),
        lambda f: _edit(f, sha256={}),
        lambda f: _edit(f, sha256={"../../etc": "0"}),
        lambda f: _edit(f, report=3),
    ],
)
def test_a_damaged_folder_is_one_sentence(folder, tmp_path, damage):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        ProxyRewardModel.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def _edit(folder, **changes):
    path = folder / "reward.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_serves_as_reward_model_of_an_engine(folder):
    pool = synthetic_pool()
    texts = ["sorry, it is 3", "the total is 7", "perhaps it is 2"]
    members = {"small": FakeGenerator(texts), "mid": FakeGenerator(["x"]), "large": FakeGenerator(["y"])}
    engine = BestRoute(pool, members, router=lambda query: ("small", 3), reward_model=str(folder))
    result = engine.run("sum list name 4?")
    assert result.text == "the total is 7"
    assert all(sample.reward is not None for sample in result.samples)


def test_a_plan_accepts_on_its_probability(folder):
    model = as_reward_model(folder)
    right, wrong = (model.calibrated(model.score(Query("sum?"), [t]))[0] for t in ("the total is 7", "sorry, it is 3"))
    plan = Plan((Step("small", 2, accept=(right + wrong) / 2), Step("large", 1)))
    members = {m: FakeGenerator(["sorry, it is 3", "the total is 7"]) for m in ("small", "mid", "large")}
    result = BestRoute(synthetic_pool(), members, router=lambda query: plan, reward_model=folder).run("sum?")
    assert [sample.accepted for sample in result.samples] == [False, True]
    assert result.text == "the total is 7"


def test_a_missing_folder_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="is .* a reward model's folder"):
        as_reward_model(tmp_path / "nothing")


def test_records_it_was_trained_on_are_refused(model, records):
    with pytest.raises(RecordError, match=f"trained on the id '{records[0].id}'"):
        score_records(model, records[:3])
    twin = replace(records[0], id="another")
    with pytest.raises(RecordError, match=f"trained on the group '{records[0].group}'"):
        score_records(model, [twin])


def test_for_training_they_get_the_rewards_that_were_held_out(model, records):
    scored = score_records(model, records, for_training=True)
    own = records[5].samples["small"]
    again = model.calibrated(model.score(Query(records[5].query), own.text))
    assert scored[5].samples["small"].reward != pytest.approx(again)  # not those of the model that has seen them
    assert all(0 <= x <= 1 for r in scored for s in r.samples.values() for x in s.reward)
    with pytest.raises(RecordError, match="kept no held-out reward"):
        score_records(model, [replace(records[0], id="another")], for_training=True)


def test_fresh_records_get_its_probabilities(model):
    fresh = worded(synthetic_records(4, prefix="fresh"))
    own = fresh[1].samples["mid"]
    (reward,) = {score_records(model, fresh)[1].samples["mid"].reward}
    assert reward == tuple(model.calibrated(model.score(Query(fresh[1].query), own.text)))
    silent = replace(fresh[0], samples={"small": ModelSamples((1.0,))})
    with pytest.raises(RecordError, match=r"'samples.small.text' is missing"):
        score_records(model, [silent])


def test_one_sample_of_each_model_is_paired_across_models():
    records = [
        Record(
            f"q{i}",
            f"what is {i}?",
            {"a": ModelSamples((1.0,), (f"the total is {i}",)), "b": ModelSamples((0.0,), (f"sorry {i}",))},
            f"g{i}",
        )
        for i in range(30)
    ]
    report = train_reward(records, resamples=200).report
    assert report["pairs"] == {"scheme": "across", "made": 30}
    assert report["pair_accuracy"]["ends"]["value"] is None
    assert report["pair_accuracy"]["across"]["value"] == 1.0
    assert report["best_of_n"]["reward"][1]["quality"] == 1.0


def test_too_few_groups_are_refused(records):
    one = [replace(r, group="same") for r in records[:10]]
    with pytest.raises(RecordError, match="at least 5 groups, got 1"):
        train_reward(one)


def test_pairs_of_a_single_fold_are_refused(records):
    def level(record):
        return replace(record, samples={m: replace(s, quality=(1.0,) * s.size) for m, s in record.samples.items()})

    one = [r if r.group == records[0].group else level(r) for r in records]
    with pytest.raises(RecordError, match="pairs lie in one of 5 folds, so nothing can be learnt"):
        train_reward(one, RewardSettings(pairs="ends"))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"folds": 1}, "folds must be at least 2"),
        ({"encoder": "x", "folds": 0}, "folds of a transformer must be 1, or at least 3"),
        ({"encoder": "x", "folds": 2}, "folds of a transformer must be 1, or at least 3"),
        ({"pairs_per_query": 0}, "pairs_per_query must be >= 1"),
        ({"most_n": 0}, "most_n must be >= 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, what):
    with pytest.raises(ConfigError, match=what):
        RewardSettings(**changes)


def test_scoring_needs_neither_torch_nor_scikit_learn(folder):
    code = (
        "import sys; from bestroute import ProxyRewardModel, Query; "
        f"m = ProxyRewardModel.from_pretrained({str(folder)!r}); m.calibrated(m.score(Query('sum?'), ['a', 'b'])); "
        "print({'torch', 'transformers', 'sklearn', 'scipy', 'accelerate'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_vote_is_still_a_vote():
    assert isinstance(as_reward_model(MajorityVote()), MajorityVote)
