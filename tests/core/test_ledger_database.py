"""The ledger in a database, on SQLite and on a real PostgreSQL."""

import asyncio
import contextlib
import functools
import gc
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest
import sqlalchemy
from click.testing import CliRunner

from bestroute import BestRoute, ConfigError, Ledger, Pool, Price, Sample, Usage
from bestroute.billing.database import connection, kept_answers
from bestroute.billing.database.address import read_address
from bestroute.billing.database.budget_account import Account
from bestroute.billing.database.connection import Database
from bestroute.billing.database.kept_answers import Answers
from bestroute.billing.database.ledger_tables import LedgerTables
from bestroute.cli import main
from bestroute.testing import FakeGenerator

IS_FULL = os.environ.get("BESTROUTE_FULL") == "1"
DAY = 86_400.0


def row(**changes):
    made = {
        "call_id": "c",
        "time": 3 * DAY + 7200,
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
    }
    return {**made, **changes}


def test_what_a_row_does_not_say_is_filled_in(ledger):
    ledger.add(
        [row(), row(call_id="d", run_id="of langchain", attempt=2, plan="small x 2", reason="cheap", kind="audit")]
    )
    first, second = ledger.rows()
    assert (first["run_id"], first["kind"], first["plan"], first["tags"], first["attempt"]) == ("c", "draw", "", {}, 1)
    assert [second[name] for name in ("call_id", "run_id", "attempt", "plan", "reason", "kind")] == [
        "d",
        "of langchain",
        2,
        "small x 2",
        "cheap",
        "audit",
    ]


def test_attempts_are_told_from_samples(ledger):
    ledger.add([row(attempt_id="a", status="failed")] * 3 + [row(attempt_id="b", attempt=2)] * 3)
    total = ledger.totals()["all"]
    assert (total["samples"], total["failed"], total["requests"]) == (6, 3, 2)


def test_totals_by_all_that_a_row_says(ledger):
    search, ads = {"team": "search", "env": "prod"}, {"team": "ads"}
    ledger.add([row(tags=search), row(tags=ads, model="large", reason="hard"), row(time=4 * DAY, plan="large x 1")])
    ledger.add([row(time=3 * DAY + 3601, kind="judge")])

    def counts(by, **limits):
        return {key: total["samples"] for key, total in ledger.totals(by, **limits).items()}

    assert counts("model") == {"small": 3, "large": 1}
    assert counts("day") == {"1970-01-04": 3, "1970-01-05": 1}
    assert counts("hour") == {"1970-01-04 02:00": 2, "1970-01-04 01:00": 1, "1970-01-05 00:00": 1}
    assert counts("reason") == {"": 3, "hard": 1}
    assert counts("plan") == {"": 3, "large x 1": 1}
    assert counts("kind") == {"draw": 3, "judge": 1}
    assert counts("tag") == {"team=search": 1, "env=prod": 1, "team=ads": 1, "": 2}
    assert counts("tag:team") == {"search": 1, "ads": 1, "": 2}
    assert counts(("model", "day")) == {
        ("small", "1970-01-04"): 2,
        ("large", "1970-01-04"): 1,
        ("small", "1970-01-05"): 1,
    }
    assert counts(["tag:team"], tags={"team": "ads"}) == {("ads",): 1}
    assert counts(None, since="1970-01-05") == counts(None, since=4 * DAY) == {"all": 1}
    assert counts(None, since="1970-01-04T01:00:00+00:00", until=3 * DAY + 7200) == {"all": 1}
    assert counts(None, tags={"team": "search", "env": "test"}) == {}
    assert ledger.totals("model")["large"]["cost_usd"] == 0.25


def test_what_audits_and_training_data_cost_stands_apart_in_every_store(ledger):
    costs = {"draw": 1.0, "audit": 2.0, "collect": 4.0, "judge": 8.0}
    ledger.add([row(kind=kind, cost_usd=cost) for kind, cost in costs.items()])

    def sums(total):
        return total["cost_usd"], total["audit_cost_usd"], total["training_cost_usd"]

    assert sums(ledger.totals()["all"]) == (1.0, 2.0, 12.0)
    assert (ledger.cost_usd, ledger.audit_cost_usd, ledger.training_cost_usd) == (1.0, 2.0, 12.0)
    by_kind = {kind: sums(total) for kind, total in ledger.totals("kind").items()}
    assert by_kind == {
        "draw": (1.0, 0.0, 0.0),
        "audit": (2.0, 2.0, 0.0),
        "collect": (4.0, 0.0, 4.0),
        "judge": (8.0, 0.0, 8.0),
    }


