"""Every example and every code block of the README runs, against the loopback server."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
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
