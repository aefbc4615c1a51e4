"""A pytest plugin: the models of other people's tests become a pool of ours with the same model in it.

``peer_tests.py`` loads it with ``-p peer_swap``. Without ``--swap`` it only notes outcomes. With it, a class such as
``ChatOpenAI`` is replaced while test modules are imported: called, it builds the member they want, and a
``BestRouteChat`` around it. Everything else that is asked of the class reaches the class.

Bodies of requests are noted where the OpenAI client builds them, so that plain and swapped can be compared by what
was sent. Tests look inside a model too, and put a stand-in where its client is. What ours does not have is read from,
and set on, the member; such a test shows nothing about us unless it makes a call, so calls to the pool are counted.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

PRICE = (1.0, 2.0)
CHAT_MODELS = {
    "ChatOpenAI": ("langchain_openai", "langchain_openai.chat_models", "langchain_openai.chat_models.base"),
    "AzureChatOpenAI": ("langchain_openai", "langchain_openai.chat_models", "langchain_openai.chat_models.azure"),
    "_ChatOpenAICodex": ("langchain_openai.chat_models.codex",),
}
LLMS = {
    "OpenAI": ("llama_index.llms.openai", "llama_index.llms.openai.base"),
    "OpenAIResponses": ("llama_index.llms.openai", "llama_index.llms.openai.responses"),
}


class Swapped:
    """Stands where a class of models stood."""

    def __init__(self, real: type, around: Any) -> None:
        """Keep the class, and the function that builds a pool around one of its models."""
        self.__dict__.update(real=real, around=around, own=dict(vars(real)), __doc__=real.__doc__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the model, and a pool around it."""
        return self.around(self.real(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        """Read from the class."""
        return getattr(self.__dict__["real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set on the class: a test patches a method of it."""
        setattr(self.real, name, value)

    def __delattr__(self, name: str) -> None:
        """Delete from the class; what was its own before a test patched it is so again."""
        if name in self.own:
            setattr(self.real, name, self.own[name])
        else:
            delattr(self.real, name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        """Let a test derive from the class itself."""
        return (self.real,)

    def __instancecheck__(self, value: Any) -> bool:
        """Count a pool around such a model as one of them."""
        return isinstance(getattr(value, "member_of_test", value), self.real)

    def __subclasscheck__(self, value: type) -> bool:
        """Compare with the class."""
        return issubclass(getattr(value, "real", value), self.real)


def chat_pool(calls: Counter[str]) -> Any:
    """Return a function that builds a ``BestRouteChat`` around a chat model."""
    from bestroute import Price

    kind = pool_class(calls)

    def around(member: Any) -> Any:
        name = getattr(member, "model_name", None) or "member"
        return kind(models={name: member}, prices={name: Price(*PRICE)}, router=None, max_retries=0)

    return around


def pool_class(calls: Counter[str]) -> Any:
    """Return ``BestRouteChat`` as tests of its one member can use it."""
    from langchain_bestroute import BestRouteChat

    class Pool(BestRouteChat):
        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)  # type: ignore[misc]
            except AttributeError:
                if name.startswith("__") or "models" not in self.__dict__:
                    raise
                return getattr(self.member_of_test, name)

        def __setattr__(self, name: str, value: Any) -> None:
            known = name in type(self).model_fields or name in type(self).__private_attributes__
            setattr_to = super().__setattr__ if known or "models" not in self.__dict__ else None
            if setattr_to:
                setattr_to(name, value)
            else:
                setattr(self.member_of_test, name, value)

        def __delattr__(self, name: str) -> None:
            delattr(self.member_of_test, name)

        @property
        def member_of_test(self) -> Any:
            return next(iter(self.models.values()))

        def _query(self, *args: Any) -> Any:
            calls["pool"] += 1
            return super()._query(*args)

        def _winner(self, *args: Any) -> Any:
            # The same of two calls, since some tests compare their metadata.
            message = super()._winner(*args)
            message.response_metadata["bestroute"] |= {"call_id": "of a test", "run_id": "of a test"}
            return message

    return Pool


def keep_stand_ins() -> contextlib.AbstractContextManager[Any]:
    """Leave the clients of members as they are: what a test patches in one would not be in a copy without retries."""
    return mock.patch("bestroute.adapters.clients.takes_options", return_value=False)


def llm_pool(calls: Counter[str]) -> Any:
    """Return a function that builds a ``BestRouteLLM`` around a LlamaIndex model."""
    from bestroute import Price
    from llamaindex_bestroute import BestRouteLLM

    def around(member: Any) -> Any:
        return BestRouteLLM(
            models={member.model: member}, prices={member.model: Price(*PRICE)}, router=None, max_retries=0
        )

    return around


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take where outcomes go, and what is swapped."""
    parser.addoption("--outcomes", help="a JSON file: what became of each test")
    parser.addoption("--swap", choices=("langchain", "llamaindex"), help="whose models become a pool")


def pytest_configure(config: pytest.Config) -> None:
    """Start the notes."""
    config.pluginmanager.register(Swapping(config), "peer-swapping")


class Swapping:
    """Swaps the classes, counts the calls, notes the outcomes."""

    def __init__(self, config: pytest.Config) -> None:
        """Build the pool's factories where anything is to be swapped."""
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.bodies: list[Any] = []
        self.path = config.getoption("--outcomes")
        swap = config.getoption("--swap")
        self.classes = {"langchain": CHAT_MODELS, "llamaindex": LLMS}.get(swap, {})
        self.around = {"langchain": chat_pool, "llamaindex": llm_pool}[swap](self.calls) if swap else None

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Replace the classes where they are imported from."""
        with contextlib.ExitStack() as stack:
            for name, modules in self.classes.items():
                real = getattr(importlib.import_module(modules[-1]), name)
                for module in modules:
                    stack.enter_context(mock.patch(f"{module}.{name}", Swapped(real, self.around)))
            yield

    @contextlib.contextmanager
    def noted_bodies(self) -> Iterator[None]:
        """Note what the OpenAI client sends."""
        import openai._base_client as client

        build = client.BaseClient._build_request

        def noted(base: Any, options: Any, **kwargs: Any) -> Any:
            self.bodies.append(options.json_data)
            return build(base, options, **kwargs)

        with mock.patch.object(client.BaseClient, "_build_request", noted):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        """Swap while a test module is imported."""
        with self.swapped() if isinstance(collector, pytest.Module) else contextlib.nullcontext():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Count the calls of one test."""
        self.calls.clear()
        self.bodies.clear()
        outcome = self.outcomes[item.nodeid] = {"recorded": item.get_closest_marker("vcr") is not None}
        recorded = outcome["recorded"] or self.around is None
        with self.noted_bodies(), contextlib.nullcontext() if recorded else keep_stand_ins():
            answer = yield
        outcome |= {"calls": self.calls["pool"], "bodies": json.loads(json.dumps(self.bodies, default=repr))}
        return answer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what became of a test; a failure in its set-up or its end counts too."""
        outcome = self.outcomes[report.nodeid]
        if report.when == "call" or report.outcome != "passed":
            outcome["outcome"] = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            outcome["error"] = str(crash.message if crash else report.longrepr)

    def pytest_sessionfinish(self) -> None:
        """Write the notes."""
        if self.path:
            Path(self.path).write_text(json.dumps(self.outcomes, indent=1, sort_keys=True) + "\n")
