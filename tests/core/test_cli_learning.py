"""``bestroute train`` and ``bestroute evaluate`` as a user runs them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from bestroute.cli import main
from bestroute.cli.training_words import verdict
from bestroute.policies.policies import ReferencePolicy
from bestroute.records.jsonl import read_jsonl
from bestroute.records.records import Record, write_records
from bestroute.router import MultiHeadRouter
from bestroute.router.evidence import Evidence
from bestroute.testing import synthetic_pool, synthetic_records


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a pool, records to train and to test on, and a trained router."""
    where = tmp_path_factory.mktemp("learning")
    (where / "pool.yaml").write_text(yaml.safe_dump(synthetic_pool(max_n=2).to_dict()))
    write_records(where / "train.jsonl", synthetic_records(96, samples=4, prefix="train"))
    write_records(where / "test.jsonl.gz", synthetic_records(64, samples=4, seed=1, prefix="test"))
    told = run(
        "train", where / "train.jsonl", "--pool", where / "pool.yaml", "--out", where / "router", "--reward", "quality",
        "--plans", 5, "--margin", 0.25, "--seed", 3, "--verbose",
    )  # fmt: skip
    assert told.exit_code == 0
    (where / "printed").write_text(told.stdout)
    return where


def test_train_prints_held_out_figures_and_every_flag_arrives(folder):
    printed = (folder / "printed").read_text()
    for words in ("96 records of 24 groups", "quality explained on held-out folds", "shrinkage", "calibration error"):
        assert words in printed
    settings = MultiHeadRouter.from_pretrained(folder / "router").settings
    assert (settings.reward, settings.offered, settings.margin, settings.seed) == ("quality", 5, 0.25, 3)


def test_a_router_s_folder_keeps_the_savings_that_training_foretold_of_its_frozen_prices(folder):
    printed, router = (folder / "printed").read_text(), MultiHeadRouter.from_pretrained(folder / "router")
    savings = router.trained_on.savings
    assert set(savings) == {drop for drop, price in router.frozen.items() if price is not None}
    for drop, (saving, low, high) in savings.items():
        assert f"  {float(drop):.1%}: saves {100 * saving:.1f} % [{100 * low:.1f}, {100 * high:.1f}] at" in printed


def test_evaluate_prints_a_table_and_writes_report_plot_and_decisions(folder, tmp_path):
    pytest.importorskip("matplotlib")
    told = run(
        "evaluate", folder / "router", folder / "test.jsonl.gz", "--train", folder / "train.jsonl", "--resamples", 100,
        "--policy", "threshold:0.8", "--json", tmp_path / "o.json", "--plot", tmp_path / "o.png",
        "--decisions", tmp_path / "d.jsonl",
    )  # fmt: skip
    assert told.exit_code == 0
    assert "64 queries of 16 groups" in told.stdout
    report = json.loads((tmp_path / "o.json").read_text())
    assert report["policy"]["policy"] == "threshold 0.8"
    assert report["baselines"]["n_class"]["curve"]
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")
    decisions = [line for _, line in read_jsonl(tmp_path / "d.jsonl")]
    assert [d["id"] for d in decisions] == [f"test{i}" for i in range(64)]


def test_a_verifier_error_reaches_the_report(folder, tmp_path):
    for rate in (0, 0.5):
        run(
            "evaluate", folder / "router", folder / "test.jsonl.gz", "--resamples", 100, "--verifier-error", rate,
            "--json", tmp_path / f"{rate}.json",
        )  # fmt: skip
    exact, erring = (json.loads((tmp_path / f"{rate}.json").read_text()) for rate in (0, 0.5))
    assert erring["curve"][-1]["quality"] < exact["curve"][-1]["quality"]


