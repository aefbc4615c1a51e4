"""Exporters of the server's spans and metrics: OpenTelemetry's global providers, or its own."""

from __future__ import annotations

import logging
import queue
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bestroute._utils.text import brief
from bestroute._utils.threads import start
from bestroute.engine.rollout import check_share
from bestroute.errors import ConfigError, did_you_mean, named
from bestroute.monitoring.tracing.semantic_names import names_of
from bestroute.monitoring.tracing.spans import Tracing

logger = logging.getLogger(__name__)

_EXPORTERS = ("global", "otlp", "console")
_OTLP = "opentelemetry-exporter-otlp-proto-http"
_CLOSE_S = 5.0
"""How long shutdown waits for a collector, seconds; service managers often allow ten."""


@dataclass(frozen=True)
class TelemetrySettings:
    """What is traced, and the exporter."""

    exporter: str = "global"
    """``global``: as set up in the process, by ``opentelemetry-instrument`` for example; ``otlp``: by HTTP;
    ``console``."""
    endpoint: str | None = None
    """Address for ``otlp``, without ``/v1/traces``; default: ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
    service: str = "bestroute"
    """The resource's ``service.name``."""
    share: float = 1.0
    """Share of traced calls; metrics cover all."""
    version: str | None = None
    """Version of the semantic conventions; default: the newest known."""
    capture_content: bool = False
    """Whether spans have queries and answers."""

    def __post_init__(self) -> None:
        """Check what no other part checks.

        Raises:
            ConfigError: If a field is invalid; names it, what was expected and what was found.
        """
        if self.exporter not in _EXPORTERS:
            raise ConfigError(f"exporter must be one of {named(_EXPORTERS)}, got {brief(self.exporter)}")
        for name in ("endpoint", "service", "version"):
            if (value := getattr(self, name)) is not None and not (isinstance(value, str) and value):
                raise ConfigError(f"{name} must be a text, got {brief(value)}")
        if self.endpoint is not None and (
            self.exporter != "otlp" or not self.endpoint.startswith(("http://", "https://"))
        ):
            raise ConfigError(
                f"endpoint is the address of exporter: otlp, such as http://localhost:4318, got {brief(self.endpoint)}"
            )
        if self.exporter == "global" and (self.service != "bestroute" or self.share != 1):
            raise ConfigError("service and share are of an exporter; say exporter: otlp or console, or leave them out")
        if not isinstance(self.capture_content, bool):
            raise ConfigError(f"capture_content must be true or false, got {brief(self.capture_content)}")
        check_share(self.share, "share")
        names_of(self.version)

    def open(self) -> tuple[Tracing, Callable[[], None]]:
        """Return the tracing, and a function that flushes it at the end.

        Raises:
            ImportError: If a package is not installed; names it.
        """
        version, content = self.version, self.capture_content
        if self.exporter == "global":
            return Tracing(version=version, capture_content=content), lambda: None
        try:
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError as error:
            package = _OTLP if self.exporter == "otlp" else "opentelemetry-sdk"
            raise ImportError(f"tracing: exporter: {self.exporter} needs {package}: pip install {package}") from error

        spans, measures = self._exporters()
        resource = Resource.create({"service.name": self.service})
        sampler = ParentBased(TraceIdRatioBased(self.share))
        tracers = TracerProvider(sampler, resource, shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(spans))
        meters = MeterProvider([PeriodicExportingMetricReader(measures)], resource, shutdown_on_exit=False)
        ends = (tracers.shutdown, meters.shutdown)
        return Tracing(tracers, meters, version=version, capture_content=content), lambda: _end(ends)

    def _exporters(self) -> tuple[Any, Any]:
        """Return the exporters of spans and of metrics."""
        if self.exporter == "console":
            from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter(out=sys.stdout), ConsoleMetricExporter(out=sys.stdout)
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise ImportError(f"tracing: exporter: otlp needs {_OTLP}: pip install {_OTLP}") from error
        root = None if self.endpoint is None else self.endpoint.rstrip("/")
        return (
            OTLPSpanExporter(endpoint=root and f"{root}/v1/traces"),
            OTLPMetricExporter(endpoint=root and f"{root}/v1/metrics"),
        )


def _end(ends: Sequence[Callable[[], object]]) -> None:
    """Flush spans and metrics in parallel, within the time limit of a collector."""
    done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(end: Callable[[], object]) -> None:
        try:
            end()
        finally:
            done.put(None)

    for end in ends:
        start(partial(run, end), name="bestroute-telemetry", daemon=True)
    until = time.monotonic() + _CLOSE_S
    try:
        for _ in ends:
            done.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        logger.warning("tracing: the collector did not take the last spans or metrics within %g s", _CLOSE_S)


@contextmanager
def continued(headers: Mapping[str, str]) -> Iterator[None]:
    """Return a context in which a request's spans continue the caller's trace, given in the header ``traceparent``.

    A span that is under way, of an instrumented server for one, has done so already.

    Args:
        headers: Headers of the request, with lower-case names.

    Source:
        W3C Trace Context.
    """
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    token = context.attach(TraceContextTextMapPropagator().extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def read_telemetry(value: Any, where: str) -> TelemetrySettings | None:
    """Parse the section: ``true``, ``false``, or the fields of ``TelemetrySettings``.

    Raises:
        ConfigError: Begins with ``where``.
    """
    if isinstance(value, bool):
        return TelemetrySettings() if value else None
    known = tuple(TelemetrySettings.__dataclass_fields__)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be true, false, or a mapping of {named(known)}, got {brief(value)}")
    if unknown := [str(name) for name in value if name not in known]:
        raise ConfigError(
            f"{where}: unknown field {named(unknown[:1])}; known fields are {named(known)}."
            f"{did_you_mean(unknown[0], known)}"
        )
    try:
        return TelemetrySettings(**value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
