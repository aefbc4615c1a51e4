"""Makes the demo's records from draws of its prompts: ``python benchmarks/demo_records.py DRAWS... [--out RECORDS]``.

The draws are those of ``draws.py``. A model that has draws of a prompt gets them in place of what the record held:
samples with their signals, and the greedy answer. Log-probabilities are kept to four digits.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from draws import read_draws

from bestroute.demo.dataset import RECORDS, demo_pool
from bestroute.demo.tasks import check
from bestroute.records.records import GreedySample, ModelSamples, Record, read_records, write_records
from bestroute.types.prices import Price
from bestroute.types.signals import Signals

Line = Mapping[str, Any]


def samples_of(record: Record, lines: Sequence[Line], price: Price) -> ModelSamples:
    """Return the draws of one model as the samples of a record."""
    sampled = sorted((line for line in lines if line["mode"] == "sampled"), key=lambda line: int(line["at"]))
    return ModelSamples(
        quality=tuple(check(record.extra, line["text"]) for line in sampled),
        text=tuple(line["text"] for line in sampled),
        input_tokens=sampled[0]["input_tokens"],
        output_tokens=tuple(len(line["tokens"]) for line in sampled),
        cost_usd=tuple(_cost_usd(line, price) for line in sampled),
        signals=tuple(_signals(line) for line in sampled),
        greedy=next((_greedy(record, line, price) for line in lines if line["mode"] == "greedy"), None),
    )


def _greedy(record: Record, line: Line, price: Price) -> GreedySample:
    return GreedySample(
        text=line["text"],
        quality=check(record.extra, line["text"]),
        input_tokens=line["input_tokens"],
        output_tokens=len(line["tokens"]),
        cost_usd=_cost_usd(line, price),
        signals=_signals(line),
    )


def _cost_usd(line: Line, price: Price) -> float:
    return float(f"{(line['input_tokens'] * price.input + len(line['tokens']) * price.output) / 1e6:.6g}")


def _signals(line: Line) -> Signals:
    """Return what is told of all tokens, the one that ends the answer among them."""
    whole = Signals.from_logprobs(line["logprobs"])
    rounded = {name: _rounded(getattr(whole, name)) for name in ("sum_logprob", "mean_logprob", "min_logprob")}
    return replace(whole, **rounded)  # type: ignore[arg-type]  # by name


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main() -> None:
    """Read draws and write the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("draws", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=RECORDS)
    options = parser.parse_args()
    prices = demo_pool().prices
    by_place: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for path in options.draws:
        for line in read_draws(path):
            by_place[line["id"], line["model"]].append(line)
    records = []
    for record in read_records(RECORDS):
        samples = {
            model: samples_of(record, by_place[record.id, model], prices[model])
            if (record.id, model) in by_place
            else before
            for model, before in record.samples.items()
        }
        records.append(replace(record, samples=samples))
    write_records(options.out, records)
    print(f"{len(by_place)} places of {len(records)} records hold new draws")


if __name__ == "__main__":
    main()
