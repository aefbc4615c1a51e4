import asyncio
import importlib.util
import os
import random
import weakref
from contextlib import suppress
from pathlib import Path

import pytest

from bestroute import Pool, Price
from bestroute._utils.loops import at_loop_end, forget_ended
from bestroute.billing.database import writer
from bestroute.testing import LoopbackServer
from bestroute.testing.postgres_server import PostgresServer

os.environ.setdefault("LANGSMITH_TRACING", "false")

SHARED = Path(__file__).parents[2] / "shared"


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
        for _ in range(200):
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
def shared():
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which is not beside this checkout")
    return SHARED
