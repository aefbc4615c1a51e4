"""Fixtures of the LangChain adapter: real members on the loopback server, routes that are forced."""

import importlib.util

import pytest

from bestroute import Price

collect_ignore_glob = [] if importlib.util.find_spec("langchain_openai") else ["test_*.py"]


def quality(query, texts):
    """The q=0.xx that the server writes into each draw."""
    return [float(text.partition("q=")[2][:4] or 0) for text in texts]


@pytest.fixture(autouse=True)
def _no_cache():
    from langchain_core.globals import set_llm_cache

    yield
    set_llm_cache(None)


@pytest.fixture
def openai_model(server):
    """A real member on the loopback server."""
    from langchain_openai import ChatOpenAI

    def build(model, **options):
        options = {"base_url": server.base_url, "max_retries": 0, **options}
        return ChatOpenAI(model=model, api_key="sk-secret", **options)

    return build


@pytest.fixture
def make(openai_model):
    """Two members, a router that is forced (a function, or ``(model, n)``), the best by the server's own quality."""
    from langchain_bestroute import BestRouteChat

    def build(router=("small", 1), **options):
        parts = {
            "models": {"small": openai_model("small-mini"), "large": openai_model("large-max")},
            "prices": {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)},
            "router": (lambda query: router) if isinstance(router, tuple) else router,
            "reward_model": quality,
        }
        return BestRouteChat(**{**parts, **options})

    return build


@pytest.fixture
def told():
    """What a message says of how it came about."""
    return lambda message: message.response_metadata["bestroute"]


@pytest.fixture
def joined():
    """The message that chunks make."""
    return lambda chunks: sum(chunks[1:], chunks[0])
