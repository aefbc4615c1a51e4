import os
from pathlib import Path

import pytest

from bestroute import Pool, Price
from bestroute.testing import LoopbackServer

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


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which is not beside this checkout")
    return SHARED
