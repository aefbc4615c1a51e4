"""Spans of calls, draws below them, and their metrics.

Tokens stand on draws alone, and costs of draws there too, so that adding spans up counts nothing twice; what a call
cost in all stands on the call under names of ours.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from bestroute._utils.extras import to_install
from bestroute._utils.version import __version__
from bestroute.errors.redaction import describe
from bestroute.monitoring.tracing.semantic_names import names_of
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The convention's environment variable that allows queries and answers in spans."""
_CAPTURED = ("true", "1", "span_only", "span_and_event")
_OTHER = "_OTHER"
_WORKFLOW = "bestroute"


class Tracing:
    """Where spans and metrics are sent, and the names of their attributes.

    Args:
        tracer_provider: OpenTelemetry's; default: the global one.
        meter_provider: The same of metrics.
        version: Of the semantic conventions; default: the newest that is known here.
        capture_content: Whether queries and answers go into spans; default: what the environment says.

    Raises:
        ImportError: If opentelemetry-api is missing; says what to install.
        ConfigError: If the version is unknown.
    """

    def __init__(
        self,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        *,
        version: str | None = None,
        capture_content: bool | None = None,
    ) -> None:
        """Create the tracer and the instruments."""
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise ImportError(f"tracing needs opentelemetry-api: {to_install('otel')}") from error
        self.names = names_of(version)
        if capture_content is None:
            capture_content = os.environ.get(CAPTURE, "").strip().lower() in _CAPTURED
        self.capture_content = capture_content
        self.trace = trace
        self.tracer = trace.get_tracer("bestroute", __version__, tracer_provider)
        meter = metrics.get_meter("bestroute", __version__, meter_provider)
        names = self.names
        self.tokens = meter.create_histogram(names["token_metric"], "{token}", "Tokens of a draw")
        self.duration = meter.create_histogram(names["duration_metric"], "s", "Time of a draw")
        workflow = names.get("workflow_duration_metric", "bestroute.call.duration")
        self.call_duration = meter.create_histogram(workflow, "s", "Time of a call")
        self.cost = meter.create_counter("bestroute.cost", "USD", "What draws cost")
        self.saved = meter.create_up_down_counter(
            "bestroute.saved", "USD", "What answers cost less than the reference would have"
        )
        self.raised = meter.create_counter("bestroute.alarms_raised", "{alarm}", "Alarms raised beside calls")
        self.alarms = meter.create_gauge("bestroute.alarms", "{alarm}", "Alarms of the last look at audits")
        self.drop = meter.create_gauge("bestroute.audited_drop", "1", "The audited drop at the last look")

    def __deepcopy__(self, memo: object) -> Tracing:
        """Return the same object, so that copied settings share it."""
        return self

    def call(self, query: Query, *, call_id: str, kind: str, tags: Mapping[str, str], session: str | None) -> CallTrace:
        """Start the span of a call."""
        return CallTrace(self, query, call_id=call_id, kind=kind, tags=tags, session=session)

    def named(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return attributes by the convention's names, without unknown values and names that its version lacks."""
        return {self.names[k]: v for k, v in attributes.items() if v is not None and k in self.names}

    def note_alarm(self, alarm: Any) -> None:
        """Count an alarm by kind and member."""
        about = {"bestroute.model": alarm.model} if alarm.model else {}
        self.raised.add(1, {"bestroute.alarm.kind": alarm.kind, **about})

    def note_reports(self, reports: Sequence[Any]) -> None:
        """Record the alarms and drops of a monitoring report, by mode."""
        for report in reports:
            known = {"bestroute.mode": report.mode}
            self.alarms.set(len(report.alarms), known)
            if report.lines and report.lines[0].drop is not None:
                self.drop.set(report.lines[0].drop, known)


class CallTrace:
    """The span of one call."""

    def __init__(
        self,
        tracing: Tracing,
        query: Query,
        *,
        call_id: str,
        kind: str,
        tags: Mapping[str, str],
        session: str | None,
    ) -> None:
        """Start the span as a child of the caller's current span."""
        self.tracing, self.query, self.kind = tracing, query, kind
        self.started = time.perf_counter()
        self.costs_usd: list[float] = []
        """Bills of the draws that have ended."""
        self._is_ended = False
        attributes = tracing.named({"operation": "invoke_workflow", "workflow": _WORKFLOW, "conversation": session})
        attributes |= {"bestroute.call_id": call_id, "bestroute.kind": kind}
        attributes |= {f"bestroute.tag.{name}": value for name, value in tags.items()}
        if tracing.capture_content:
            attributes |= tracing.named({"input_messages": _messages("user", [query.text])})
        self.span = tracing.tracer.start_span(f"invoke_workflow {_WORKFLOW}", attributes=attributes)
        self.context = tracing.trace.set_span_in_context(self.span)

    def __enter__(self) -> CallTrace:
        """Return the span's context, which records errors."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, place: object) -> None:
        """End the span, with the error if there is one."""
        if error is not None:
            self.fail(error)

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which this span is the parent of others."""
        return _current(self.tracing, self.span)

    def decided(self, decision: Any) -> None:
        """Record the decision and its reason."""
        policy = decision.policy
        known = {
            "plan": str(decision.plan),
            "reason": decision.reason,
            "familiarity": decision.familiarity,
            "match_probability": decision.match_probability,
            "expected_quality": decision.expected_quality,
            "estimated_cost_usd": decision.estimated_cost_usd,
            "policy": None if policy is None else str(policy),
            "promise": getattr(policy, "reason", None),
            "shadow.plan": None if decision.shadow is None else str(decision.shadow.plan),
        }
        self.span.set_attributes({f"bestroute.{k}": v for k, v in known.items() if v is not None})

    def draw(self, model: str, n: int, step: int, generator: Any, attempt: int) -> DrawTrace:
        """Start the span of one request to a member."""
        return DrawTrace(self, model, n, step, generator, attempt)

    def end(self, result: Any) -> None:
        """End the span with the answer, its cost and the saving."""
        self.decided(result.decision)  # what ran may be another plan than the first
        cost, reference = result.cost_usd, result.reference_cost_usd
        self.span.set_attributes(
            {
                "bestroute.model": result.model,
                "bestroute.samples": len(result.samples),
                "bestroute.chosen": result.chosen,
                "bestroute.cost_usd": cost,
                "bestroute.reference_cost_usd": reference,
                "bestroute.reference_cost_is_estimated": result.reference_cost_is_estimated,
            }
        )
        self._note_rewards(result.samples)
        if self.tracing.capture_content:
            self.span.set_attributes(self.tracing.named({"output_messages": _messages("assistant", [result.text])}))
        if self.kind == "draw":
            self.tracing.saved.add(reference - cost, {"bestroute.model": result.model})
        self._close({})

    def fail(self, error: BaseException) -> None:
        """End the span with an error and the cost; a stream closed by its reader has no error."""
        if self._is_ended:
            return
        self.span.set_attribute("bestroute.cost_usd", sum(self.costs_usd))
        if isinstance(error, GeneratorExit):
            self.span.set_attribute("bestroute.abandoned", True)
            self._close({})
            return
        kind = _kind(error)
        self.span.set_attribute(self.tracing.names["error"], kind)
        self.span.set_status(self.tracing.trace.StatusCode.ERROR, describe(error, self.query))
        self._close({self.tracing.names["error"]: kind})

    def _note_rewards(self, samples: Sequence[DrawnSample]) -> None:
        names = self.tracing.names
        if "evaluation_event" not in names:
            return
        for i, sample in enumerate(samples):
            if sample.reward is not None and sample.reward == sample.reward:
                known: dict[str, Any] = {
                    names["evaluation_name"]: "bestroute.reward",
                    names["evaluation_score"]: float(sample.reward),
                    "bestroute.model": sample.model,
                    "bestroute.sample": i,
                    "bestroute.accepted": sample.accepted,
                }
                self.span.add_event(names["evaluation_event"], known)

    def _close(self, more: Mapping[str, Any]) -> None:
        if not self._is_ended:
            self._is_ended = True
            attributes = {**self.tracing.named({"operation": "invoke_workflow", "workflow": _WORKFLOW}), **more}
            self.tracing.call_duration.record(time.perf_counter() - self.started, attributes)
            self.span.end()


class DrawTrace:
    """The span of one request to a member, which may bring several samples."""

    def __init__(self, call: CallTrace, model: str, n: int, step: int, generator: Any, attempt: int) -> None:
        """Start the span."""
        self.call, self.tracing, self.model = call, call.tracing, model
        self.started = time.perf_counter()
        request_model = getattr(generator, "model_name", None) or getattr(generator, "model", None) or model
        self.known = self.tracing.named(
            {
                "operation": "chat",
                "provider": getattr(generator, "provider", None) or _OTHER,
                "request_model": str(request_model),
            }
        )
        attributes = {**self.known, "bestroute.model": model, "bestroute.step": step, "bestroute.attempt": attempt}
        attributes |= self.tracing.named({"choices": n if n > 1 else None})
        self.span = self.tracing.tracer.start_span(
            f"chat {request_model}",
            context=call.context,
            kind=self.tracing.trace.SpanKind.CLIENT,
            attributes=attributes,
        )

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which this span is the parent of the member's own spans."""
        return _current(self.tracing, self.span)

    def end(self, drawn: Sequence[DrawnSample]) -> None:
        """End the span with the samples and their bills."""
        tracing = self.tracing
        usages = [sample.usage for sample in drawn if sample.usage is not None]
        cost = sum(sample.cost_usd for sample in drawn)
        self.call.costs_usd.append(cost)
        attributes: dict[str, Any] = {"bestroute.cost_usd": cost}
        error = next((sample.error for sample in drawn if sample.error is not None), None)
        model = next((m for s in drawn if (m := response_model(s.sample.payload)) is not None), None)
        known = {**self.known, **tracing.named({"response_model": model})}
        if usages:
            total = sum(usages[1:], usages[0])
            tokens = {"input_tokens": total.input, "output_tokens": total.output}
            details = {"cached_input_tokens": total.cached_input, "cache_write_tokens": total.cache_write}
            details["reasoning_tokens"] = total.reasoning
            attributes |= tracing.named({**tokens, **{name: count or None for name, count in details.items()}})
            attributes["bestroute.usage_is_estimated"] = total.estimated
            for kind, count in (("input", total.input), ("output", total.output)):
                tracing.tokens.record(count, {**known, **tracing.named({"token_type": kind})})
        reasons = [s.sample.finish_reason for s in drawn if s.sample.finish_reason is not None]
        flaws = [sample.flaw for sample in drawn if sample.flaw is not None]
        attributes |= tracing.named({"response_model": model, "finish_reasons": reasons or None})
        if flaws:
            attributes["bestroute.flaws"] = flaws
        if tracing.capture_content:
            texts = [sample.text for sample in drawn if sample.error is None]
            attributes |= tracing.named({"output_messages": _messages("assistant", texts) if texts else None})
        if error is not None:
            kind = _kind(error)
            attributes[tracing.names["error"]] = known[tracing.names["error"]] = kind
            self.span.set_status(tracing.trace.StatusCode.ERROR, describe(error, self.call.query))
        self.span.set_attributes(attributes)
        tracing.duration.record(time.perf_counter() - self.started, known)
        tracing.cost.add(cost, {"bestroute.model": self.model, "bestroute.kind": self.call.kind})
        self.span.end()


def response_model(payload: Any) -> str | None:
    """Return the model name that the provider reports in a framework's reply, if any.

    Example:
        >>> response_model({"model": "gpt-4o-2024-08-06"})
        'gpt-4o-2024-08-06'
    """
    for holder in (payload, getattr(payload, "message", None), getattr(payload, "raw", None)):
        metadata = getattr(holder, "response_metadata", None)
        for source, name in ((metadata, "model_name"), (metadata, "model"), (holder, "model")):
            value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
            if isinstance(value, str) and value:
                return value
    return None


def _current(tracing: Tracing, span: Any) -> AbstractContextManager[Any]:
    made: AbstractContextManager[Any] = tracing.trace.use_span(
        span, record_exception=False, set_status_on_exception=False
    )
    return made


def _messages(role: str, texts: Sequence[str]) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]} for text in texts])


def _kind(error: BaseException) -> str:
    """Return an error's type as the convention defines it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
