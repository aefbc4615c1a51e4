import os
from pathlib import Path

import pytest

from bestroute import Pool, Price
from bestroute.testing import LoopbackServer
from bestroute.testing.postgres_server import PostgresServer

os.environ.setdefault("LANGSMITH_TRACING", "false")

SHARED = Path(__file__).parents[2] / "shared"


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