def test_which_plan_and_reason_stand_for_a_call_is_the_same_in_every_store(database_url):
    plans = [{"call_id": "1", "plan": plan, "reference_cost_usd": 0.0} for plan in ("b", "B", "a")]
    words = {"call_id": "2", "reason": "Fell Back From a user's own words", "plan": "z", "reference_cost_usd": 0.0}
    rows = [row(**each) for each in (*plans, words, {"call_id": "2", "plan": "a", "reference_cost_usd": 1.0})]
    rows += [row(call_id="3", plan="a"), row(call_id="3", plan="a", reason="cheap; fell back from small")]
    Ledger(database_url).close()
    if not database_url.startswith("sqlite"):  # whose texts are ordered as English speakers like them, b before B
        kind = 'TYPE text COLLATE "en-x-icu"'
        database = Database(read_address(database_url, "a ledger"), 10.0)
        opened, _ = database.connection()
        opened.exec_driver_sql(f"ALTER TABLE bestroute_samples ALTER COLUMN plan {kind}, ALTER COLUMN reason {kind}")
        database.close()
    found = []
    for ledger in (Ledger(database_url), Ledger()):
        with ledger:
            ledger.add(rows)
            ledger.visit_calls(found.extend)
    assert [(b.call_id, b.plan, b.fell_back) for b in sorted(found, key=lambda bill: bill.call_id)] == [
        *[("1", "b", False)] * 2,
        *[("2", "a", False)] * 2,
        *[("3", "a", True)] * 2,
    ]


@pytest.mark.parametrize("arguments", [{"by": ("model", "week")}, {"since": "yesterday"}, {"until": object()}])
def test_totals_of_no_such_thing_are_refused(arguments):
    with pytest.raises(ConfigError, match="totals: (by|since|until) must be"):
        Ledger().totals(**arguments)


def test_any_text_is_data(ledger):
    odd = "a\x00b\ud83dc"
    names = ("model", "call_id", "run_id", "attempt_id", "kind", "plan", "reason", "error", "status")
    ledger.add([row(**dict.fromkeys(names, odd), tags={odd: odd})])
    (found,) = ledger.rows()
    assert {found[name] for name in names} == {"a\\x00b\\ud83dc"}
    assert list(ledger.totals("tag")) == ["a\\x00b\\ud83dc=a\\x00b\\ud83dc"]
    assert ledger.totals(tags={odd: odd})["all"]["samples"] == 1


def test_tags_whose_names_are_sql_and_json_are_data(ledger):
    odd = {'a"b.c$[0]': "'; DROP TABLE bestroute_samples; --", "%": "_"}
    ledger.add([row(tags=odd), row()])
    assert ledger.rows()[0]["tags"] == odd
    assert ledger.totals(tags=odd)["all"]["samples"] == 1
    assert ledger.totals("tag:%").keys() == {"_", ""}


def test_tags_of_many_rows_of_a_file_are_read_once_and_stand_in_each(tmp_path, monkeypatch):
    texts, read = [], json.loads
    with Ledger(f"sqlite:///{tmp_path / 'bills.db'}") as ledger:
        ledger.add([row(call_id=str(i), tags={"team": ("ads", "mail")[i % 2]}) for i in range(10)])
        monkeypatch.setattr(json, "loads", lambda text: texts.append(text) or read(text))
        rows = ledger.rows()
    assert len(texts) == 2
    rows[0]["tags"]["team"] = "another"
    assert [r["tags"]["team"] for r in rows[:4]] == ["another", "mail", "ads", "mail"]


def test_numbers_of_numpy_and_beyond_64_bits_are_data(ledger):
    ledger.add([row(input_tokens=np.int64(7), cost_usd=np.float32(0.5), estimated=np.True_)])
    ledger.add([row(input_tokens=2**63, output_tokens=2**70)] * 3)
    assert ledger.rows()[0]["input_tokens"] == 7
    assert ledger.rows()[1]["output_tokens"] == 2**70
    assert ledger.totals()["all"]["output_tokens"] == pytest.approx(3 * 2**70)
    assert ledger.cost_usd == 1.25


