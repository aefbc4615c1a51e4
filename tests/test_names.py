"""One language: values bear the field's nouns, inside as outside. See CONTRIBUTING.md."""

import ast
from collections import Counter, defaultdict
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


@pytest.mark.parametrize("package", PLACES[:3])
def test_no_two_classes_of_a_package_share_a_name(package):
    places = defaultdict(list)
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_few_files_of_the_core_share_a_name():
    """Those that do are the same step of two rooms."""
    names = Counter(path.name for path in (ROOT / "core").rglob("*.py") if path.name != "__init__.py")
    assert {name for name, count in names.items() if count > 1} <= {
        "agreement.py",  # of answers, to choose one; of samples, as a reward
        "checks.py",  # of a sample's form; of an answer against what is known
        "comparison.py",  # of an answer and the reference's; of two routers
        "facts.py",  # of an error; tasks about facts
        "run.py",  # of the engine; of the demo
        "summary.py",  # of a decision; of a reward model
        "training.py",  # of a router; of a reward model
    }
