"""How long a served router takes to import in a fresh interpreter, and what it installs beside a framework.

Times are of the importing thread's processor, so what a caller waits for, and medians; modules are compiled before, as
an installation compiles them. Threads that OpenBLAS keeps spinning for a while after numpy starts them are not waited
for, and are printed apart. ``alone`` is everything; beside a framework is what comes on top of the framework's own
import. Both hold numpy, whose share is printed. Sizes are of the files that a wheel brings, without compiled ones.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
RUNS = 15
MOST_MS, MOST_MB = 150, 60
SERVED = "bestroute, bestroute.router, safetensors.numpy"
FRAMEWORKS = {
    "langchain-core": ("langchain_core.language_models.chat_models", "langchain_bestroute"),
    "llama-index-core": ("llama_index.core.llms", "llamaindex_bestroute"),
}


def milliseconds(modules: str, before: str = "sys", clock: str = "thread_time") -> float:
    """Import modules after others, in fresh interpreters; the median of what they take by a clock of ``time``."""
    code = f"import {before}; from time import {clock} as now; t = now(); import {modules}; print((now() - t) * 1000)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
        for _ in range(1 + RUNS)
    ]
    return statistics.median(map(float, times[1:]))  # the first compiles


def size_of(path: Path) -> int:
    """Return the bytes of a folder's files, without compiled ones."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and "__pycache__" not in str(file))


def installed_with(name: str, found: dict[str, float] | None = None) -> dict[str, float]:
    """Return a distribution and everything that it requires without extras, with their sizes on disk, MB."""
    found = {} if found is None else found
    try:
        here = distribution(name)
    except PackageNotFoundError:
        return found
    key = here.metadata["Name"].lower().replace("_", "-")
    if key in found:
        return found
    files = [file.locate() for file in here.files or () if not str(file).endswith(".pyc")]
    found[key] = sum(file.stat().st_size for file in files if file.is_file()) / 1e6  # type: ignore[attr-defined]
    for line in here.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            installed_with(wanted.name, found)
    return found


def ours() -> dict[str, float]:
    """Return what this checkout installs without extras, by ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    found = {"bestroute": sum(size_of(ROOT / package) for package in packages) / 1e6}
    for line in project["project"]["dependencies"]:
        installed_with(Requirement(line).name, found)
    return found


def main() -> None:
    """Print the figures."""
    print(f"import {SERVED}: alone {milliseconds(SERVED):.0f} ms, numpy's share {milliseconds('numpy'):.0f}")
    for framework, (module, adapter) in FRAMEWORKS.items():
        own = milliseconds(SERVED, module)
        print(
            f"beside {framework}: {own:.0f} ms (at most {MOST_MS}), numpy's share {milliseconds('numpy', module):.0f}; "
            f"with {adapter} {milliseconds(f'{SERVED}, {adapter}', module):.0f} ms; threads that spin meanwhile: "
            f"{milliseconds(SERVED, module, 'process_time') - own:.0f} ms"
        )
    for framework in FRAMEWORKS:
        theirs = installed_with(framework)
        beside = {name: size for name, size in ours().items() if name not in theirs}
        largest = ", ".join(
            f"{name} {size:.1f}" for name, size in sorted(beside.items(), key=lambda item: -item[1])[:6]
        )
        print(f"installed beside {framework}: {sum(beside.values()):.0f} MB (at most {MOST_MB}); {largest}")


if __name__ == "__main__":
    main()
