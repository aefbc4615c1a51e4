"""How long ``import bestroute`` takes in a fresh interpreter, and how much of it is numpy's."""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 15


def milliseconds(module: str) -> list[float]:
    """Import a module in fresh interpreters and time it from inside."""
    code = f"import time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1000)"
    command = [sys.executable, "-c", code]
    return [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(RUNS)]


def main() -> None:
    """Print the figures."""
    ours, numpy = statistics.median(milliseconds("bestroute")), statistics.median(milliseconds("numpy"))
    print(f"import bestroute: {ours:.0f} ms, {ours / numpy:.2f} of import numpy ({numpy:.0f} ms) in this run")


if __name__ == "__main__":
    main()
