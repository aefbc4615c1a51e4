"""The house: which room of the core may take from which. A wrong arrow fails here, and so does a circle."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import bestroute

CORE = Path(bestroute.__file__).parent
ROOT = Path(__file__).parents[1]

MAY_TAKE_FROM = {
    "_utils": set(),
    "errors": {"_utils"},
    "artifacts": {"_utils", "errors"},
    "types": {"_utils", "errors"},
    "billing": {"_utils", "errors", "types"},
    "faults": {"_utils", "errors", "types"},
    "features": {"_utils", "types"},
    "selection": {"_utils", "errors", "types"},
    "stats": {"_utils", "types"},
    "encoders": {"_utils", "artifacts", "errors", "stats", "types"},
    "monitoring": {"_utils", "billing", "errors", "stats", "types"},
    "records": {"_utils", "billing", "errors", "faults", "types"},
    "generators": {"_utils", "errors", "faults", "records", "selection", "types"},
    "labels": {"errors", "records", "selection", "stats", "types"},
    "judges": {"_utils", "billing", "errors", "faults", "records", "selection", "stats", "types"},
    "policies": {"_utils", "artifacts", "errors", "monitoring", "records", "types"},
    "testing": {"records", "types"},
    "reward_models": {
        "_utils",
        "artifacts",
        "encoders",
        "errors",
        "features",
        "labels",
        "records",
        "selection",
        "stats",
        "types",
    },
    "router": {
        "_utils",
        "artifacts",
        "billing",
        "encoders",
        "errors",
        "features",
        "labels",
        "policies",
        "records",
        "stats",
        "types",
    },
    "demo": {"_utils", "billing", "labels", "policies", "records", "reward_models", "router", "stats", "types"},
    "engine": {
        "_utils",
        "billing",
        "errors",
        "faults",
        "generators",
        "monitoring",
        "policies",
        "records",
        "reward_models",
        "router",
        "selection",
        "types",
    },
    "evaluation": {
        "_utils",
        "billing",
        "encoders",
        "errors",
        "features",
        "labels",
        "monitoring",
        "policies",
        "records",
        "router",
        "stats",
        "types",
    },
    "__init__": {
        "_utils",
        "billing",
        "engine",
        "errors",
        "generators",
        "monitoring",
        "policies",
        "reward_models",
        "types",
    },
    "adapters": {
        "_utils",
        "billing",
        "engine",
        "errors",
        "generators",
        "monitoring",
        "reward_models",
        "router",
        "types",
    },
    "server": {
        "_utils",
        "billing",
        "engine",
        "errors",
        "generators",
        "monitoring",
        "policies",
        "reward_models",
        "router",
        "selection",
        "types",
    },
    "tuning": {
        "_utils",
        "encoders",
        "errors",
        "evaluation",
        "labels",
        "policies",
        "records",
        "router",
        "stats",
        "types",
    },
    "cli": {
        "_utils",
        "adapters",
        "artifacts",
        "billing",
        "demo",
        "encoders",
        "engine",
        "errors",
        "evaluation",
        "faults",
        "generators",
        "judges",
        "labels",
        "monitoring",
        "policies",
        "records",
        "reward_models",
        "router",
        "server",
        "tuning",
        "types",
    },
    "__main__": {"cli"},
}
"""By room, from the lowest floor up."""

MOST_ENTRIES = 28
MOST_FLOORS = 11


@cache
def arrows() -> dict[str, set[str]]:
    """Return, for each room of the core, the rooms whose names it imports; imports inside functions count too."""
    found = defaultdict(set)
    for path in CORE.rglob("*.py"):
        room = path.relative_to(CORE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bestroute":
                rooms = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name.split(".") for alias in node.names]
                rooms = [name[1] for name in names if name[0] == "bestroute" and len(name) > 1]
            else:
                continue
            found[room] |= {other for other in rooms if other != room}
    return dict(found)


def floor(room: str, table: dict[str, set[str]], below: tuple[str, ...] = ()) -> int:
    """Return how many rooms stand on each other, down from this one."""
    assert room not in below, f"a circle: {' -> '.join((*below[below.index(room) :], room))}"
    return 1 + max((floor(other, table, (*below, room)) for other in table.get(room, ())), default=0)


@pytest.mark.parametrize("room", sorted(MAY_TAKE_FROM))
def test_a_room_takes_only_from_rooms_below_it(room):
    assert arrows().get(room, set()) <= MAY_TAKE_FROM[room]


def test_every_room_has_its_line():
    rooms = {path.name.removesuffix(".py") for path in CORE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__pycache__"} == set(MAY_TAKE_FROM)


def test_the_table_has_no_circle_and_few_floors():
    assert max(floor(room, MAY_TAKE_FROM) for room in MAY_TAKE_FROM) <= MOST_FLOORS


def test_the_core_is_a_table_of_contents():
    entries = [path.name for path in CORE.iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= MOST_ENTRIES


def test_no_file_imports_in_a_circle():
    found = defaultdict(set)
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bestroute."):
                for alias in node.names:
                    base = CORE.joinpath(*node.module.split(".")[1:])
                    inner = base / f"{alias.name}.py"
                    target = inner if inner.exists() else base.with_suffix(".py")
                    target = target if target.exists() else base / "__init__.py"
                    if target != path:
                        found[str(path)].add(str(target))
    done: set[str] = set()

    def visit(name, below):
        assert name not in below, f"a circle: {[Path(p).relative_to(CORE) for p in below[below.index(name) :]]}"
        if name not in done:
            for other in found.get(name, ()):
                visit(other, (*below, name))
            done.add(name)

    for name in list(found):
        visit(name, ())


def test_the_core_takes_nothing_of_the_adapters_and_they_nothing_of_each_other():
    for package, foreign in (
        (CORE, {"langchain_bestroute", "llamaindex_bestroute", "langchain_core", "llama_index", "torch"}),
        (ROOT / "langchain_bestroute", {"llamaindex_bestroute", "llama_index"}),
        (ROOT / "llamaindex_bestroute", {"langchain_bestroute", "langchain_core"}),
    ):
        for path in package.rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                names = [node.module] if isinstance(node, ast.ImportFrom) else []
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else names
                assert {str(name).split(".")[0] for name in names}.isdisjoint(foreign), path


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_shows_every_room_on_its_floor():
    shown, level = {}, ""
    for number, rooms in re.findall(r"^ *(\d*) │ ([\w ]+?) *│", PAGE, re.M):
        level = number or level
        shown |= dict.fromkeys(rooms.split(), int(level))
    assert shown == {room: floor(room, MAY_TAKE_FROM) for room in MAY_TAKE_FROM}


def test_what_the_page_says_where_to_find_is_there():
    rows = re.findall(r"^\| (?!where|-)(.+?) \| `(.+?)` \| (.+) \|$", PAGE, re.M)
    assert len(rows) == 16
    for _, place, by in rows:
        file = next(base / place for base in (CORE, ROOT) if (base / place).is_file())
        name = re.match(r"[^`]*`([\w.]+)`", by)
        if name is not None:
            for word in name[1].split("."):
                assert re.search(rf"\b{word}\b", file.read_text(encoding="utf-8")), (place, word)


def test_every_path_the_page_names_exists():
    for path in re.findall(r"`((?:\w+/)+[\w.]*)`", PAGE):
        places = [base / f"{path.rstrip('/')}{end}" for base in (CORE, ROOT) for end in ("", ".py")]
        assert any(place.exists() for place in places), path


ADAPTERS = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
ROOMS_OF_BOTH = {
    *("generator", "members", "messages", "tools", "structured", "streaming", "providers", "description", "tracing"),
    "__init__",
}


def test_both_adapters_have_one_floor_plan():
    langchain, llamaindex = (
        {path.stem for path in (ROOT / package).glob("*.py")}
        for package in ("langchain_bestroute", "llamaindex_bestroute")
    )
    assert langchain == ROOMS_OF_BOTH | {"chat_models", "middleware", "decisions"}
    assert llamaindex == ROOMS_OF_BOTH | {"llm", "rag_query", "responses", "member_request"}


def test_the_page_of_adapters_shows_the_floor_plan_and_what_stands_in_both():
    rows = re.findall(r"^\| (`[^|]+) \|[^|]+\| ([^|]+) \| ([^|]+) \|$", ADAPTERS, re.M)
    assert {file for files, _, _ in rows for file in re.findall(r"`(\w+)`", files)} == {
        *ROOMS_OF_BOTH - {"__init__"},
        *("chat_models", "llm"),
    }
    for files, *columns in rows:
        found = re.findall(r"`(\w+)`", files)
        for package, file, words in zip(
            ("langchain_bestroute", "llamaindex_bestroute"), (found[0], found[-1]), columns, strict=True
        ):
            text = (ROOT / package / f"{file}.py").read_text(encoding="utf-8")
            for word in re.findall(r"`(\w+)`", words):
                assert re.search(rf"^(class|def) {word}\b", text, re.M), (package, file, word)


def test_the_page_of_adapters_names_every_module_that_they_share():
    named = set(re.findall(r"`adapters\.(\w+)`", ADAPTERS)) | set(re.findall(r"`adapters\.\w+`, `\.(\w+)`", ADAPTERS))
    modules = {path.stem for path in (CORE / "adapters").glob("*.py")} - {"__init__"}
    assert modules - named == {"shared_members"}, "which `engine_builder` alone needs"
    assert named <= modules
