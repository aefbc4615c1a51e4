"""Whether calls are traced: set per engine, or globally for all engines without a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bestroute.monitoring.tracing.spans import Tracing

_of_process: Tracing | None = None


def instrument(
    *,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    version: str | None = None,
    capture_content: bool | None = None,
) -> None:
    """Trace the calls of every engine without its own ``tracing`` setting.

    Args:
        tracer_provider: OpenTelemetry's; default: the global one.
        meter_provider: The same of metrics.
        version: Of the semantic conventions, see ``semantic_names``; default: the newest that is known here.
        capture_content: Whether queries and answers go into spans; default: what the environment says.

    Raises:
        ImportError: If opentelemetry-api is missing; says what to install.
        ConfigError: If the version is unknown.
    """
    global _of_process
    from bestroute.monitoring.tracing.spans import Tracing

    _of_process = Tracing(tracer_provider, meter_provider, version=version, capture_content=capture_content)


def uninstrument() -> None:
    """Trace only the calls of engines with their own setting."""
    global _of_process
    _of_process = None


def tracing_in_use(own: Tracing | bool | None) -> Tracing | None:
    """Return the tracing of an engine's calls, if they are traced.

    Args:
        own: What the engine was made with.
    """
    return _of_process if own is None else own or None  # type: ignore[return-value]


def as_tracing(value: Any) -> Tracing | bool | None:
    """Convert an engine's ``tracing`` argument; ``True`` means the global providers.

    Raises:
        ConfigError: If it is something else.
        ImportError: If opentelemetry-api is missing.
    """
    if value is None or value is False:
        return value
    from bestroute._utils.text import brief
    from bestroute.errors import ConfigError
    from bestroute.monitoring.tracing.spans import Tracing

    if value is True:
        return Tracing()
    if isinstance(value, Tracing):
        return value
    raise ConfigError(f"tracing must be True, False, None or a Tracing, got {brief(value)}")
