"""How training and evaluation grow with the records: seconds and peak memory for N vote records, against 1,000.

Makes synthetic vote records (6 models x 10 samples) with a seed, N to train on and N to be scored on, and runs
``bestroute train`` and ``bestroute evaluate --train`` on them, each in a process of its own. Prints seconds, seconds
of processor time and the largest resident memory, and processor time per 1,000 records as a ratio to that of the
1,000 records of the same run: a ratio of 1 or less means that more records cost no more apiece.

    python benchmarks/scale.py --records 10000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bestroute.records.records import ModelSamples, Record, write_records

MODELS, SAMPLES, MOST_N = tuple(f"model-{k}" for k in range(6)), 10, 5
FEW = 1000
_WORDS = tuple(
    f"{word}{end}" for word in ("sum", "list", "prove", "count", "sort", "pars") for end in ("", "er", "ing")
)


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    """Largest resident memory, MB (1e6 bytes)."""


def vote_records(count: int, *, seed: int, prefix: str) -> list[Record]:
    """Draw records whose models find the one right answer by their strength and by the query's ease."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(count):
        ease = rng.normal()
        query = " ".join(rng.choice(_WORDS, size=60)) + f" {'hard' if ease < 0 else 'easy'} {i}?"
        samples = {}
        for k, model in enumerate(MODELS):
            is_right = rng.random(SAMPLES) < 1 / (1 + np.exp(1 - 0.5 * k - ease))
            answers = tuple("right" if right else f"wrong {rng.integers(4)}" for right in is_right)
            tokens = tuple(map(float, rng.integers(50, 200, SAMPLES)))
            samples[model] = ModelSamples(tuple(map(float, is_right)), answers, None, 200.0, tokens)
        records.append(Record(f"{prefix}-{i}", query, samples, f"{prefix}-{i}"))
    return records


def write_pool(path: Path) -> None:
    """Write a pool of the models, each twice as dear as the one before; the dearest is the reference."""
    prices = {model: {"input_price": 0.1 * 2**k, "output_price": 0.4 * 2**k} for k, model in enumerate(MODELS)}
    path.write_text(json.dumps({"reference": MODELS[-1], "max_n": MOST_N, "models": prices}))


def cost_of(*words: object) -> Cost:
    """Run ``bestroute`` with these words in a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "bestroute", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"bestroute {words[0]} failed; see above")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


def costs(count: int) -> dict[str, Cost]:
    """Train on so many records, and evaluate on as many others beside all baselines."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        train, test, pool, router = (folder / part for part in ("train.jsonl", "test.jsonl", "pool.yaml", "router"))
        for seed, path in enumerate((train, test)):
            write_records(path, vote_records(count, seed=seed, prefix=path.stem))
        write_pool(pool)
        return {
            "train": cost_of("train", train, "--pool", pool, "--reward", "majority", "--out", router),
            "evaluate --train": cost_of("evaluate", router, test, "--train", train),
        }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000, help="more than 1,000")
    count = parser.parse_args().records
    if count <= FEW:
        parser.error(f"--records must be above {FEW}, what it is compared with, got {count}")
    few, many = costs(FEW), costs(count)
    print(f"{len(MODELS)} models x {SAMPLES} samples, votes; N records to train on, N others to be scored on")
    for name in many:
        for size, cost in ((FEW, few[name]), (count, many[name])):
            took = f"{cost.seconds:.1f} s ({cost.cpu_seconds:.1f} s of processor time), peak {cost.peak_mb:.0f} MB"
            print(f"  {name}, {size} records: {took}")
        ratio = many[name].cpu_seconds / count / (few[name].cpu_seconds / FEW)
        print(f"  {name}, processor time per 1,000 records, {count} against {FEW}: {ratio:.2f}")


if __name__ == "__main__":
    main()