def test_a_usage_in_numbers_of_numpy_is_billed(database_url):
    counts = np.array([3, 4])
    sample = Sample("hi", usage=Usage(counts[0], counts[1]))
    with Ledger(database_url) as ledger:
        BestRoute(Pool(["a"], {"a": Price(1, 1)}, "a"), {"a": FakeGenerator([sample])}, ledger=ledger).run("hello")
        assert Ledger(database_url).cost_usd == pytest.approx(7e-6)


def test_sqlite_in_memory_is_one_ledger():
    ledger = Ledger("sqlite:///:memory:")
    thread = threading.Thread(target=lambda: ledger.add([row()]))
    thread.start()
    thread.join()
    ledger.add([row()])
    assert len(ledger.rows()) == 2


def test_a_relative_path_is_fixed_when_it_is_opened(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    ledger = Ledger("sqlite:///bills.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    thread = threading.Thread(target=lambda: ledger.add([row()]))
    thread.start()
    thread.join()
    assert len(ledger.rows()) == 1
    assert os.listdir(tmp_path / "elsewhere") == []


FIRST_COLUMNS = (
    "run_id TEXT, time REAL, model TEXT, step NUMERIC, status TEXT, input_tokens NUMERIC, output_tokens NUMERIC, "
    "cached_input_tokens NUMERIC, cache_write_tokens NUMERIC, reasoning_tokens NUMERIC, cost_usd REAL, "
    "estimated NUMERIC, error TEXT, reference_cost_usd REAL"
)
FIRST_ROW = ("r1", 3 * DAY + 7200, "small", 0, "ok", 10, 5, 0, 0, 0, 0.25, 0, None, 1.0)


@pytest.fixture
def first_file(tmp_path):
    """A file as the first version made it, with a number of numpy in it."""
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"CREATE TABLE samples ({FIRST_COLUMNS})")
        marks = ", ".join("?" * 14)
        connection.execute(f"INSERT INTO samples VALUES ({marks})", FIRST_ROW)
        blob = np.int64(300).tobytes()
        connection.execute(f"INSERT INTO samples VALUES ({marks})", ("r2", *FIRST_ROW[1:5], blob, *FIRST_ROW[6:]))
    connection.close()
    return path


def test_rows_of_a_release_without_latency_are_kept_and_say_that_none_is_known(tmp_path):
    path = tmp_path / "bills.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.add([row(latency_s=0.5)])
    with contextlib.closing(sqlite3.connect(path)) as earlier, earlier:
        earlier.execute("ALTER TABLE bestroute_samples DROP COLUMN latency_s")
        earlier.execute("UPDATE bestroute_versions SET version = 3")
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.add([row(latency_s=2.5)])
        assert [kept["latency_s"] for kept in ledger.rows()] == [None, 2.5]
        assert [kept["latency_s"] for kept in ledger.rows(newest=1)] == [2.5]


def test_a_file_of_the_first_version_is_migrated(first_file):
    ledger = Ledger(f"sqlite:///{first_file}")
    assert [(r["call_id"], r["run_id"], r["input_tokens"], r["tags"]) for r in ledger.rows()] == [
        ("r1", "r1", 10, {}),
        ("r2", "r2", 300, {}),
    ]
    assert ledger.totals(("model", "day")).keys() == {("small", "1970-01-04")}
    assert ledger.cost_usd == 0.5
    ledger.add([row(call_id="new")])
    again = Ledger(f"sqlite:///{first_file}")
    assert [r["call_id"] for r in again.rows()] == ["r1", "r2", "new"]


def test_an_earlier_release_goes_on_with_a_migrated_file(first_file):
    ledger = Ledger(f"sqlite:///{first_file}")
    with contextlib.closing(sqlite3.connect(first_file)) as earlier, earlier:  # the very statements of version 1
        earlier.execute(f"CREATE TABLE IF NOT EXISTS samples ({FIRST_COLUMNS})")
        names = ", ".join(column.split()[0] for column in FIRST_COLUMNS.split(", "))
        earlier.execute(f"INSERT INTO samples ({names}) VALUES ({', '.join('?' * 14)})", ("r3", *FIRST_ROW[1:]))
        found = earlier.execute(f"SELECT {names} FROM samples").fetchall()
    assert [values[0] for values in found] == ["r1", "r2", "r3"]
    assert found[2][1:] == FIRST_ROW[1:]
    assert [r["call_id"] for r in ledger.rows()] == ["r1", "r2", "r3"]


def test_a_file_of_a_later_release_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/bills.db"
    Ledger(url).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "bills.db")) as connection, connection:
        connection.execute("UPDATE bestroute_versions SET version = 99")
    with pytest.raises(ConfigError, match="version 99, created by a later release.*upgrade bestroute"):
        Ledger(url)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def open_files(folder):
    """Return the files of a folder that this process holds open."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # another thread has closed it
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return [link for link in links if link.startswith(str(folder))]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_a_file_that_cannot_be_opened_leaves_no_descriptor(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"no database, but long enough to be taken for one" * 40)
    for _ in range(5):
        for name in ("broken.db", "missing/bills.db"):
            with pytest.raises(ConfigError, match="cannot open the ledger"):
                Ledger(f"sqlite:///{tmp_path}/{name}")
    assert open_files(tmp_path) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_a_closed_ledger_holds_nothing_and_opens_again(database_url):
    ledger = Ledger(database_url)

    def holds_nothing():
        gc.collect()  # what earlier tests left is closed now and not in between
        threads, before = set(threading.enumerate()), descriptors()
        ledger.add([row()])
        assert ledger.close()
        return set(threading.enumerate()) <= threads and descriptors() <= before

    times = sum(holds_nothing() for _ in range(3))
    assert times >= 2  # what an earlier test left may begin to write in between
    assert len(ledger.rows()) == 3
    ledger.close()


def test_a_file_that_was_deleted_is_made_anew(tmp_path, caplog):
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    ledger.add([row()])
    os.remove(tmp_path / "bills.db")
    with pytest.raises(ConfigError, match="cannot read the ledger.*the file is gone"):
        ledger.rows()
    ledger.add([row(model="after")])
    assert [r["model"] for r in ledger.rows()] == ["after"]
    assert "was deleted or replaced" in caplog.text


def test_a_file_that_was_replaced_takes_the_rows(tmp_path):
    ledger, other = Ledger(f"sqlite:///{tmp_path}/bills.db"), Ledger(f"sqlite:///{tmp_path}/other.db")
    ledger.add([row(model="lost")] * 50)
    other.add([row(model="other")])
    other.close()
    os.replace(tmp_path / "other.db", tmp_path / "bills.db")
    ledger.add([row(model="after")])
    assert [r["model"] for r in ledger.rows()] == ["other", "after"]
    assert [r["model"] for r in Ledger(ledger.url).rows()] == ["other", "after"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:s3cret@pa/ss@127.0.0.1:1/bills",
        "postgresql+psycopg://user:s3cret%40pa@127.0.0.1:1/bills?password=s3cret2",
        "postgresql+psycopg://user:s3cret@127.0.0.1:99999/bills",
        "mysql://user:s3cret@127.0.0.1/bills",
    ],
)
def test_no_password_is_in_an_error(url):
    pytest.importorskip("psycopg")
    with pytest.raises(ConfigError) as caught:
        Ledger(url)
    shown = "".join(traceback.format_exception(caught.value)).replace(repr(url), "").replace(url, "")
    assert "s3cret" not in shown
    assert "pa/ss" not in shown


def test_no_password_is_shown(postgres, caplog):
    url = postgres.new_url()
    with Ledger(url) as ledger:
        ledger.add([row()])
        assert "p@ss" not in repr(ledger) + ledger.url
    assert "p@ss" not in caplog.text


END = """
import os, signal, sys, time
sys.path.insert(0, {tests!r})
from test_ledger_database import row
from bestroute import Ledger
ledger = Ledger({url!r})
for i in range(300):
    ledger.submit([row(call_id=str(i))])
{end}
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("", 0), ("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM)],
    ids=["end", "exit", "sigterm"],
)
def test_rows_are_written_when_the_process_ends(database_url, end, status):
    code = END.format(tests=os.path.dirname(__file__), url=database_url, end=end)
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == status
    assert len(Ledger(database_url).rows()) == 300


