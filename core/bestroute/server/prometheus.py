"""The server's metrics in Prometheus' text format."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_MOST_SERIES = 2000
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OF_MODEL = (
    ("bestroute_cost_usd_total", "cost_usd", "What samples for answers cost, USD, by the ledger."),
    ("bestroute_audit_cost_usd_total", "audit_cost_usd", "What audits cost, USD, by the ledger."),
    ("bestroute_training_cost_usd_total", "training_cost_usd", "What collect and label cost, USD, by the ledger."),
    ("bestroute_samples_total", "samples", "Samples drawn, by the ledger."),
    ("bestroute_failed_samples_total", "failed", "Samples that failed, by the ledger."),
    ("bestroute_input_tokens_total", "input_tokens", "Tokens of prompts, by the ledger."),
    ("bestroute_output_tokens_total", "output_tokens", "Tokens of samples, by the ledger."),
)


class Requests:
    """Counts requests of this process by endpoint, model and status."""

    def __init__(self) -> None:
        """Start at zero."""
        self.under_way = 0
        self._counts: dict[tuple[str, str, int], int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS_S) + 1))
        self._seconds: dict[str, float] = defaultdict(float)

    def note(self, endpoint: str, model: str, status: int, seconds: float) -> None:
        """Count a request that has ended.

        Args:
            endpoint: Path of the endpoint.
            model: A known model name, never arbitrary text of a caller.
            status: Status of the answer; 499 if the caller disconnected.
            seconds: Duration.
        """
        if len(self._counts) < _MOST_SERIES:
            self._counts[endpoint, model, status] += 1
        place = next((i for i, most in enumerate(BUCKETS_S) if seconds <= most), len(BUCKETS_S))
        self._buckets[endpoint][place] += 1
        self._seconds[endpoint] += seconds

    def lines(self) -> Iterator[str]:
        """Yield the metrics, labelled with the process."""
        worker = {"worker": str(os.getpid())}
        yield from _head("bestroute_requests_under_way", "gauge", "Requests that are being answered.")
        yield _line("bestroute_requests_under_way", worker, self.under_way)
        yield from _head("bestroute_requests_total", "counter", "Requests that were answered.")
        for (endpoint, model, status), count in sorted(self._counts.items()):
            labels = {"endpoint": endpoint, "model": model, "status": str(status), **worker}
            yield _line("bestroute_requests_total", labels, count)
        name = "bestroute_request_seconds"
        yield from _head(name, "histogram", "How long requests took.")
        for endpoint, buckets in sorted(self._buckets.items()):
            labels, total = {"endpoint": endpoint, **worker}, 0
            for most, count in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
                total += count
                yield _line(f"{name}_bucket", {**labels, "le": most}, total)
            yield _line(f"{name}_sum", labels, self._seconds[endpoint])
            yield _line(f"{name}_count", labels, total)


def ledger_lines(by_model: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the ledger's totals; those of a database are over all processes.

    Args:
        by_model: ``Ledger.totals(by="model")``.
    """
    for name, figure, text in _OF_MODEL:
        yield from _head(name, "counter", text)
        for model, totals in sorted(by_model.items()):
            yield _line(name, {"model": model}, totals[figure])
    name = "bestroute_reference_cost_usd_total"
    yield from _head(name, "counter", "What the reference alone would have cost, USD, by the ledger.")
    yield _line(name, {}, sum(totals["reference_cost_usd"] for totals in by_model.values()))


def alarm_lines(raised: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Yield the number of alarms of this process, including zeros, so that Prometheus sees an increase.

    Args:
        raised: Numbers by kind and model; the model is empty for alarms about traffic as a whole.
    """
    name = "bestroute_alarms_total"
    yield from _head(name, "counter", "Alarms raised while audits are on, of this process.")
    for (kind, model), count in sorted(raised.items()):
        yield _line(name, {"kind": kind, "model": model, "worker": str(os.getpid())}, count)


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return (f"# HELP {name} {text}", f"# TYPE {name} {kind}")


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
    return f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
