import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import dataclass

import httpx
import pytest
import yaml

PRICES = {"small-mini": (1, 2), "large-max": (10, 20)}


def _pool_of(url, prices=None, **fields):
    models = {
        name: {"input_price": cost[0], "output_price": cost[1], "base_url": url}
        for name, cost in (prices or PRICES).items()
    }
    return {"reference": list(models)[-1], "max_n": 3, "models": models, **fields}


@pytest.fixture
def pool_of():
    """Return what makes the mapping of a pool over a URL."""
    return _pool_of


@dataclass
class Served:
    url: str
    service: object
    stop: object
    """Asks it to end, and waits until it has."""

    @property
    def base_url(self):
        return f"{self.url}/v1"

    def post(self, path, body, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}{path}", json=body, headers=named, timeout=30)

    def get(self, path, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"{self.url}{path}", headers=named, timeout=30)

    def chat(self, text="What is 2 + 2?", model="auto", **fields):
        messages = fields.pop("messages", None) or [{"role": "user", "content": text}]
        return self.post("/v1/chat/completions", {"model": model, "messages": messages, **fields})

    def events(self, path, body):
        """Return the data of every event of a stream, read as JSON where it is."""
        answer = self.post(path, {**body, "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        return [one if one == "[DONE]" else json.loads(one) for one in data]

    def wait_until_idle(self):
        for _ in range(1500):
            if not self.service.requests.under_way:
                return
            time.sleep(0.01)
        raise AssertionError("requests are still under way")


@pytest.fixture
def serve(tmp_path, server):
    """Return what serves a configuration, its fields given by name, until the test ends."""
    for module in ("starlette", "uvicorn", "openai"):
        pytest.importorskip(module)
    with contextlib.ExitStack() as stack:

        def start(**fields):
            path = tmp_path / "router.yaml"
            path.write_text(yaml.safe_dump({"pool": _pool_of(server.base_url), "port": 0, **fields}, sort_keys=False))
            return stack.enter_context(serving(path))

        yield start


@pytest.fixture(scope="session")
def _served(_server, tmp_path_factory):
    for module in ("starlette", "uvicorn", "openai"):
        pytest.importorskip(module)
    path = tmp_path_factory.mktemp("server") / "router.yaml"
    path.write_text(yaml.safe_dump({"pool": _pool_of(_server.base_url), "port": 0}, sort_keys=False))
    with serving(path) as served:
        yield served


@pytest.fixture
def served(_served, server):
    """A server without a router that all tests share, whose loopback members are as new."""
    return _served


@contextlib.contextmanager
def serving(path):
    import uvicorn

    from bestroute.server.app import create_app
    from bestroute.server.config import read_config
    from bestroute.server.serving import _listen, _uvicorn

    config = read_config(path)
    app = create_app(config)
    listening = _listen(config)
    running = uvicorn.Server(_uvicorn(app, config))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()

    def stop():
        running.should_exit = True
        thread.join(60)

    try:
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.service, stop)
    finally:
        stop()
        listening.close()
        assert not thread.is_alive()


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
