"""Training over many processes, as ``accelerate launch`` starts them on many GPUs: here two, on the CPU.

The transformers are of the paper's kind (DeBERTa v2) and of MiniLM's (BERT), a few thousand random weights each.
"""

import json
import os
import subprocess
import sys

import pytest

from bestroute import ProxyRewardModel, Query
from bestroute.records.records import write_records
from bestroute.router import MultiHeadRouter
from bestroute.testing import synthetic_records

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("onnx")

POOL = """
reference: large
max_n: 3
models:
  small: {input_price: 0.1, output_price: 0.4}
  mid: {input_price: 0.5, output_price: 2}
  large: {input_price: 2.5, output_price: 10}
"""
WIDTH = 32


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_records(folder / "train.jsonl", synthetic_records(80, samples=3))
    (folder / "pool.yaml").write_text(POOL)
    return folder


def saved(folder, model):
    """Save a model and a tokenizer of whole words for it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    said = sorted({word for record in synthetic_records(80, samples=3) for word in record.query.split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *said])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def sizes():
    return {"vocab_size": 400, "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def deberta(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.DebertaV2Config(
        **sizes(), num_attention_heads=2, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16,
        norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False, type_vocab_size=0, num_labels=1,
    )  # fmt: skip
    return saved(tmp_path_factory.mktemp("deberta"), transformers.DebertaV2ForSequenceClassification(config))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(0)
    return saved(
        tmp_path_factory.mktemp("bert"),
        transformers.BertModel(transformers.BertConfig(**sizes(), num_attention_heads=2)),
    )


def on_two(*arguments):
    """Run the command in two processes that know of each other; returns what they wrote."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, "-m", "bestroute", *map(str, arguments)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def test_a_reward_model_of_the_papers_kind_by_its_published_recipe(files, deberta, tmp_path):
    done = on_two(
        "train-reward", files / "train.jsonl", "--pool", files / "pool.yaml", "--out", tmp_path / "reward",
        "--encoder", deberta, "--pairs", "ends", "--learning-rate", "1.5e-5", "--epochs", "2", "--batch", "8",
        "--accumulation", "2", "--max-tokens", "32", "--keep", "start", "--most-pairs", "0",
    )  # fmt: skip
    assert done.stdout.count("trained on 80 records") == 1  # told by the first alone
    learnt = json.loads((tmp_path / "reward" / "reward.json").read_text())["report"]["pairs_learnt"]
    batches = -(-learnt // (8 * 2)) * 2  # each of the two takes its half; two epochs
    assert f" 0/{batches} [" in done.stderr
    scores = ProxyRewardModel.from_pretrained(tmp_path / "reward").score(Query("sum list?"), ["right", "wrong 3"])
    assert len(set(scores)) == 2


def test_a_fine_tuned_encoder_whose_pooler_is_not_used(files, bert, tmp_path):
    done = on_two(
        "train", files / "train.jsonl", "--pool", files / "pool.yaml", "--out", tmp_path / "router",
        "--reward", "quality", "--encoder", bert, "--fine-tune", "--max-tokens", "16", "--plans", "2",
    )  # fmt: skip
    assert done.stdout.count("trained on 80 records") == 1
    assert done.stderr.count("fine-tuning the encoder") == 1
    router = MultiHeadRouter.from_pretrained(tmp_path / "router")
    assert router.encoder.width == WIDTH
