import asyncio
import contextlib
import math
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bestroute import BestRoute, Budget, ConfigError, Ledger, Pool, Price
from bestroute.testing import FakeGenerator

ROW = {
    "run_id": "r",
    "time": 86_400.0 * 3,
    "model": "small",
    "step": 0,
    "status": "ok",
    "input_tokens": 10,
    "output_tokens": 5,
    "cached_input_tokens": 0,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
    "cost_usd": 0.25,
    "estimated": False,
    "error": None,
    "reference_cost_usd": 1.0,
    "call_id": "c",
    "attempt_id": "a",
    "attempt": 1,
    "requests": 1,
    "kind": "draw",
    "plan": "small x 1",
    "reason": "cheap",
    "tags": {"team": "search"},
    "latency_s": 0.5,
}


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request, tmp_path):
    return Ledger(None if request.param == "memory" else f"sqlite:///{tmp_path}/bills.db")


def test_rows_come_back_as_written(ledger):
    other = {**ROW, "model": "large", "status": "failed", "estimated": True, "error": "E: no", "attempt_id": "b"}
    ledger.add([ROW, other])
    assert ledger.rows() == [ROW, other]


def test_totals_by_model_and_by_day(ledger):
    ledger.add([ROW, {**ROW, "model": "large", "time": 86_400.0 * 4}, ROW])
    assert {k: v["cost_usd"] for k, v in ledger.totals(by="model").items()} == {"small": 0.5, "large": 0.25}
    assert {k: v["samples"] for k, v in ledger.totals(by="day").items()} == {"1970-01-04": 2, "1970-01-05": 1}
    assert ledger.totals()["all"]["input_tokens"] == 30
    assert (ledger.cost_usd, ledger.reference_cost_usd) == (0.75, 3.0)


@pytest.mark.parametrize(
    "asked",
    [
        *({"by": by} for by in (3, ["model", None], b"model", {"modle": 1})),
        *({name: moment} for name in ("since", "until") for moment in (math.nan, True, "yesterday", [], {})),
        *({"tags": tags} for tags in ("team", ["team"], 3)),
    ],
    ids=repr,
)
def test_totals_of_what_makes_no_sense_are_refused_in_one_sentence(ledger, asked):
    with pytest.raises(ConfigError, match=f"totals: {next(iter(asked))} must be"):
        ledger.totals(**asked)


def test_totals_by_anything_else_are_refused(ledger):
    with pytest.raises(ConfigError, match="by must be one of 'model', 'day', 'hour'"):
        ledger.totals(by="week")


