"""Every example and every code block of the README runs, against the loopback server."""

import importlib.util
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bestroute import BestRoute

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def openai_env(server, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_BASE", server.base_url)  # LlamaIndex's name for it
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return server


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_run(path, openai_env, capsys):
    if "langchain" in path.stem:
        pytest.importorskip("langchain_openai")
    if "llamaindex" in path.stem:
        pytest.importorskip("llama_index.llms.openai")
    runpy.run_path(str(path), run_name="__main__")
    assert "USD" in capsys.readouterr().out
    assert openai_env.requests


def test_the_code_blocks_of_the_readme_run(openai_env, tmp_path, monkeypatch):
    pytest.importorskip("langchain_openai")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


ADAPTERS = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^## (.+?)\n.*?```python\n(.*?)```", re.S | re.M)
OPERATION = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
BLOCKS = _BLOCK.findall(EXTENDING) + _BLOCK.findall(ADAPTERS) + _BLOCK.findall(OPERATION)


@pytest.mark.parametrize(("title", "block"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_what_the_page_tells_to_write_works(title, block):
    assert "assert" in block
    exec(compile(block, f"the page's part {title!r}", "exec"), {"__name__": "extending"})


def test_every_part_of_the_page_has_its_block():
    blocks = _BLOCK.findall(EXTENDING)
    assert len(blocks) == EXTENDING.count("```python") == len(re.findall("^## ", EXTENDING, re.M)) == 4
    parts = len(re.findall("^## ", OPERATION, re.M))
    assert len(_BLOCK.findall(OPERATION)) == OPERATION.count("```python") == parts
    assert len(BLOCKS) == 5 + parts
    assert ADAPTERS.count("```python") == 1


AGENTS = _BLOCK.findall((ROOT / "docs" / "agents.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("title", "block"), AGENTS, ids=[title for title, _ in AGENTS])
@pytest.mark.filterwarnings("ignore:.*in beta.*")
def test_what_the_page_of_langchains_agents_shows_works(title, block, openai_env):
    for module in ("langchain", "langchain_openai"):
        pytest.importorskip(module)
    if "BestRouteDecision" in block:
        pytest.importorskip("langchain_core.decisions", reason="langchain-core has decision models from 1.8 on")
    assert "assert" in block
    exec(compile(block, f"the page's part {title!r}", "exec"), {"__name__": "agents"})


def test_the_page_of_agents_has_its_parts():
    assert [title for title, _ in AGENTS] == [
        "LangChain's middleware",
        "A decision without a call",
        "LangChain's own router",
    ]


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_every_make_target_that_is_named_is_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in [*PAGES, *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / ".ci" / "run"]:
        named = re.findall(r"(?:`|^)make ([a-z][\w-]*)", page.read_text(encoding="utf-8"), re.M)
        assert set(named) <= targets, page


def test_every_link_and_test_that_a_page_names_is_there():
    tests = {path.name for path in (ROOT / "tests").rglob("*.py")}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")]
        assert [link for link in links if not (page.parent / link).exists()] == [], page
        assert set(re.findall(r"\b(test_\w+\.py)`", text)) <= tests, page


def test_every_method_that_a_page_names_exists():
    objects = {
        "engine": BestRoute,
        "chat": pytest.importorskip("langchain_bestroute").BestRouteChat,
        "llm": pytest.importorskip("llamaindex_bestroute").BestRouteLLM,
    }
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        called = set(re.findall(r"\b(engine|chat|llm)\.(\w+)\(", text))
        assert [f"{name}.{method}" for name, method in called if not hasattr(objects[name], method)] == [], page
    table = (ROOT / "docs" / "core.md").read_text(encoding="utf-8").partition("## Methods")[2].partition("\n## ")[0]
    methods = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+)\|", table, re.M)))
    assert methods
    assert [method for method in methods if not hasattr(BestRoute, method)] == []


def test_the_readme_names_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = "".join(re.findall(r"^\| `[^|]+\|", README, re.M))
    assert [extra for extra in project["optional-dependencies"] if f"`{extra}`" not in table] == []


@pytest.mark.filterwarnings("error:.*the old name will go:DeprecationWarning")
def test_every_module_the_pages_name_exists():
    for page in PAGES:
        text = re.sub(r"<summary>All old paths.*?</details>", "", page.read_text(), flags=re.DOTALL)
        for name in set(re.findall(r"`((?:bestroute|langchain_bestroute|llamaindex_bestroute)(?:\.\w+)+)", text)):
            module, rest = name, []
            while importlib.util.find_spec(module.partition(".")[0]) and not _is_module(module):
                module, _, last = module.rpartition(".")
                rest.insert(0, last)
            found = importlib.import_module(module)
            for part in rest:
                found = getattr(found, part)


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_exactly_two_commands_of_the_readme_do_all_set_up():
    commands = re.findall(r"^make (\w+)", README, re.M)
    assert commands == ["demo", "test"]


def test_the_commands_the_readme_names_exist():
    for command in set(re.findall(r"`bestroute ([\w-]+)", README)):
        done = subprocess.run([sys.executable, "-m", "bestroute", command, "--help"], capture_output=True, check=False)
        assert done.returncode == 0, command


def test_the_readme_names_every_command():
    from bestroute.cli import main

    assert sorted(name for name in main.commands if f"bestroute {name}" not in README) == []


def test_the_page_of_data_names_every_set_that_figures_are_of_and_what_is_shipped():
    from bestroute.demo.dataset import demo_records, held_out, training

    page = (ROOT / "docs" / "data.md").read_text()
    pages = "\n".join(path.read_text() for path in (ROOT / "docs").glob("*.md") if path.name != "data.md")
    sets = ("livecodebench", "cruxeval_output", "cruxeval_input", "routellm_mmlu", "routerbench", "mmlu_pro")
    for name in (*sets, "reasoning_gym", "tool_calls", "math_l5", "alpaca_eval"):
        assert f"`{name}`" in page or name not in pages, name
    tasks = {record.task for record in demo_records()}
    assert f"120 templates of {len(tasks)} kinds" in page
    assert f"({len(held_out())} queries) for the demo's figures, 82 ({len(training())})" in page
