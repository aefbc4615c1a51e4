"""The process: it stops in order, loses no row, and several workers share one ledger and one budget."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml

from bestroute import Ledger, Pool, Price

BODY = {"model": "auto", "max_tokens": 20, "messages": [{"role": "user", "content": "What is 2 + 2?"}]}


@pytest.fixture
def start(tmp_path):
    """Return what starts ``bestroute serve`` and waits until it listens."""
    for module in ("starlette", "uvicorn", "openai", "sqlalchemy"):
        pytest.importorskip(module)
    running = []

    def started(*arguments, **fields):
        path = tmp_path / "router.yaml"
        path.write_text(yaml.safe_dump({"port": 0, **fields}, sort_keys=False))
        command = [sys.executable, "-m", "bestroute", "serve", "--config", str(path), *arguments]
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by whatever is started, too
        try:
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        finally:
            signal.signal(signal.SIGHUP, before)
        running.append(process)
        for line in process.stderr:
            if found := re.search(r"(http://\S+)/v1 serves", line):
                return process, found[1]
        raise AssertionError("it ended before it listened")

    yield started
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stderr.close()
        process.wait(30)


def ask(url, **fields):
    return httpx.post(f"{url}/v1/chat/completions", json={**BODY, **fields}, timeout=60)


def begun(server, count):
    """Wait until so many requests have reached the members."""
    for _ in range(3000):
        if server.inflight >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{server.inflight} requests are under way")


async def test_a_reply_does_not_wait_for_the_acknowledgement_of_its_headers():
    pytest.importorskip("starlette")
    from bestroute.server.config import ServerConfig
    from bestroute.server.serving import _listen

    delays = []

    def connected(reader, writer):
        accepted = writer.get_extra_info("socket")
        delays.append(not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    pool = Pool(["small"], {"small": Price(1, 2)}, reference="small")
    with _listen(ServerConfig(pool, port=0)) as listening:
        async with await asyncio.start_server(connected, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await reader.read()
            writer.close()
    assert delays == [False]


def test_a_signal_that_comes_while_a_server_begins_stops_it(monkeypatch):
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    from bestroute.server.app import create_app
    from bestroute.server.config import ServerConfig
    from bestroute.server.serving import _listen, _run

    late, capture = [], uvicorn.Server.capture_signals

    def give_up(server):
        late.append(server)
        server.should_exit = True

    @contextlib.contextmanager
    def captured(server):
        os.kill(os.getpid(), signal.SIGTERM)  # uvicorn's handlers are not there yet
        timer = threading.Timer(20, give_up, [server])
        timer.start()
        with capture(server):
            yield
        timer.cancel()

    monkeypatch.setattr(uvicorn.Server, "capture_signals", captured)
    config = ServerConfig(Pool(["small"], {"small": Price(1, 2)}, reference="small"), port=0)
    with _listen(config) as listening:
        _run(create_app(config), config, listening)
    assert not late


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_stop_waits_for_what_is_under_way_and_loses_no_row(start, server, pool_of, tmp_path, name):
    pool = pool_of(server.base_url, {"slow-700-max": (1, 1)})
    process, url = start(pool=pool, ledger="bills.db")
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(ask, url, stream=i % 2 == 0) for i in range(8)]
        begun(server, 8)
        process.send_signal(getattr(signal, name))
        assert [answer.result().status_code for answer in answers] == [200] * 8
    assert process.wait(30) == 0
    with Ledger(f"sqlite:///{tmp_path}/bills.db") as ledger:
        assert [row["status"] for row in ledger.rows()] == ["ok"] * 8
        assert ledger.cost_usd == pytest.approx(sum(server.usage.values()) / 1e6)


def test_what_does_not_end_in_time_is_cancelled_and_billed(serve, server, pool_of, tmp_path, caplog):
    pool = pool_of(server.base_url, {"slow-20000-max": (1, 1)})
    served = serve(pool=pool, ledger="bills.db", stop_s=1)
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(ask, served.url, stream=streams) for streams in (False, False, True)]
        begun(server, 3)
        served.stop()
    for answer in answers:
        assert answer.result().status_code == 503
        assert answer.result().json()["error"]["code"] == "server_stopping"
    assert not [record for record in caplog.records if record.exc_info]
    with Ledger(f"sqlite:///{tmp_path}/bills.db") as ledger:
        rows = ledger.rows()
    assert [row["status"] for row in rows] == ["cancelled"] * 3
    assert all(row["cost_usd"] > 0 for row in rows)


LONG = pytest.mark.skipif(
    os.environ.get("BESTROUTE_FULL") != "1", reason="some seconds of starting processes; with BESTROUTE_FULL=1"
)


def is_gone(url):
    """Whether nobody listens any more, within half a minute."""
    for _ in range(300):
        try:
            ask(url)
        except httpx.ConnectError:
            return True
        except httpx.HTTPError:  # it is going
            pass
        time.sleep(0.1)
    return False


@LONG
@pytest.mark.parametrize("name", ["SIGHUP", "SIGKILL", "SIGTERM"])
def test_workers_end_in_order_with_the_process_that_watches_over_them(start, server, pool_of, tmp_path, name):
    process, url = start("--workers", "2", pool=pool_of(server.base_url, {"slow-700-max": (1, 1)}), ledger="bills.db")
    assert ask(url).status_code == 200
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(ask, url) for _ in range(4)]
        begun(server, 4)
        process.send_signal(getattr(signal, name))
    for answer in answers:
        with contextlib.suppress(httpx.HTTPError):  # a worker that begins takes nobody
            assert answer.result().status_code in (200, 503)
    assert process.wait(30) == (-signal.SIGKILL if name == "SIGKILL" else 0)
    assert is_gone(url)
    with Ledger(f"sqlite:///{tmp_path}/bills.db") as ledger:
        for _ in range(300):  # a worker that has closed its socket may still write
            if ledger.cost_usd == pytest.approx(sum(server.usage.values()) / 1e6):
                break
            time.sleep(0.1)
        assert ledger.cost_usd == pytest.approx(sum(server.usage.values()) / 1e6)


@pytest.mark.parametrize("database_url", ["sqlite", pytest.param("postgresql", marks=LONG)], indirect=True)
def test_workers_share_a_ledger_and_never_pass_the_budget(start, server, pool_of, database_url, monkeypatch):
    monkeypatch.setenv("BESTROUTE_LEDGER", database_url)
    pool = pool_of(server.base_url, {"one-max": (1000, 1000)})
    most = 0.30  # a call costs 0.015 USD and may cost 0.026
    process, url = start("--workers", "2", pool=pool, budget=most)
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: ask(url), range(36)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    billed = [bill for bill in server.bills if bill.model == "one-max"]
    with Ledger(database_url) as ledger:
        spent = ledger.cost_usd
        assert len(ledger.rows()) == statuses.count(200) == len(billed)
    assert most / 2 < spent <= most
    assert spent == pytest.approx(sum(bill.input_tokens + bill.output_tokens for bill in billed) / 1000)


@LONG
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for the workers in /proc")
def test_a_worker_that_dies_is_started_again(start, server, pool_of):
    process, url = start(pool=pool_of(server.base_url), ledger="bills.db", workers=2)
    assert ask(url).status_code == 200

    def workers():
        found = set()
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                if int(stat.read().rpartition(b")")[2].split()[1]) == process.pid:
                    with open(f"/proc/{name}/cmdline", "rb") as line:
                        if b"spawn_main" in line.read():
                            found.add(int(name))
        return found

    before = workers()
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    for _ in range(3000):
        if len(workers()) == 2 and workers() != before:
            break
        time.sleep(0.01)
    assert len(workers()) == 2
    assert ask(url).status_code == 200