def test_threads_share_a_ledger(ledger):
    threads = [threading.Thread(target=lambda: [ledger.add([ROW, ROW]) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.rows()) == 8 * 20 * 2


def test_a_file_is_found_again(tmp_path):
    Ledger(f"sqlite:///{tmp_path}/bills.db").add([ROW])
    again = Ledger(f"sqlite:///{tmp_path}/bills.db")
    again.add([ROW])
    assert again.rows() == [ROW, ROW]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_ledger_is_a_path_too_relative_ones_fixed_when_it_is_opened(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    with Ledger(kind("bills.db")) as ledger:
        ledger.add([ROW])
        assert ledger.url == f"sqlite:///{tmp_path}/bills.db"
        assert ledger.is_persistent
    with Ledger(kind(tmp_path / "bills.db")) as again:
        assert again.rows() == [ROW]


def test_memory_has_sqlite_s_own_name():
    assert not Ledger(":memory:").is_persistent


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite://", "'sqlite://'"),
        ("sqlite:///", "'sqlite:///'"),
        ("sqlite:bills.db", "'sqlite:bills.db'"),
        ("", "''"),
        ("bills\0.db", r"'bills\\x00.db'"),
        ("postgresql://x", "'postgresql://x'"),
        ("mysql://me:geheim@host/bills", "'mysql://\\*\\*\\*@host/bills'"),
        ("postgres:me:geheim@host", "'postgres:\\*\\*\\*@host'"),
        ("postgresql+psycopg:me:geheim@host/db", r"'postgresql\+psycopg:\*\*\*@host/db'"),
        ("SQLite+pysqlite:bills.db", r"'SQLite\+pysqlite:bills.db'"),
        (3, "3"),
        (b"bills.db", "a bytes"),
    ],
)
@pytest.mark.parametrize("keeper", [Ledger, lambda store: Budget(1.0, store=store)])
def test_what_is_neither_a_path_nor_a_known_url_is_one_sentence_without_a_password(keeper, url, shown):
    with pytest.raises(ConfigError, match=rf"is kept in a file, given by its path .*, or in memory .*; got {shown}$"):
        keeper(url)


def test_a_file_that_cannot_be_opened_is_one_sentence_that_says_why(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot open the ledger .*: there is no folder '.*missing'; create it"):
        Ledger(f"{tmp_path}/missing/bills.db")
    with pytest.raises(ConfigError, match=r"cannot open the ledger .*: it is a folder; give the file in it"):
        Ledger(tmp_path)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database, but long enough to be read as one" * 40)
    with pytest.raises(ConfigError, match=r"cannot open the ledger .*: it is a file of another kind, and no SQLite"):
        Ledger(f"sqlite:///{broken}")


def test_a_ledger_can_be_pickled(ledger):
    ledger.add([ROW])
    assert pickle.loads(pickle.dumps(ledger)).rows() == [ROW]


WRITER = """
import sys
from bestroute import Ledger
sys.path.insert(0, {tests!r})
from test_ledger import ROW
ledger = Ledger({url!r})
for i in range(100_000):
    ledger.add([{{**ROW, "run_id": str(i)}}, {{**ROW, "run_id": str(i)}}])
    print(i, flush=True)
"""


def test_a_killed_process_loses_and_doubles_nothing_after_commit(tmp_path):
    url = f"sqlite:///{tmp_path}/bills.db"
    code = WRITER.format(tests=os.path.dirname(__file__), url=url)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        told = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    written = [row["run_id"] for row in Ledger(url).rows()]
    for i in told:
        assert written.count(str(i)) == 2
    assert all(written.count(name) == 2 for name in set(written))


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A ledger whose file another connection holds, and a function that lets go of it."""
    monkeypatch.setattr("bestroute.billing.ledger._PATIENCE_S", 0.01)
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    ledger.add([ROW])
    holder = sqlite3.connect(tmp_path / "bills.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    yield ledger, lambda: holder.execute("ROLLBACK")
    holder.close()


def wait_for(happened):
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def write_all(ledger):
    """Write what waits, however often another writer has the file for longer than the fixture's patience."""
    end = time.monotonic() + 60
    while not ledger.flush():
        assert time.monotonic() < end


def test_rows_that_a_file_does_not_take_wait_for_it(locked, caplog):
    ledger, let_go = locked
    late = [{**ROW, "run_id": str(i), "model": "late"} for i in range(2)]
    for row in late:
        ledger.add([row])
    words = f"the ledger {ledger.url!r} cannot be written (database is locked): 2 rows wait in memory"
    wait_for(lambda: any(record.getMessage().startswith(words) for record in caplog.records))
    logged = [record for record in caplog.records if ledger.url in record.getMessage()]
    assert {record.levelname for record in logged} == {"ERROR"}
    assert ledger.rows() == [ROW, *late]
    assert ledger.totals(by="model")["late"]["samples"] == 2
    assert Ledger(ledger.url).rows() == [ROW]
    let_go()
    ledger.add([ROW])
    write_all(ledger)
    assert Ledger(ledger.url).rows() == [ROW, *late, ROW] == ledger.rows()


def test_a_file_that_takes_nothing_costs_no_answer(locked):
    ledger, _ = locked
    engine = BestRoute(Pool(["one"], {"one": Price(1, 1)}, "one"), {"one": FakeGenerator(["a b"])}, ledger=ledger)
    assert engine.run("hello").text == "a b"
    assert asyncio.run(engine.arun("hello")).text == "a b"
    *_, result = engine.stream("hello")
    assert result.text == "a b"
    assert [row["model"] for row in ledger.rows()] == ["small", "one", "one", "one"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rows_that_wait_are_written_by_their_own_process_alone(locked):
    ledger, let_go = locked
    ledger.add([{**ROW, "model": "late"}])
    copied = pickle.loads(pickle.dumps(ledger))
    assert len(copied.rows()) == 1
    if hasattr(os, "fork"):
        let_go()
        child = os.fork()
        if child == 0:
            try:
                ledger.add([{**ROW, "model": "child"}])
                write_all(ledger)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    write_all(ledger)
    assert sorted(row["model"] for row in Ledger(ledger.url).rows()) == ["child", "late", "small"]


def test_rows_that_wait_too_long_are_kept_as_sums(tmp_path, locked):
    locked[0].keep_rows = 3
    for _ in range(5):
        locked[0].add([ROW])
    wait_for(lambda: len(locked[0].rows()) == 1 + 3)
    assert locked[0].totals()["all"]["samples"] == 1 + 5


def test_a_table_that_is_gone_is_made_again(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    ledger.add([ROW])
    with contextlib.closing(sqlite3.connect(tmp_path / "bills.db")) as other, other:
        other.execute("DROP TABLE bestroute_samples")
    with pytest.raises(ConfigError, match="cannot read the ledger"):
        ledger.rows()
    ledger.add([{**ROW, "model": "again"}])
    assert [row["model"] for row in ledger.rows()] == ["again"]


def test_the_engine_writes_to_a_file(tmp_path):
    pool = Pool(["one"], {"one": Price(1, 1)}, "one")
    url = f"sqlite:///{tmp_path}/bills.db"
    BestRoute(pool, {"one": FakeGenerator(["a b"])}, ledger=Ledger(url)).run("hello")
    (row,) = Ledger(url).rows()
    assert (row["model"], row["status"], row["output_tokens"]) == ("one", "ok", 2)
    assert abs(row["time"] - time.time()) < 60


PROCESS = """
import sys, threading
from bestroute import Ledger
sys.path.insert(0, {tests!r})
from test_ledger import ROW
ledger = Ledger({url!r})
def write(k):
    for i in range(20):
        ledger.add([{{**ROW, "run_id": f"{name}-{{k}}-{{i}}"}}] * 2)
threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_processes_and_their_threads_share_a_file(tmp_path):
    url = f"sqlite:///{tmp_path}/bills.db"
    codes = [PROCESS.format(tests=os.path.dirname(__file__), url=url, name=f"p{k}") for k in range(3)]
    running = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    written = [row["run_id"] for row in Ledger(url).rows()]
    wanted = {f"p{p}-{k}-{i}" for p in range(3) for k in range(4) for i in range(20)}
    assert set(written) == wanted
    assert all(written.count(name) == 2 for name in wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_writes_by_a_connection_of_its_own(ledger):
    ledger.add([ROW])
    with ledger._guard():  # as if another thread were writing at the fork
        child = os.fork()
        if child == 0:
            try:
                ledger.add([{**ROW, "model": "child"}])
                os._exit(0 if len(ledger.rows()) == 2 else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.add([{**ROW, "model": "parent"}])
    models = [row["model"] for row in ledger.rows()]
    assert models == (["small", "child", "parent"] if ledger.is_persistent else ["small", "parent"])


def test_a_ledger_in_memory_keeps_the_newest_rows_and_every_total():
    small, whole = Ledger(keep_rows=10), Ledger()
    for i in range(95):
        row = {**ROW, "model": f"m{i % 3}", "time": 86_400.0 * (i % 2), "run_id": str(i)}
        small.add([row])
        whole.add([row])
    assert [row["run_id"] for row in small.rows()] == [str(i) for i in range(85, 95)]
    for by in (None, "model", "day"):
        assert small.totals(by=by) == whole.totals(by=by)
    assert (small.cost_usd, small.reference_cost_usd) == (whole.cost_usd, whole.reference_cost_usd)
    assert pickle.loads(pickle.dumps(small)).totals() == whole.totals()
    with pytest.raises(ConfigError, match="keep_rows must be a whole number >= 1, got 0"):
        Ledger(keep_rows=0)


def test_an_empty_ledger_cost_nothing(ledger):
    assert (ledger.cost_usd, ledger.reference_cost_usd, ledger.totals()) == (0.0, 0.0, {})
