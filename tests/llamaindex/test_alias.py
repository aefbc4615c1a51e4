"""``llama_index.llms.bestroute``, in the wheel, beside the other parts of that namespace; and the hub's metadata."""

import ast
import inspect
import os
import re
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest

from llamaindex_bestroute import BestRouteLLM

ROOT = Path(__file__).parents[2]

CHECK = """
import llama_index.core, llama_index.llms.openai, llama_index.llms.bestroute, llamaindex_bestroute
from llama_index.llms.bestroute import BestRouteLLM
assert BestRouteLLM is llamaindex_bestroute.BestRouteLLM
print(llama_index.llms.bestroute.__file__)
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Folder of the built wheel's files."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_the_alias_is_importable_from_the_wheel_beside_the_others(unpacked):
    env = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run([sys.executable, "-c", CHECK], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == unpacked / "llama_index" / "llms" / "bestroute" / "__init__.py"


def test_the_wheel_leaves_the_rest_of_the_namespace_alone(unpacked):
    ours = [str(path.relative_to(unpacked)) for path in (unpacked / "llama_index").rglob("*") if path.is_file()]
    assert ours == ["llama_index/llms/bestroute/__init__.py"]


@pytest.mark.skipif(not os.environ.get("BESTROUTE_TEST_WHEEL"), reason="only when the wheel is under test")
def test_the_installed_wheel_has_it():
    from llama_index.llms import bestroute

    assert bestroute.BestRouteLLM is BestRouteLLM


def test_the_hub_is_told_where_it_is_and_whose():
    hub = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["llamahub"]
    assert hub["import_path"] == "llama_index.llms.bestroute"
    assert hub["class_authors"] == {"BestRouteLLM": "bestroute"}


async def test_the_code_in_the_docstring_runs(server, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    blocks = re.findall(r"```python\n(.*?)```", inspect.cleandoc(BestRouteLLM.__doc__), re.S)
    code = compile("\n".join(map(textwrap.dedent, blocks)), "docstring", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict = {}
    await eval(code, names)
    assert "chosen by the router function" in capsys.readouterr().out
    assert server.sent()[0]["model"] == "gpt-4o-mini"
    assert len(blocks) >= 8
    assert isinstance(names["joke"], names["Joke"])


def test_every_argument_is_in_the_docstring():
    own = set(BestRouteLLM.model_fields) - set(BestRouteLLM.__mro__[1].model_fields)
    documented = re.findall(r"^    (\w+): ", inspect.cleandoc(BestRouteLLM.__doc__), re.M)
    mentioned = re.findall(r"``(\w+)=", BestRouteLLM.__doc__)
    assert own - {*documented, *mentioned} == set()
