"""Calls and draws as spans and metrics of OpenTelemetry; nothing of it is imported before it is switched on."""

from bestroute.monitoring.tracing.switch import instrument, tracing_in_use, uninstrument

__all__ = ["instrument", "tracing_in_use", "uninstrument"]
