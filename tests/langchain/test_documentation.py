"""Requirement 24 and the examples: the docstring's sections and code, and programs that change by one statement."""

import asyncio
import json
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from bestroute import ConfigError
from langchain_bestroute import BestRouteChat

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SECTIONS = [
    "Setup",
    "Key init args: pool",
    "Key init args: completion and client params",
    "Instantiate",
    "Invoke",
    "Stream",
    "Async",
    "Tool calling",
    "Structured output",
    "JSON mode",
    "Image input",
    "Token usage",
    "Logprobs",
    "Response metadata",
]


@pytest.fixture
def openai_env(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return server


def test_the_docstring_has_the_sections_of_a_partner_package():
    assert re.findall(r'\?\?\?\+? info "(.*?)"', BestRouteChat.__doc__) == SECTIONS


def test_the_docstrings_code_runs(openai_env, capsys):
    blocks = re.findall(r"^ +```python\n(.*?)^ +```", BestRouteChat.__doc__, re.S | re.M)
    assert len(blocks) >= len(SECTIONS) - 3
    shared: dict = {}
    for block in blocks:
        exec(compile(textwrap.dedent(block), "BestRouteChat", "exec"), shared)
    assert shared["product"].factors == [12]
    assert shared["words"].keys() == {"product", "unit"}
    assert shared["call"].tool_calls[0]["name"] == "multiply"
    results = [m["content"] for body in openai_env.sent() for m in body["messages"] if m["role"] == "tool"]
    assert results
    asyncio.run(shared["ask"]())
    assert capsys.readouterr().out


def test_every_field_has_a_word_of_explanation():
    source = (ROOT / "langchain_bestroute" / "chat_models.py").read_text() if EXAMPLES.is_dir() else None
    if source is None:
        pytest.skip("needs the source beside the tests")
    own = [name for name in BestRouteChat.model_fields if name in BestRouteChat.__annotations__]
    for name in own:
        assert re.search(rf'^    {name}: [^\n]*\n    """', source, re.M), name


def functions(name):
    return runpy.run_path(str(EXAMPLES / f"langchain_{name}.py"))


USES = {
    "chain": lambda f, model: f["translate"](model, "I love programming.", "French"),
    "agent": lambda f, model: (
        f["solve"](model, 'CALL add({"a": 2, "b": 3}) then CALL multiply({"a": 5, "b": 7})')[-1].text
    ),
    "rag": lambda f, model: f["ask"](model, OpenAIEmbeddings(check_embedding_ctx_length=False), "How long is it?"),
    "extraction": lambda f, model: f["extract"](model, "'Ann' turned 7 last week."),
}


@pytest.mark.parametrize("name", USES)
def test_an_example_works_with_the_plain_model_and_with_the_router_alike(openai_env, make, name):
    use, f = USES[name], functions(name)
    plain = use(f, ChatOpenAI(model="small-mini"))
    openai_env.reset()
    routed = use(f, make(("small", 1)))
    assert routed == plain


@pytest.mark.parametrize("name", USES)
def test_an_example_differs_from_its_plain_form_by_one_statement(name):
    text = (EXAMPLES / f"langchain_{name}.py").read_text()
    assert text.count('    # before: model = ChatOpenAI(model="gpt-4o")\n    model = BestRouteChat(\n') == 1


@pytest.mark.parametrize("name", USES)
def test_an_example_runs_as_a_program(openai_env, capsys, name):
    runpy.run_path(str(EXAMPLES / f"langchain_{name}.py"), run_name="__main__")
    assert re.search(r"0\.\d+ USD", capsys.readouterr().out)


# Arguments.


def test_other_arguments_go_with_every_call_and_a_misspelt_field_is_refused(make, server):
    with pytest.warns(
        UserWarning, match="'seed', 'top_p': unknown arguments of BestRouteChat, sent to the members with every call"
    ):
        chat = make(seed=3, top_p=0.5)
    chat.invoke("x")
    chat.invoke("x", seed=4)
    assert [(b["seed"], b["top_p"]) for b in server.sent()] == [(3, 0.5), (4, 0.5)]
    with pytest.raises(ConfigError, match="no argument 'reward_modle'. Did you mean 'reward_model'"):
        make(reward_modle=None)


def test_arguments_may_have_the_names_and_forms_that_chatopenai_takes(make, openai_model, server):
    httpx = pytest.importorskip("httpx")
    chat = make(stop="answer", request_timeout=httpx.Timeout(7.0))
    chat.invoke("x")
    assert server.sent()[0]["stop"] == ["answer"]
    assert json.loads(chat.model_dump_json())["timeout"].endswith(".Timeout")
    told = make(openai_api_base="http://127.0.0.1:1/v1", openai_api_key="sk-1")
    assert (told.base_url, told.api_key.get_secret_value()) == ("http://127.0.0.1:1/v1", "sk-1")


def test_importing_is_light_and_typed():
    heavy = {"torch", "openai", "langchain", "anthropic", "jsonschema", "genai_prices"}
    code = f"import sys, langchain_bestroute; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
    import langchain_bestroute

    assert (Path(langchain_bestroute.__file__).parent / "py.typed").is_file()
