"""One language: values bear the field's nouns, inside as outside. See CONTRIBUTING.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RIDDLES = {"told", "asked", "said", "came", "seen", "untold", "parts"}
"""Participles that say nothing of what a value is: usage, attempt, sampler, columns, ... do."""
PLACES = ("core", "langchain_bestroute", "llamaindex_bestroute", "benchmarks", "examples")
CODE = [path for place in PLACES for path in sorted((ROOT / place).rglob("*.py"))]


def names(tree):
    """Yield the names of values, arguments, functions, classes and attributes that a file gives or uses."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "arg", "name", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield line, name


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_value_is_named_by_a_riddle(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"{path.name}:{line}: {name}" for line, name in names(tree) if name.strip("_").lower() in RIDDLES] == []
