"""What a command would write over: neither what it reads nor what is not ours is damaged."""

import json
import os

import pytest
from click.testing import CliRunner

from bestroute.cli import main
from bestroute.demo.dataset import ROUTER, held_out
from bestroute.errors import RecordError
from bestroute.records.journal import Journal
from bestroute.records.records import write_records


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "train.jsonl"
    write_records(path, held_out()[:20])
    return path


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"id": "a", "query": "What is 2 + 2?", "mine": 1}) + "\n")
    return path


def assert_refused(path, *arguments):
    before = path.read_bytes()
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 2, done.output
    assert str(path) in done.stderr.splitlines()[-1]
    assert path.read_bytes() == before


def test_what_is_read_is_not_written_over(records, log, tmp_path):
    assert_refused(log, "import", log, "--out", log)
    assert_refused(records, "split", records, "--out", tmp_path)
    assert_refused(records, "report", records, "--router", ROUTER, "--out", records)
    assert_refused(records, "evaluate", ROUTER, records, "--decisions", records)
    model = ["--model", "s=local:s", "--base-url", "s=http://127.0.0.1/v1", "--price", "s=1/2"]
    models = [*model, *(text.replace("s=", "t=") for text in model)]
    assert_refused(log, "init", *models, "--out", tmp_path / "pool.yaml", "--log", log)


def test_a_file_that_is_not_ours_is_not_written_over(records, log, tmp_path):
    mine = tmp_path / "notes.jsonl"
    mine.write_text("notes of mine")
    assert_refused(mine, "import", log, "--out", mine)
    assert_refused(mine, "report", records, "--router", ROUTER, "--out", mine)
    assert_refused(mine, "split", records, "--parts", "notes=0.5,rest=0.5", "--out", tmp_path)
    assert_refused(mine, "label", records, "--check", "exact", "--out", mine, "--again")


def test_labels_of_other_records_are_not_written_over(records, tmp_path):
    others = tmp_path / "others.jsonl"
    write_records(others, held_out()[20:25])
    assert_refused(others, "label", records, "--check", "exact", "--out", others)


def test_a_journal_of_something_else_is_not_cut(tmp_path):
    path = tmp_path / "x.jsonl.journal"
    path.write_text("notes\nof mine")
    journal = Journal(tmp_path / "x.jsonl", "journal", doing="collecting")
    with pytest.raises(RecordError):
        list(journal.lines())
    journal.close()
    assert path.read_text() == "notes\nof mine"


def test_records_are_not_written_over_by_prompts(records, log):
    assert_refused(records, "import", log, "--out", records)


def test_blank_lines_are_written_over(log, tmp_path):
    blank = tmp_path / "blank.jsonl"
    blank.write_text("\n\n")
    assert CliRunner().invoke(main, ["import", str(log), "--out", str(blank)]).exit_code == 0
    assert "What is 2 + 2?" in blank.read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_written_into_and_stays(log, tmp_path):
    pipe = tmp_path / "prompts"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    done = CliRunner().invoke(main, ["import", str(log), "--out", str(pipe)])
    assert done.exit_code == 0, done.output
    assert b"What is 2 + 2?" in os.read(reader, 10_000)
    os.close(reader)
    assert pipe.is_fifo()


def test_a_link_stays_and_what_it_points_to_is_written(log, tmp_path):
    (tmp_path / "kept").mkdir()
    link = tmp_path / "linked.jsonl"
    link.symlink_to(tmp_path / "kept" / "p.jsonl")
    assert CliRunner().invoke(main, ["import", str(log), "--out", str(link)]).exit_code == 0
    assert link.is_symlink()
    assert "What is 2 + 2?" in (tmp_path / "kept" / "p.jsonl").read_text()


def test_a_dash_is_no_file_and_no_stream(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["import", str(log), "--out", "-"])
    assert done.exit_code == 2
    assert "'-' does not stand for a stream here" in done.stderr
    assert not (tmp_path / "-").exists()
