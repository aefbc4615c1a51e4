"""``train-reward`` and ``--reward DIR``."""

import json
from dataclasses import fields

import pytest
from click.testing import CliRunner

from bestroute import ConfigError, ProxyRewardModel
from bestroute.cli import main
from bestroute.cli.reward_commands import settings_from, train_reward
from bestroute.records.records import write_records
from bestroute.reward_models.reward_settings import Layout, RewardSettings, TransformerSettings
from bestroute.router import MultiHeadRouter
from bestroute.testing import synthetic_pool, synthetic_records


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    import yaml

    path = tmp_path_factory.mktemp("cli")
    write_records(path / "train.jsonl", synthetic_records(120))
    write_records(path / "test.jsonl", synthetic_records(60, seed=5, prefix="fresh"))
    (path / "pool.yaml").write_text(yaml.safe_dump(synthetic_pool().to_dict()))
    done = run("train-reward", path / "train.jsonl", "--pool", path / "pool.yaml", "--out", path / "reward")
    assert done.exit_code == 0, done.output
    (path / "told.txt").write_text(done.stdout)
    (path / "progress.txt").write_text(done.stderr)
    return path


def test_it_prints_what_held_out_records_say(work):
    told = (work / "told.txt").read_text()
    for part in ("held-out pairs of one model", "calibration (", "best of n", "oracle", "capped at", " to "):
        assert part in told
    assert "fitting" in (work / "progress.txt").read_text()
    model = ProxyRewardModel.from_pretrained(work / "reward")
    assert model.report["reference"] == "large"
    assert model.report["pair_accuracy"]["ends"]["value"] > 0.9


def test_a_router_learns_from_held_out_rewards_and_is_evaluated_on_fresh_ones(work, tmp_path):
    common = ("--pool", work / "pool.yaml", "--reward", work / "reward")
    done = run("train", work / "train.jsonl", *common, "--out", tmp_path / "router")
    assert done.exit_code == 0, done.output
    assert MultiHeadRouter.from_pretrained(tmp_path / "router").settings.reward == str(work / "reward")
    report = tmp_path / "report.json"
    options = ("--resamples", 100, "--json", report, "--train", work / "train.jsonl")
    done = run("evaluate", tmp_path / "router", work / "test.jsonl", *options)
    assert done.exit_code == 0, done.output
    assert json.loads(report.read_text())["queries"] == 60


def test_evaluation_refuses_records_the_reward_model_has_seen(work, tmp_path):
    done = run("train", work / "test.jsonl", "--pool", work / "pool.yaml", "--reward", "quality", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    done = run("evaluate", tmp_path, work / "train.jsonl", "--reward", work / "reward")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("bestroute: the reward model was trained on the id 'q0'")


def test_a_reward_that_is_neither_a_kind_nor_a_folder_is_refused(work, tmp_path):
    done = run("train", work / "train.jsonl", "--pool", work / "pool.yaml", "--reward", "oracle", "--out", tmp_path)
    assert done.exit_code == 2
    assert "or the folder of a reward model, got 'oracle'" in done.stderr
    done = run("train", work / "train.jsonl", "--pool", work / "pool.yaml", "--reward", tmp_path, "--out", tmp_path)
    assert done.exit_code == 2
    assert "is a reward model's folder" in done.stderr or "reward model's folder?" in done.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--reference", "larg"), "Did you mean 'large'"),
        (("--pairs", "best"), "pairs must be one of"),
        (("--calibration", "beta"), "calibration must be one of"),
        (("--folds", "1"), "folds must be at least 2"),
        (("--epochs", "3"), "--epochs is for transformers"),
        (("--allow-missing",), "add --pool"),
        (("--resamples", "5"), "at least 100"),
        (("--seed", "-1"), "seed must be in 0.."),
    ],
)
def test_what_cannot_work_is_one_sentence_and_exit_2(work, tmp_path, options, what):
    done = run("train-reward", work / "train.jsonl", "--out", tmp_path / "r", *options)
    assert done.exit_code == 2
    assert what in done.stderr
    assert not (tmp_path / "r").exists()


def test_every_option_reaches_the_setting_it_names():
    recipe = {"learning_rate": 1.5e-5, "epochs": 5, "batch": 32, "accumulation": 16, "weight_decay": 0.1}
    recipe |= {"warmup": 0.2, "most_pairs": 7, "checks": 2}
    layout = {"max_tokens": 512, "keep": "start", "template": "{query} | {text}"}
    own = {"pairs": "all", "pairs_per_query": 3, "calibration": "platt", "folds": 3, "most_n": 4, "seed": 9}
    found = settings_from("hub/id", "large", {**recipe, **layout, **own})
    transformer = TransformerSettings(**recipe, layout=Layout(**layout))
    assert found == RewardSettings("hub/id", reference="large", transformer=transformer, **own)
    named = {f.name for kind in (RewardSettings, TransformerSettings, Layout) for f in fields(kind)}
    options = {p.name for p in train_reward.params}
    assert named - {"transformer", "layout"} <= options


def test_without_options_the_defaults_are_those_of_the_settings():
    given = {p.name: p.default for p in train_reward.params}
    for f in fields(RewardSettings):
        if f.name not in ("transformer", "reference", "folds"):
            assert given[f.name] == getattr(RewardSettings(), f.name), f.name
    assert settings_from("light", None, {}) == RewardSettings()
    assert settings_from("hub/id", None, {"most_pairs": 0}).transformer.most_pairs is None


def test_settings_of_transformers_check_themselves():
    for changes, what in (
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"most_pairs": -1}, "most_pairs must be >= 1"),
        ({"warmup": 1.0}, "warmup must be in"),
        ({"learning_rate": float("nan")}, "learning_rate must be > 0, got nan"),
        ({"weight_decay": float("nan")}, "weight_decay >= 0"),
    ):
        with pytest.raises(ConfigError, match=what):
            TransformerSettings(**changes)
    for changes, what in (
        ({"template": "{query}"}, "template must hold"),
        ({"template": "{query} {text} {answer}"}, "no other braces"),
        ({"template": "{query} {text} {"}, "no other braces"),
        ({"max_tokens": 3}, "max_tokens must be at least 16"),
        ({"keep": "end"}, "keep must be"),
    ):
        with pytest.raises(ConfigError, match=what):
            Layout(**changes)
