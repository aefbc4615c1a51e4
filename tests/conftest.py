import asyncio
import gc
import importlib.util
import inspect
import os
import random
import threading
import time
import warnings
import weakref
from contextlib import suppress
from functools import wraps
from pathlib import Path

import pytest

from bestroute import Ledger, Pool, Price
from bestroute._utils.loops import at_loop_end, forget_ended
from bestroute.billing.database import writer
from bestroute.records.records import ModelSamples, Record
from bestroute.testing import LoopbackServer
from bestroute.testing.postgres_server import PostgresServer

os.environ.setdefault("LANGSMITH_TRACING", "false")

SHARED = Path(__file__).parents[2] / "shared"

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # The same examples in every run, however slow the machine is; BESTROUTE_FULL=1 looks for new ones.
    settings.register_profile("tests", deadline=None, derandomize=os.environ.get("BESTROUTE_FULL") != "1")
    settings.load_profile("tests")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("patient"):
            item.obj = _patient(item.obj)


def _patient(test):
    """Try a test with ten times its ``seconds`` if it fails: the machine may have stood still for as long."""
    failed = (Exception, pytest.fail.Exception)

    @wraps(test)
    def tried(seconds, **fixtures):
        with suppress(*failed):
            return test(seconds=seconds, **fixtures)
        _forget_what_was_left()
        return test(seconds=10 * seconds, **fixtures)

    @wraps(test)
    async def atried(seconds, **fixtures):
        with suppress(*failed):
            return await test(seconds=seconds, **fixtures)
        _forget_what_was_left()
        return await test(seconds=10 * seconds, **fixtures)

    return atried if inspect.iscoroutinefunction(test) else tried


def _forget_what_was_left():
    """Collect what a test that failed in the middle left open, so that no later test is told of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def unjudged():
    """Six records of two models, three samples each, that no judge has seen."""
    return [
        Record(
            f"q{i}",
            f"question {i}",
            {"small": ModelSamples((None,) * 2, ("abcdefgh"[: i + 2], "x")), "large": ModelSamples((None,), ("abcd",))},
            f"g{i}",
        )
        for i in range(6)
    ]


@pytest.fixture
def seconds(request):
    """The time that a patient test has."""
    return request.node.get_closest_marker("patient").args[0]


@pytest.fixture
def no_garbage():
    """Collect what earlier tests left, and what that leaves when it goes."""
    for _ in range(5):
        gc.collect()


@pytest.fixture
def own_threads():
    """Return the engine's threads that were started since the test began; others' come and go as they like."""
    before = set(threading.enumerate())

    def own():
        lasting = ("bestroute-writer", "bestroute-budget")  # what they serve may be another test's
        started = [t for t in threading.enumerate() if t not in before and t.name.startswith("bestroute")]
        return [thread for thread in started if thread.name not in lasting]

    return own


@pytest.fixture(scope="session", autouse=True)
def _connections_are_closed():
    """Close what providers' classes leave open: LangChain's keep a client for each address for good.

    Asynchronous connections are closed when the loop ends that opened them, others when their client goes.
    """
    with pytest.MonkeyPatch.context() as patch:
        for httpx in [importlib.import_module(name) for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]:
            patch.setattr(httpx.AsyncClient, "send", _closing_at_loop_end(httpx.AsyncClient.send))
            patch.setattr(httpx.Client, "__init__", _closing_with_its_client(httpx.Client.__init__))
        yield


def _closing_at_loop_end(send):
    waiting = weakref.WeakKeyDictionary()

    async def sent(client, *args, **kwargs):
        loop, of_client = asyncio.get_running_loop(), waiting.setdefault(client, weakref.WeakKeyDictionary())
        if loop not in of_client:
            forget_ended(of_client)
            of_client[loop] = at_loop_end(client._transport.aclose)
        return await send(client, *args, **kwargs)

    return sent


def _closing_with_its_client(init):
    def made(client, *args, **kwargs):
        init(client, *args, **kwargs)
        weakref.finalize(client, client._transport.close)

    return made


@pytest.fixture
def cancel_at_random(server):
    """Make calls and cancel each at a random moment; then wait until their requests have ended and have rows."""

    async def cancel(call, ledger, seed):
        chance = random.Random(seed)
        for _ in range(25):
            task = asyncio.ensure_future(call())
            await asyncio.sleep(chance.uniform(0.0, 0.03))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for _ in range(1500):
            if not server.inflight and len(ledger.rows()) >= len(server.bills):
                break
            await asyncio.sleep(0.02)

    return cancel


@pytest.fixture
def pool():
    """Three models: 'small' and 'mid' are cheaper than the reference, 'large'."""
    prices = {"small": Price(1.0, 2.0), "mid": Price(3.0, 6.0), "large": Price(10.0, 30.0)}
    return Pool(["small", "mid", "large"], prices, "large")


@pytest.fixture(scope="session")
def _server():
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def server(_server):
    for _ in range(500):  # what an earlier test gave up is billed to no later one
        if not _server.inflight:
            break
        time.sleep(0.01)
    _server.reset()
    _server.answers = None
    return _server


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL server."""
    if (why := PostgresServer.missing()) is not None:
        pytest.skip(why)
    with PostgresServer() as server:
        yield server
        writer._flush_all()  # ledgers and budgets that nobody closed would ask for the server at the interpreter's end
        writer._open.clear()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """A new database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bills.db"
    return request.getfixturevalue("postgres").new_url()


@pytest.fixture
def meeting(server):
    """Return what a coroutine returns whose requests are answered once all are there, and the loop has gone on."""

    async def meet(call, requests):
        are_there, went_on = threading.Barrier(requests + 1, timeout=60), threading.Event()

        def answers(model, messages):
            are_there.wait()
            assert went_on.wait(60), "the loop stood still"
            return f"answer {threading.get_ident()}"

        server.answers = answers
        task = asyncio.create_task(call)
        await asyncio.to_thread(are_there.wait)
        went_on.set()
        return await task

    return meet


@pytest.fixture
def own_server(monkeypatch):
    """A server of one test's own, whose ``accepted`` counts connections; clients keep theirs however slow they are."""
    httpcore = pytest.importorskip("httpcore")
    for pool in (httpcore.ConnectionPool, httpcore.AsyncConnectionPool):

        def keeping(self, *args, init=pool.__init__, **kwargs):
            init(self, *args, **{**kwargs, "keepalive_expiry": None})

        monkeypatch.setattr(pool, "__init__", keeping)

    class Counting(LoopbackServer):
        accepted = 0

        def process_request(self, request, client_address):
            self.accepted += 1
            super().process_request(request, client_address)

    with Counting() as server:
        yield server


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which is not beside this checkout")
    return SHARED


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def ledger(request, tmp_path):
    """A ledger of each kind."""
    if request.param == "memory":
        url = None
    elif request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/bills.db"
    else:
        url = request.getfixturevalue("postgres").new_url()
    with Ledger(url) as made:
        yield made
