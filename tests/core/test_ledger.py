import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from bestroute import BestRoute, ConfigError, Ledger, Pool, Price
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
}


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request, tmp_path):
    return Ledger(None if request.param == "memory" else f"sqlite:///{tmp_path}/bills.db")


def test_rows_come_back_as_written(ledger):
    other = {**ROW, "model": "large", "status": "failed", "estimated": True, "error": "E: no"}
    ledger.add([ROW, other])
    assert ledger.rows() == [ROW, other]


def test_totals_by_model_and_by_day(ledger):
    ledger.add([ROW, {**ROW, "model": "large", "time": 86_400.0 * 4}, ROW])
    assert {k: v["cost_usd"] for k, v in ledger.totals(by="model").items()} == {"small": 0.5, "large": 0.25}
    assert {k: v["samples"] for k, v in ledger.totals(by="day").items()} == {"1970-01-04": 2, "1970-01-05": 1}
    assert ledger.totals()["all"]["input_tokens"] == 30
    assert (ledger.cost_usd, ledger.reference_cost_usd) == (0.75, 3.0)


def test_totals_by_anything_else_are_refused(ledger):
    with pytest.raises(ConfigError, match="by must be one of 'model', 'day'"):
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


@pytest.mark.parametrize("url", ["bills.db", "sqlite://", "sqlite:///", "postgresql://x"])
def test_another_url_is_refused(url):
    with pytest.raises(ConfigError, match="a ledger's url is 'sqlite:///path'"):
        Ledger(url)


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="cannot open the ledger"):
        Ledger(f"sqlite:///{tmp_path}/missing/bills.db")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database, but long enough to be read as one" * 40)
    with pytest.raises(ConfigError, match="cannot open the ledger"):
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


def test_the_engine_writes_to_a_file(tmp_path):
    pool = Pool(["one"], {"one": Price(1, 1)}, "one")
    url = f"sqlite:///{tmp_path}/bills.db"
    BestRoute(pool, {"one": FakeGenerator(["a b"])}, ledger=Ledger(url)).run("hello")
    (row,) = Ledger(url).rows()
    assert (row["model"], row["status"], row["output_tokens"]) == ("one", "ok", 2)
    assert abs(row["time"] - time.time()) < 60
