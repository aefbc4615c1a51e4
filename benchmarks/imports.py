"""How long a served router takes to import in a fresh interpreter, and what it installs beside a framework."""

from __future__ import annotations

import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

RUNS = 15
MOST_MS, MOST_MB = 150, 60
SERVED = "bestroute, bestroute.router, safetensors.numpy"
FRAMEWORKS = ("langchain-core", "llama-index-core")


def milliseconds(modules: str) -> float:
    """Import modules in fresh interpreters and take the processor time from inside; the median."""
    code = f"import time; t = time.process_time(); import {modules}; print((time.process_time() - t) * 1000)"
    command = [sys.executable, "-c", code]
    times = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(RUNS)]
    return statistics.median(map(float, times))


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


def main() -> None:
    """Print the figures."""
    served, numpy = milliseconds(SERVED), milliseconds("numpy")
    print(f"import {SERVED}: {served:.0f} ms (at most {MOST_MS}), numpy's share {numpy:.0f} ms")
    ours = installed_with("bestroute")
    for framework in FRAMEWORKS:
        theirs = installed_with(framework)
        beside = {name: size for name, size in ours.items() if name not in theirs}
        largest = ", ".join(
            f"{name} {size:.1f}" for name, size in sorted(beside.items(), key=lambda item: -item[1])[:5]
        )
        print(f"installed beside {framework}: {sum(beside.values()):.0f} MB (at most {MOST_MB}); {largest}")


if __name__ == "__main__":
    main()
