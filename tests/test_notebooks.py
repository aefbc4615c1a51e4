"""The notebooks run from nothing, and print what stands in them; numbers may differ with the machine."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("notebooks", Path(__file__).parents[1] / "benchmarks" / "notebooks.py")
notebooks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(notebooks)


def _without_numbers(texts):
    return [re.sub(r"[\d.%-]+", "#", text) for text in texts]


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_stands_in_it(path):
    for module in ("langchain", "langchain_openai", "sklearn", "duckdb"):
        pytest.importorskip(module)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    kept = notebooks.outputs_of(notebook)
    assert any(kept)
    assert _without_numbers(notebooks.printed_by(notebook)) == _without_numbers(kept)
