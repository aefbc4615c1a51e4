"""Every block of Python of the pages for users runs, in order, against the loopback server; commands, JSON and YAML of
all pages are read by who reads them in use; the site lists every page.
"""

import json
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from bestroute.cli import main
from bestroute.types.pool import Pool

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HAVE_THEIR_OWN_TEST = {"adapters", "agents", "extending", "operation"}  # tests/test_docs.py
PAGES = sorted(
    page
    for page in DOCS.glob("*.md")
    if page.stem not in HAVE_THEIR_OWN_TEST and "```python\n" in page.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore:.*in beta.*")
def test_the_blocks_of_a_page_run_one_after_the_other(page, server, monkeypatch, tmp_path):
    text = page.read_text(encoding="utf-8")
    for package, module in (("langchain_openai",) * 2, ("llama_index.llms.openai", "llama_index.llms.openai")):
        if package in text:
            pytest.importorskip(module)
    pytest.importorskip("openai")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.setenv(name, server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.chdir(tmp_path)
    page_names = {"__name__": page.stem}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, page.name, "exec"), page_names)


def blocks(*kinds):
    """Yield the name of a page and a block of it, of all pages and of the README."""
    for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
        for block in re.findall(
            rf"^```(?:{'|'.join(kinds)})\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M
        ):
            yield page.stem, block


def commands():
    """Yield the page and the arguments of every command of ours."""
    for page, block in blocks("bash", "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "bestroute" in words[:4]:
                yield page, words[words.index("bestroute") + 1 :]


COMMANDS = list(commands())


@pytest.mark.parametrize(("page", "arguments"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_pages_command_is_one_that_there_is(page, arguments):
    name, *rest = arguments
    command = main.commands[name]
    _, left, _ = command.make_parser(click.Context(command)).parse_args(rest)
    assert not left, f"{page}: {name} takes no {left}"


def test_json_and_yaml_of_pages_are_read():
    assert len(COMMANDS) >= 15
    decoder = json.JSONDecoder()
    for page, block in blocks("json"):
        rest = block.strip()
        while rest:
            value, end = decoder.raw_decode(rest)
            assert isinstance(value, dict), page
            rest = rest[end:].strip()
    pools = [yaml.safe_load(block) for _, block in blocks("yaml")]
    assert all(isinstance(value, dict) for value in pools)
    for pool in (value for value in pools if "models" in value):
        assert Pool.from_dict(pool, where="a page").reference == "large"


def test_the_site_lists_every_page_once():
    class Loader(yaml.SafeLoader):
        """Reads what mkdocs' file names of Python, as text."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for value in (entry.values() if isinstance(entry, dict) else entry) for page in pages(value)]

    listed = pages(config["nav"])
    assert len(listed) == len(set(listed))
    left_out = set(config["exclude_docs"].split())
    assert set(listed) | left_out >= {page.name for page in DOCS.glob("*.md")}