def test_cross_fit_trains_on_the_test_records_themselves(folder):
    told = run("evaluate", folder / "router", folder / "train.jsonl", "--cross-fit", 2, "--resamples", 100)
    assert told.exit_code == 0
    assert "trained anew for each of 2 folds" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["router", "train.jsonl"], "the router was trained on the id 'train0'"),
        (["router", "test.jsonl.gz", "--policy", "best"], "policy must be threshold:0.8"),
        (["router", "test.jsonl.gz", "--policy", "max_drop:0.01"], "bestroute tune"),
        (["router", "test.jsonl.gz", "--verifier-error", "1.5"], "--verifier-error must be in"),
        (["router", "test.jsonl.gz", "--resamples", "5"], "--resamples must be at least 100"),
        (["router", "test.jsonl.gz", "--reward", "majority", "--verifier-error", "0.1"], "needs a verifier"),
        (["router", "test.jsonl.gz", "--cross-fit", "2", "--train", "train.jsonl"], "leave out --train"),
        (["router", "test.jsonl.gz", "--cross-fit", "99"], "cross-fit must be in 2..16"),
        (["nowhere", "test.jsonl.gz"], "is nowhere a router's folder"),
        (["router", "none.jsonl"], "none.jsonl"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_status_2(folder, monkeypatch, arguments, sentence):
    monkeypatch.chdir(folder)
    told = run("evaluate", *arguments)
    assert told.exit_code == 2
    assert sentence in told.stderr
    assert told.stderr.rstrip("\n").splitlines()[-1].startswith("bestroute: ")
    assert told.stdout == ""


def test_records_that_lack_a_model_are_refused_or_counted(folder, tmp_path):
    records = synthetic_records(96, samples=4, prefix="more")
    samples = {m: s for m, s in records[0].samples.items() if m != "mid"}
    write_records(tmp_path / "r.jsonl", [type(records[0])(**{**vars(records[0]), "samples": samples}), *records[1:]])
    options = ["--pool", folder / "pool.yaml", "--out", tmp_path / "router", "--reward", "quality"]
    refused = run("train", tmp_path / "r.jsonl", *options)
    assert refused.exit_code == 2
    assert "'samples' has no 'mid'" in refused.stderr
    assert not (tmp_path / "router").exists()
    told = run("train", tmp_path / "r.jsonl", *options, "--allow-missing")
    assert told.exit_code == 0
    assert "1 records left out" in told.stderr
    assert "95 records" in told.stdout


def unjudge(record: Record, keep: int) -> Record:
    """The record as it is while only the first samples of each model have been judged."""
    samples = {m: replace(s, quality=(*s.quality[:keep], *[None] * (s.size - keep))) for m, s in record.samples.items()}
    return replace(record, samples=samples)


@pytest.mark.parametrize("command", ["train", "tune", "evaluate", "train-reward"])
def test_samples_without_a_label_are_counted_and_not_used(folder, tmp_path, command):
    records = synthetic_records(96, samples=4, prefix="half")
    write_records(tmp_path / "r.jsonl", [unjudge(records[0], 0), unjudge(records[1], 2), *records[2:]])
    arguments = {
        "train": ["r.jsonl", "--pool", folder / "pool.yaml", "--out", tmp_path / "new", "--reward", "quality"],
        "train-reward": ["r.jsonl", "--out", tmp_path / "reward", "--resamples", 100],
        "tune": [folder / "router", "r.jsonl", "--max-drop", 0.5],
        "evaluate": [folder / "router", "r.jsonl", "--resamples", 100],
    }[command]
    told = run(command, *[tmp_path / a if a == "r.jsonl" else a for a in arguments])
    assert "18 of 1152 samples have no label (their quality is null) and are not used" in told.stderr
    assert "1 records left out: no sample of some model has a label (the first is 'half0')" in told.stderr


@pytest.mark.parametrize("command", ["train", "tune", "evaluate"])
def test_records_that_nobody_judged_are_refused_with_what_to_do(folder, tmp_path, command):
    path = tmp_path / "r.jsonl"
    write_records(path, [unjudge(r, 0) for r in synthetic_records(96, samples=2, prefix="none")])
    arguments = {
        "train": [path, "--pool", folder / "pool.yaml", "--out", tmp_path / "new", "--reward", "majority"],
        "tune": [folder / "router", path, "--max-drop", 0.5],
        "evaluate": [folder / "router", path],
    }[command]
    told = run(command, *arguments)
    assert told.exit_code == 2
    assert "576 of 576 samples have no label" in told.stderr
    assert "bestroute collect PROMPTS ... --checker MODULE:FUNCTION" in told.stderr
    assert "bestroute label RECORDS --judge" in told.stderr


@pytest.mark.parametrize("command", ["train", "tune", "evaluate"])
def test_qualities_outside_0_and_1_are_refused(folder, tmp_path, command):
    first, *records = synthetic_records(96, samples=2, prefix="wide")
    small = replace(first.samples["small"], quality=(7.5, 0.0))
    path = tmp_path / "r.jsonl"
    write_records(path, [replace(first, samples={**first.samples, "small": small}), *records])
    arguments = {
        "train": [path, "--pool", folder / "pool.yaml", "--out", tmp_path / "new", "--reward", "majority"],
        "tune": [folder / "router", path, "--max-drop", 0.5],
        "evaluate": [folder / "router", path],
    }[command]
    told = run(command, *arguments)
    assert told.exit_code == 2
    assert "line 1: 'samples.small.quality' must be in [0, 1], got 7.5" in told.stderr


def test_training_on_few_records_promises_nothing_and_says_how_many_would_do(folder, tmp_path):
    records = [replace(r, group=r.id) for r in synthetic_records(40, samples=3, prefix="thin")]
    write_records(tmp_path / "r.jsonl", records)
    out = tmp_path / "router"
    told = run(
        "train", tmp_path / "r.jsonl", "--pool", folder / "pool.yaml", "--out", out, "--reward", "quality", "--plans", 3
    )
    assert told.exit_code == 0
    for line in told.stdout.splitlines():
        if "saves" in line:
            assert re.search(r"saves \S+ % \[\S+, \S+\] at a drop of \S+ % \[\S+, \S+\]", line), line
    for jargon in ("shrinkage", "decay", "explained", "calibration"):
        assert jargon not in told.stdout
    last = told.stdout.splitlines()[-1]
    assert "verdict: use the default, without a router: at 1% this one saves " in last
    assert "40 records are few; label about" in last
    assert int(re.search(r"about (\d+) like these, then train again", last)[1]) > 40
    assert MultiHeadRouter.from_pretrained(out).default_policy == ReferencePolicy()
    assert "what:      large x 1" in run("route", out, "What is it?").stdout


EVIDENCE = Evidence(0.28, (0.051, 0.402), 0.01, (-0.02, 0.041), 0.04, 0.015, 90, 59)
USE = "use the default, without a router"


@pytest.mark.parametrize(
    ("changes", "records", "sentence"),
    [
        (
            {},
            400,
            "worth using: at 1% it saves 28.0 % [5.1, 40.2] at a drop of 1.0 % [-2.0, 4.1] on held-out queries; next, "
            "watch it on live traffic with audit=0.03, or get a promise on fresh records: bestroute tune router "
            "FRESH.jsonl --max-drop 0.01",
        ),
        (
            {"upper_drop": 0.06},
            400,
            f"{USE}, for now: at 1% this one saves 28.0 % [5.1, 40.2] at a drop of 1.0 % [-2.0, 4.1], and 400 records "
            "of 90 groups are too few to rule out a drop of more than 5%; label about 410 like these, then train again",
        ),
        ({"saving_ci95": (-0.01, 0.5)}, 400, f"{USE}, for now: .* which may be no saving at all; label more"),
        (
            {"upper_drop": 0.06, "groups": 40},
            40,
            f"{USE}: at 1% this one saves 28.0 % .*, and 40 records are few; label about 100 like these",
        ),
        (None, 400, f"{USE}: nothing cheaper than large stayed within a drop of 1% on held-out queries; try"),
    ],
)
def test_the_verdict_is_one_sentence_of_what_it_saves_and_what_to_do_next(changes, records, sentence):
    evidence = None if changes is None else replace(EVIDENCE, **changes)
    found = verdict(evidence, records, "large", Path("router"))
    assert re.match(re.escape(sentence).replace(r"\.\*", ".*"), found), found
