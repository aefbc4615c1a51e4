"""Modules that have moved are found by their old paths, with a warning that says the new one."""

import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import bestroute
from bestroute._utils.moved import _NAMES, MOVED

DOCS = (Path(__file__).parents[2] / "docs" / "stability.md").read_text(encoding="utf-8")
ADAPTERS = {"langchain_bestroute": "langchain_core", "llamaindex_bestroute": "llama_index"}


def imported(path):
    sys.modules.pop(path, None)
    return importlib.import_module(path)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_hands_on_the_same_objects(old):
    package = old.partition(".")[0]
    if package in ADAPTERS:
        pytest.importorskip(ADAPTERS[package])
    new = importlib.import_module(MOVED[old][0])
    with pytest.warns(DeprecationWarning, match=f"the module {old} is {MOVED[old][0]}.* now"):
        module = imported(old)
    assert module.__doc__ == new.__doc__
    for name, value in vars(new).items():
        if not name.startswith("__"):
            assert getattr(module, name) is value
    with pytest.raises(AttributeError, match=f"it is {MOVED[old][0]} now"):
        _ = module.nothing_of_this_name


@pytest.mark.parametrize("old", MOVED)
def test_no_old_path_hides_a_module(old):
    assert not Path(bestroute.__file__).parents[1].joinpath(*old.split(".")).with_suffix(".py").exists()


ROOMS = [(room, home, name) for room, homes in _NAMES.items() for home in homes for name in homes[home].split()]


@pytest.mark.parametrize(("room", "home", "name"), ROOMS)
def test_what_stood_in_a_module_that_is_a_room_now_is_found(room, home, name):
    with pytest.warns(DeprecationWarning, match=f"{room}.{name} is {home}.{name} now"):
        found = getattr(importlib.import_module(room), name)
    assert found is getattr(importlib.import_module(home), name)


def test_the_warning_names_the_line_that_imports():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sys.modules.pop("bestroute.jsonl", None)
        from bestroute.jsonl import read_jsonl
    from bestroute.records import jsonl

    assert read_jsonl is jsonl.read_jsonl
    assert [(w.category, w.filename) for w in caught] == [(DeprecationWarning, __file__)]


def test_an_unknown_path_is_still_no_module():
    with pytest.raises(ModuleNotFoundError, match="bestroute.nothing"):
        importlib.import_module("bestroute.nothing")
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from bestroute.records import nothing")


def test_old_paths_import_nothing_before_they_are_asked_for():
    code = "import sys, bestroute; print(*(name for name in sys.modules if name in {moved}))"
    done = subprocess.run(
        [sys.executable, "-c", code.format(moved={*MOVED})], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_the_page_of_what_is_public_lists_every_old_path():
    rows = dict(re.findall(r"^\| (`.+?`) \| (`.+`) \|$", DOCS, re.M))
    listed = {f"`{old}`": ", ".join(f"`{path}`" for path in new) for old, new in MOVED.items()}
    for room, homes in _NAMES.items():
        for home, names in homes.items():
            listed[", ".join(f"`{room}.{name}`" for name in names.split())] = f"`{home}`"
    assert rows == listed
