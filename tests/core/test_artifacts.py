"""Folders are written whole, or not at all, and never over something else."""

import errno
import os

import numpy as np
import pytest
from click.testing import CliRunner

from bestroute import ConfigError, ProxyRewardModel
from bestroute.artifacts import check_folder, write_folder
from bestroute.cli import main
from bestroute.records.records import write_records
from bestroute.reward_models.calibration import Calibration
from bestroute.reward_models.light import ANSWER_WIDTH, QUERY_WIDTH, WIDTH, LightScorer
from bestroute.testing import synthetic_pool, synthetic_records

OLD = {"weights": b"old", "router.json": b"{}"}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reward_model():
    ones = np.ones(QUERY_WIDTH), np.ones(QUERY_WIDTH), np.ones(ANSWER_WIDTH), np.ones(ANSWER_WIDTH)
    curve = Calibration(0.0, 1.0, np.zeros(0), np.array([1.0, 0.0]))
    return ProxyRewardModel(LightScorer(*ones, np.zeros(WIDTH)), curve)


def test_files_are_put_in_place_in_their_order_and_old_ones_go(tmp_path, monkeypatch):
    write_folder(tmp_path, {"encoder/model": b"m", "encoder/words": b"w", **OLD})
    placed, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (placed.append(b.name), replace(a, b)))
    write_folder(tmp_path, {"weights": b"new", "router.json": b"[]"}, gone=["encoder/model", "encoder/words", "none"])
    assert placed == ["weights", "router.json"]
    assert contents(tmp_path) == {"weights": b"new", "router.json": b"[]"}
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_disk_that_is_full_leaves_the_folder_as_it_was(tmp_path, monkeypatch, fails_at):
    write_folder(tmp_path, OLD)
    calls, fsync = [], os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path, {"weights": b"new", "router.json": b"[]"}, gone=["weights"])
    assert contents(tmp_path) == OLD


def test_what_holds_something_else_or_cannot_be_written_is_refused(tmp_path):
    write_folder(tmp_path / "router", OLD)
    with pytest.raises(ConfigError, match=r"router: holds a router \(router.json\), and a reward model would damage"):
        write_folder(tmp_path / "router", {"reward.json": b"{}"})
    assert contents(tmp_path / "router") == OLD
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is no folder that may be"):
        check_folder(tmp_path / "file" / "below" / "it", "router.json")
    check_folder(tmp_path / "router", "router.json")
    check_folder(tmp_path / "not" / "there", "reward.json")


def test_a_smaller_reward_model_takes_the_place_of_a_larger_one(tmp_path):
    model = reward_model()
    model.save_pretrained(tmp_path)
    whole = contents(tmp_path)
    told = whole["reward.json"].replace(b'"sha256": {', b'"sha256": {"encoder/model": "0", "../kept": "0",')
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model").write_bytes(b"large")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    (tmp_path / "reward.json").write_bytes(told.replace(b'"../kept": "0",', b""))
    model.save_pretrained(tmp_path)
    assert contents(tmp_path) == {**whole, "notes.txt": b"mine"}
    (tmp_path.parent / "kept").write_bytes(b"outside")
    (tmp_path / "reward.json").write_bytes(told)
    model.save_pretrained(tmp_path)
    assert (tmp_path.parent / "kept").exists()


@pytest.mark.parametrize("command", ["train", "train-reward", "add-model"])
def test_commands_ask_before_they_train(tmp_path, command):
    import yaml

    write_records(tmp_path / "records.jsonl", synthetic_records(60))
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(synthetic_pool().to_dict()))
    out = tmp_path / "out"
    out.mkdir()
    (out / ("router.json" if command == "train-reward" else "reward.json")).write_text("{}")
    before = contents(tmp_path)
    given = [str(out)] if command == "add-model" else []
    arguments = [*given, str(tmp_path / "records.jsonl"), "--pool", str(tmp_path / "pool.yaml"), "--out", str(out)]
    done = CliRunner().invoke(main, [command, *arguments], catch_exceptions=False)
    assert done.exit_code == 2
    assert "give another folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(tmp_path) == before
