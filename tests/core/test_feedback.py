"""Feedback: matched by the call's id, in the ledger's database, its words only if they are to be kept."""

import asyncio
import contextlib
import math
import pickle
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from bestroute import BestRoute, ConfigError, Ledger
from bestroute.billing.database.address import read_address
from bestroute.billing.database.connection import Database
from bestroute.billing.database.ledger_tables import LedgerTables
from bestroute.cli import main
from bestroute.testing import FakeGenerator


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "memory":
        return None
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bills.db"
    return request.getfixturevalue("postgres").new_url()


def engine(pool, ledger):
    return BestRoute(pool, {m: FakeGenerator([m]) for m in pool.models}, ledger=ledger)


def test_feedback_is_matched_by_the_call_and_kept_in_order(pool, url):
    with Ledger(url) as ledger, engine(pool, ledger) as routed:
        calls = [routed.run("hi").call_id for _ in range(2)]
        routed.feedback(calls[0], 0.25, note="too long")
        asyncio.run(routed.afeedback(calls[1], True))
        routed.feedback(calls[0], np.float32(1.0))
        routed.feedback(calls[0], False)
        assert [(f.call_id, f.score, f.note) for f in ledger.feedbacks()] == [
            (calls[0], 0.25, None),
            (calls[1], 1.0, None),
            (calls[0], 1.0, None),
            (calls[0], 0.0, None),
        ]
        assert ledger.totals()["all"]["samples"] == 2


def test_the_command_refuses_a_score_that_cannot_be_stored(pool, tmp_path, monkeypatch):
    path = tmp_path / "bills.db"
    with Ledger(path) as ledger, engine(pool, ledger) as routed:
        call = routed.run("hi").call_id
    monkeypatch.setattr(LedgerTables, "write", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    done = CliRunner().invoke(main, ["feedback", str(path), call, "0.5"])
    assert done.exit_code == 2
    assert "cannot be written now, so the score is not stored; run the same command later" in done.stderr
    assert "stored" not in done.stdout
    monkeypatch.undo()
    with Ledger(path) as ledger:
        assert ledger.feedbacks() == []
    assert CliRunner().invoke(main, ["feedback", str(path), call, "0.5"]).exit_code == 0


def test_words_are_kept_only_by_a_ledger_that_is_to_keep_them(pool, url):
    with Ledger(url, keep_notes=True) as ledger:
        routed = engine(pool, ledger)
        routed.feedback(routed.run("hi").call_id, 1, note="good\x00 \ud83d")
        assert [f.note for f in ledger.feedbacks()] == ["good\\x00 \\ud83d"]
    if url is not None:
        with Ledger(url) as ledger:
            assert len(ledger.feedbacks()) == 1


def test_a_call_that_nobody_knows_is_refused_in_one_sentence(pool, url):
    with Ledger(url) as ledger:
        routed = engine(pool, ledger)
        routed.run("hi")
        with pytest.raises(ConfigError, match="has no call 'abc'; take the call_id of the answer's metadata"):
            routed.feedback("abc", 1)
        assert ledger.feedbacks() == []


@pytest.mark.parametrize("score", [-0.1, 1.01, math.nan, math.inf, 10**400, "1", None, [1], np.ones(2), np.nan])
def test_a_score_is_a_number_between_0_and_1(pool, score):
    routed = engine(pool, None)
    call = routed.run("hi").call_id
    with pytest.raises(ConfigError, match=r"score must be a number in \[0, 1\], or True or False, got"):
        routed.feedback(call, score)


def test_a_score_may_be_the_one_number_of_another_library(pool):
    class Tensor:
        """As torch's, whose size is a method."""

        def size(self):
            return ()

        def item(self):
            return 0.5

    with Ledger() as ledger, engine(pool, ledger) as routed:
        for score in (Tensor(), np.array([0.5]), np.float32(0.5)):
            routed.feedback(routed.run("hi").call_id, score)
        assert [found.score for found in ledger.feedbacks()] == [0.5] * 3


def test_the_call_and_the_note_are_texts(pool):
    routed = engine(pool, None)
    with pytest.raises(ConfigError, match="call_id must be that of an answer"):
        routed.feedback(None, 1)
    with pytest.raises(ConfigError, match="note must be a text"):
        routed.feedback(routed.run("hi").call_id, 1, note=3)


def test_a_ledger_of_somebody_elses_says_that_it_keeps_none(pool):
    class Books:
        def add(self, rows):
            pass

    with pytest.raises(ConfigError, match="feedback needs a bestroute.Ledger, but the ledger is a Books"):
        engine(pool, Books()).feedback("c", 1)


def test_a_copy_in_memory_has_it_too(pool):
    ledger = Ledger(keep_notes=True)
    routed = engine(pool, ledger)
    routed.feedback(routed.run("hi").call_id, 1, note="good")
    copied = pickle.loads(pickle.dumps(ledger))
    assert (copied.feedbacks(), copied.keep_notes) == (ledger.feedbacks(), True)


def bestroute(*arguments):
    return subprocess.run([sys.executable, "-m", "bestroute", *arguments], capture_output=True, text=True, check=False)


def test_the_command_keeps_it(pool, database_url):
    with Ledger(database_url) as ledger:
        call = engine(pool, ledger).run("hi").call_id
        names = [database_url, database_url.removeprefix("sqlite:///")]
        for name, score in zip(names, ("0.5", "1"), strict=True):
            done = bestroute("feedback", name, call, score, "--note", "fine")
            assert (done.returncode, done.stdout) == (0, f"{call}: score {score} stored\n")
        for wrong, why in ((["nobody", "1"], "has no call 'nobody'"), ([call, "2"], "score must be a number")):
            done = bestroute("feedback", database_url, *wrong)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert why in done.stderr
        assert [(f.score, f.note) for f in ledger.feedbacks()] == [(0.5, "fine"), (1.0, "fine")]


def test_the_command_makes_no_ledger_of_a_name_that_is_wrong(tmp_path):
    done = bestroute("feedback", str(tmp_path / "none.db"), "c", "1")
    assert (done.returncode, done.stderr.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])


def test_a_ledger_of_the_version_before_is_brought_up_to_date(pool, database_url):
    with Ledger(database_url) as ledger:
        call = engine(pool, ledger).run("hi").call_id
    database = Database(read_address(database_url, "a ledger"))
    connection, _ = database.connection()
    for table in ("bestroute_feedback", "bestroute_audits"):
        connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql("UPDATE bestroute_versions SET version = 2 WHERE part = 'ledger'")
    database.close()
    with Ledger(database_url) as ledger:
        ledger.feedback(call, 0.5)
        assert ([f.score for f in ledger.feedbacks()], ledger.outcomes()) == ([0.5], [])
        assert [row["call_id"] for row in ledger.rows()] == [call]


def test_a_file_of_version_1_is_brought_up_to_date(tmp_path):
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "CREATE TABLE samples (run_id TEXT, time REAL, model TEXT, step INTEGER, status TEXT, "
            "input_tokens INTEGER, output_tokens INTEGER, cached_input_tokens INTEGER, cache_write_tokens INTEGER, "
            "reasoning_tokens INTEGER, cost_usd REAL, estimated INTEGER, error TEXT, reference_cost_usd REAL)"
        )
        old.execute("INSERT INTO samples VALUES ('r1', 0, 'small', 0, 'ok', 1, 1, 0, 0, 0, 0.5, 0, NULL, 1.0)")
    old.close()
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.feedback("r1", 1)
        assert [f.call_id for f in ledger.feedbacks()] == ["r1"]
        assert ledger.totals()["all"]["audit_cost_usd"] == 0.0
