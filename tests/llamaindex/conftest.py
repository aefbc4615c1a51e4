"""Routers over real LlamaIndex members on the loopback server."""

import pytest

pytest.importorskip("llama_index.core")
pytest.importorskip("llama_index.llms.openai_like")

from llama_index.core import Settings
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from bestroute import Price
from llamaindex_bestroute import BestRouteLLM

PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}


def quality(query, texts):
    """The q=0.xx that the server writes into each draw."""
    return [float(t.partition("q=")[2][:4] or 0) for t in texts]


@pytest.fixture(autouse=True)
def _no_global_state():
    yield
    Settings._llm = None
    Settings._callback_manager = None


@pytest.fixture
def like(server):
    """Makes a member: ``like("small-mini", context_window=...)``."""

    def make(model, **options):
        told = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8000, "max_retries": 0}
        there = {"api_base": server.base_url, "api_key": "sk-secret-123"}
        return OpenAILike(model=model, **{**there, **told, **options})

    return make


@pytest.fixture
def make(like):
    """Makes a router of a small and a large model: ``make(("small", 3))`` or ``make(fn)``."""

    def build(route=("small", 1), **options):
        models = {"small": like("small-mini"), "large": like("large-max", context_window=100_000)}
        router = route if callable(route) or route is None else lambda query: route
        return BestRouteLLM(
            **{"models": models, "prices": PRICES, "router": router, "reward_model": quality, **options}
        )

    return build


@pytest.fixture
def user():
    """Makes a conversation of one message."""
    return lambda text: [ChatMessage(role="user", content=text)]


@pytest.fixture
def told():
    """Reads what a response says of itself."""

    def read(response):
        message = getattr(response, "message", None)
        return (response if message is None else message).additional_kwargs["bestroute"]

    return read