@pytest.mark.parametrize("keep_rows", [10_000, 100], ids=["all in memory", "some as sums alone"])
def test_a_process_that_cannot_write_to_its_end_says_what_is_lost(tmp_path, keep_rows):
    spoil = (
        f"import pathlib; path = pathlib.Path({str(tmp_path / 'x.db')!r}); path.unlink(); path.write_text('none' * 99)"
    )
    code = END.format(tests=os.path.dirname(__file__), url=f"sqlite:///{tmp_path}/x.db", end="")
    code = code.replace("for i in", f"ledger.keep_rows = {keep_rows}\n{spoil}\nfor i in")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    cost = 300 * row()["cost_usd"]
    assert f"300 rows are lost, {cost:.6g} USD in all" in done.stderr.splitlines()[-1]


def test_a_program_that_handles_the_signal_itself_keeps_its_way(tmp_path):
    code = (
        "import signal, bestroute\n"
        "def own(*_): print('own', flush=True); raise SystemExit(5)\n"
        "signal.signal(signal.SIGTERM, own)\n"
        f"ledger = bestroute.Ledger('sqlite:///{tmp_path}/x.db')\n"
        "signal.raise_signal(signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (5, "own\n")


def _tables(address):
    return LedgerTables(address, 0.01)


def _account(address):
    return Account(address, "b", 1.0, lambda at: "", 60.0, 0.01)


def _answers(address):
    return Answers(address.url)


@pytest.mark.parametrize("opens", [_tables, _account, _answers])
def test_a_file_that_others_lock_for_a_moment_is_opened_after_it(tmp_path, monkeypatch, opens):
    monkeypatch.setattr(kept_answers, "Database", functools.partial(Database, patience_s=0.01))
    path = tmp_path / "bills.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(connection.time, "sleep", lambda _: holder.in_transaction and holder.execute("ROLLBACK"))
    opened = opens(read_address(f"sqlite:///{path}", "a ledger"))
    assert not holder.in_transaction  # it was locked when it was tried first
    opened.close()
    holder.close()


@pytest.mark.parametrize("opens", [_tables, _account, _answers])
def test_a_file_that_stays_locked_is_refused(tmp_path, monkeypatch, opens):
    monkeypatch.setattr(kept_answers, "Database", functools.partial(Database, patience_s=0.01))
    monkeypatch.setattr(connection, "_OPENING_S", 0.0)
    holder = sqlite3.connect(tmp_path / "bills.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises((sqlalchemy.exc.OperationalError, ConfigError), match="database is locked"):
        opens(read_address(f"sqlite:///{tmp_path / 'bills.db'}", "a ledger"))
    holder.close()


def test_a_call_waits_for_a_locked_file_no_longer_than_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr("bestroute.billing.ledger._PATIENCE_S", 60.0)
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    holder = sqlite3.connect(tmp_path / "bills.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    ledger.add([row(call_id="sync")], timeout_s=0.05)
    asyncio.run(ledger.aadd([row(call_id="async")], timeout_s=0.05))
    assert time.monotonic() - started < 50
    holder.execute("ROLLBACK")
    assert ledger.flush()
    assert [r["call_id"] for r in ledger.rows()] == ["sync", "async"]
    holder.close()


def test_a_loop_goes_on_while_rows_are_written(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    holder = sqlite3.connect(tmp_path / "bills.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    async def run():
        writing = asyncio.ensure_future(ledger.aadd([row()]))
        await asyncio.sleep(0.05)
        is_waiting = not writing.done()
        holder.execute("ROLLBACK")
        await writing
        return is_waiting

    assert asyncio.run(run())
    assert len(ledger.rows()) == 1
    holder.close()


PROCESS = """
import sys, threading
sys.path.insert(0, {tests!r})
from test_ledger_database import row
from bestroute import Ledger
ledger = Ledger({url!r})
def write(k):
    for i in range({rows}):
        ledger.add([row(call_id=f"{name}-{{k}}-{{i}}")])
threads = [threading.Thread(target=write, args=(k,)) for k in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_eight_processes_share_a_ledger(database_url):
    rows = 100 if IS_FULL else 8
    codes = [
        PROCESS.format(tests=os.path.dirname(__file__), url=database_url, rows=rows, name=f"p{k}") for k in range(8)
    ]
    running = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
    assert [process.wait(timeout=240) for process in running] == [0] * 8
    written = [r["call_id"] for r in Ledger(database_url).rows()]
    assert len(written) == len(set(written)) == 8 * 5 * rows


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_ledger_database import row
from bestroute import Ledger
ledger = Ledger({url!r})
for i in range(100_000):
    ledger.add([row(call_id=f"{name}-{{i}}")] * 2)
    print(i, flush=True)
"""


def test_a_killed_process_loses_and_doubles_no_row(database_url):
    chance = random.Random(5)
    kept = []
    for k in range(20 if IS_FULL else 2):
        code = KILLED.format(tests=os.path.dirname(__file__), url=database_url, name=f"k{k}")
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            kept += [f"k{k}-{process.stdout.readline().strip()}" for _ in range(chance.randint(1, 30))]
            process.send_signal(signal.SIGKILL)
            kept += [f"k{k}-{line}" for line in process.stdout.read().split("\n")[:-1]]
    written = [r["call_id"] for r in Ledger(database_url).rows()]
    assert set(kept) <= set(written)
    assert all(written.count(name) == 2 for name in set(written))


def test_a_server_that_stops_and_starts_costs_no_row_and_no_answer(postgres):
    url = postgres.new_url()
    engine = BestRoute(Pool(["one"], {"one": Price(1, 1)}, "one"), {"one": FakeGenerator(["a b"])}, ledger=Ledger(url))
    answers = []

    def work(k):
        for _ in range(20):
            answers.append(engine.run(f"hello {k}").text)
            time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.2)
        postgres.stop()
        time.sleep(0.1)
        postgres.start()
    for thread in threads:
        thread.join()
    assert answers == ["a b"] * 80
    assert engine.ledger.close(30)
    rows = Ledger(url).rows()
    assert len(rows) == len({r["call_id"] for r in rows}) == 80


@pytest.mark.skipif(not IS_FULL, reason="a million rows take a minute to write (BESTROUTE_FULL=1)")
def test_a_million_rows_are_added_up_in_the_database(database_url):
    import resource

    ledger = Ledger(database_url)
    for _ in range(200):
        ledger.add([row(model=f"m{k % 5}", time=DAY * k / 500, tags={"team": "a"}) for k in range(5000)], timeout_s=60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    totals = ledger.totals(("model", "day"))
    assert sum(total["samples"] for total in totals.values()) == 1_000_000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100
    ledger.close()


@pytest.mark.parametrize("changes", [{"cost_usd": float("nan")}, {"reference_cost_usd": float("inf")}, {"time": 1e300}])
def test_a_row_that_no_sum_or_calendar_takes_is_refused_and_keeps_no_other_waiting(ledger, changes):
    with pytest.raises(ConfigError, match="a ledger's (reference_)?(cost_usd|time) must be"):
        ledger.add([row(**changes)])
    ledger.add([row(cost_usd=0.5)])
    assert ledger.flush()
    assert ledger.totals()["all"]["cost_usd"] == 0.5


@pytest.mark.parametrize(
    ("change", "why"), [("cost_usd = 9e999", "no finite number"), ("tags = 'not json'", "tags that are no JSON object")]
)
def test_a_ledger_with_a_row_that_makes_no_sense_is_one_sentence(tmp_path, change, why):
    with Ledger(tmp_path / "bills.db") as ledger:
        ledger.add([row()])
    with contextlib.closing(sqlite3.connect(tmp_path / "bills.db")) as connection, connection:
        connection.execute(f"UPDATE bestroute_samples SET {change}")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "bills.db"), "--out", str(tmp_path / "page.html")])
    assert (done.exit_code, done.exception.__class__) == (2, SystemExit)
    assert why in done.stderr


def test_times_that_no_calendar_has_are_shown_as_the_last_that_it_has(tmp_path):
    with Ledger(tmp_path / "bills.db") as ledger:
        ledger.add([row()])
    with contextlib.closing(sqlite3.connect(tmp_path / "bills.db")) as connection, connection:
        connection.execute("UPDATE bestroute_samples SET time = 1.78e12, hour = 494444444")  # in milliseconds
    with Ledger(tmp_path / "bills.db") as ledger:
        assert list(ledger.totals(by="day")) == ["9999-12-31"]
    done = CliRunner().invoke(main, ["report", str(tmp_path / "bills.db"), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output


def test_others_databases_are_no_ledger_and_stay_as_they_are(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    before = (tmp_path / "app.db").read_bytes()
    done = CliRunner().invoke(main, ["spend", str(tmp_path / "app.db")])
    assert (done.exit_code, (tmp_path / "app.db").read_bytes()) == (2, before)
    assert "is a database without a table of ours, not a ledger" in done.stderr
