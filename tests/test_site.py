"""Every code block of the pages for users runs, in order, against the loopback server; the site lists every page."""

import re
from pathlib import Path

import pytest
import yaml

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
