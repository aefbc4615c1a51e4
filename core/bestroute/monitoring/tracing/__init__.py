"""OpenTelemetry spans and metrics of calls and draws; OpenTelemetry is imported only when tracing is switched on."""

from bestroute.monitoring.tracing.switch import instrument, tracing_in_use, uninstrument

__all__ = ["instrument", "tracing_in_use", "uninstrument"]
