"""What the configuration says of traces, and of who scores answers: sent, called, and refused in one sentence."""

import http.server
import io
import sys
import threading
import time

import pytest
import yaml

from bestroute import ConfigError
from bestroute.demo.dataset import ROUTER, demo_pool, held_out
from bestroute.monitoring.tracing.spans import Tracing
from bestroute.server import telemetry
from bestroute.server.config import read_config
from bestroute.server.engines import Engines
from bestroute.server.service import Service
from bestroute.server.telemetry import TelemetrySettings

MEMBERS = {"small": {"input_price": 1, "output_price": 2}, "large": {"input_price": 10, "output_price": 20}}
POOL = {"reference": "large", "models": MEMBERS}


@pytest.fixture
def collector():
    """What takes OTLP by HTTP, and keeps the bodies by path."""
    received = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            received.setdefault(self.path, []).append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    received["url"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield received
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("content", [False, True])
def test_spans_and_metrics_go_to_the_collector_with_text_only_if_it_is_wanted(serve, collector, content, monkeypatch):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")  # the file's word counts
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    section = {"exporter": "otlp", "endpoint": collector["url"], "service": "router", "capture_content": content}
    served = serve(tracing=section)
    call_id = served.chat("Where is the geheim?").json()["bestroute"]["call_id"]
    served.stop()
    traces = [
        resource
        for body in collector["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
    ]
    spans = [span for resource in traces for scope in resource.scope_spans for span in scope.spans]
    assert {a.value.string_value for a in traces[0].resource.attributes if a.key == "service.name"} == {"router"}
    assert sorted(span.name for span in spans) == ["chat large-max", "invoke_workflow bestroute"]
    ids = [a.value.string_value for span in spans for a in span.attributes if a.key == "bestroute.call_id"]
    assert ids == [call_id]
    assert (b"geheim" in b"".join(collector["/v1/traces"])) is content
    assert b"geheim" not in b"".join(collector["/v1/metrics"])
    metrics = [
        metric.name
        for body in collector["/v1/metrics"]
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert {"gen_ai.client.token.usage", "bestroute.cost"} <= set(metrics)


@pytest.mark.parametrize("stream", [False, True])
def test_spans_go_on_with_the_callers_trace_where_the_request_names_it(serve, monkeypatch, stream):
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    kept = memory.InMemorySpanExporter()
    monkeypatch.setattr(TelemetrySettings, "_exporters", lambda self: (kept, ConsoleMetricExporter(out=io.StringIO())))
    served = serve(tracing={"exporter": "console", "share": 0.0})
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    trace_id, span_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    for flags, headers in ((1, True), (0, True), (1, False)):
        parent = {"traceparent": f"00-{trace_id}-{span_id}-0{flags}"} if headers else {}
        assert served.post("/v1/chat/completions", body, **parent).status_code == 200
    served.stop()
    spans = {span.name.split()[0]: span for span in kept.get_finished_spans()}
    assert sorted(spans) == ["chat", "invoke_workflow"], "of the one call that its caller traces"
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {trace_id}
    assert f"{spans['invoke_workflow'].parent.span_id:016x}" == span_id


def test_a_collector_that_hangs_is_waited_for_no_longer_than_it_may_take_and_after_the_bills(monkeypatch, caplog):
    pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    class Hanging(SpanExporter):
        def export(self, spans):
            assert is_over.wait(60)

    is_over = threading.Event()
    out = io.StringIO()
    monkeypatch.setattr(TelemetrySettings, "_exporters", lambda self: (Hanging(), ConsoleMetricExporter(out=out)))
    monkeypatch.setattr(telemetry, "_CLOSE_S", 0.2)
    tracing, close = TelemetrySettings("console").open()
    with tracing.tracer.start_as_current_span("a span"):
        pass
    close()
    assert "the collector did not take the last spans or metrics within 0.2 s" in caplog.text
    assert not is_over.is_set()
    is_over.set()


def test_traces_are_sent_when_every_bill_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    service, closed = Service(read(tmp_path, tracing=True)), []
    service.engines._end_tracing = lambda: closed.append("traces")
    for part, name in ((service.keys, "keys"), (service.engines.ledger, "ledger")):
        monkeypatch.setattr(part, "close", lambda name=name: closed.append(name))
    service.close()
    assert closed[-1] == "traces"
    assert {"keys", "ledger"} < set(closed)


def test_true_is_the_process_s_own_providers_and_no_text(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    assert read(tmp_path, tracing=False).tracing is None
    config = read(tmp_path, tracing=True)
    assert config.tracing == TelemetrySettings()
    engines = Engines(config)
    assert isinstance(engines.tracing, Tracing)
    assert not engines.tracing.capture_content
    assert all(engine._tracing is engines.tracing for engine in engines.each())
    engines.close()


def test_the_console_needs_no_exporter(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    tracing, close = TelemetrySettings("console", share=1.0).open()
    with tracing.tracer.start_as_current_span("a span"):
        pass
    close()
    assert '"name": "a span"' in capsys.readouterr().out
    tracing, close = TelemetrySettings("console", share=0.0).open()
    with tracing.tracer.start_as_current_span("another"):
        pass
    close()
    assert "another" not in capsys.readouterr().out


def test_a_missing_exporter_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    with pytest.raises(ImportError, match="exporter: otlp needs opentelemetry-exporter-otlp-proto-http: pip install"):
        TelemetrySettings("otlp").open()
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ImportError, match="exporter: console needs opentelemetry-sdk: pip install opentelemetry-sdk"):
        TelemetrySettings("console").open()


JUDGE = """
calls = []
def judge(query, texts):
    calls.append((query.text, list(texts)))
    return [0.25, 1.0]
def reward(query, texts):
    return [float(len(text)) for text in texts]
number = 3
"""


def test_audits_are_compared_by_the_judge_and_within_their_budget(serve, server, tmp_path):
    (tmp_path / "judge_of_audits.py").write_text(JUDGE)
    pool = demo_pool()
    members = {m: {"input_price": 1, "output_price": 2, "base_url": server.base_url} for m in pool.models}
    served = serve(
        pool={"reference": pool.reference, "max_n": pool.max_n, "models": members},
        router=str(ROUTER),
        reward="majority",
        policy="quality:0",
        audit=1,
        audit_budget={"usd": 0.5, "per": "day"},
        judge="judge_of_audits:judge",
    )
    query = held_out()[0].query
    answer = served.chat(query).json()
    assert answer["bestroute"]["model"] != pool.reference
    engine = served.service.engines.auto
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not any(row["kind"] == "audit" for row in engine.ledger.rows()):
        time.sleep(0.02)
    assert engine._auditor.drain(30)
    ((asked, texts),) = sys.modules["judge_of_audits"].calls
    assert asked == query
    assert texts[0] == answer["choices"][0]["message"]["content"]
    assert (engine.audit_budget.usd, engine.audit_budget.per) == (0.5, "day")
    (report,) = [report for report in engine.monitor() if report.lines]
    assert report.lines[0].audited == 1


def test_a_function_scores_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (tmp_path / "scores_answers.py").write_text(JUDGE)
    engines = Engines(read(tmp_path, reward="scores_answers:reward"))
    assert engines.auto.reward_model.score(None, ["a", "abc"]) == [1.0, 3.0]
    engines.close()


def read(folder, **fields):
    path = folder / "router.yaml"
    path.write_text(yaml.safe_dump({"pool": POOL, **fields}))
    return read_config(path)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tracing": "yes"}, "tracing must be true, false, or a mapping of 'exporter', .* got 'yes'"),
        ({"tracing": {"exporter": "zipkin"}}, "tracing: exporter must be one of 'global', 'otlp', 'console', got"),
        ({"tracing": {"endpont": "x"}}, "tracing: unknown field 'endpont'; .* Did you mean 'endpoint'?"),
        ({"tracing": {"endpoint": "http://h:4318"}}, "tracing: endpoint is the address of exporter: otlp"),
        ({"tracing": {"exporter": "otlp", "endpoint": "h:4318"}}, "such as http://localhost:4318, got 'h:4318'"),
        ({"tracing": {"exporter": "otlp", "endpoint": 3}}, "tracing: endpoint must be a text, got 3"),
        ({"tracing": {"service": "x"}}, "tracing: service and share are of an exporter"),
        ({"tracing": {"exporter": "otlp", "share": 2}}, r"tracing: share must be a number in \[0, 1\]"),
        ({"tracing": {"capture_content": "no"}}, "tracing: capture_content must be true or false, got 'no'"),
        ({"tracing": {"version": "0.1"}}, "yaml: tracing: version must be one of .*0.1"),
        ({"judge": "majority"}, "judge: 'majority' cannot compare two answers"),
        ({"judge": "nowhere"}, "judge must be the folder of a trained reward model or module:function, and .*nowhere"),
        ({"judge": "no_such_module:f"}, "judge: cannot import 'no_such_module:f'"),
        ({"judge": "json:nothing"}, "judge: cannot import 'json:nothing'"),
        ({"judge": 3}, "judge must be a text"),
        ({"reward": "json:__name__"}, "reward: 'json:__name__' is not a function"),
        ({"audit_budget": "much"}, "audit_budget must be a number of USD"),
    ],
)
def test_what_cannot_work_is_one_sentence_that_names_the_file(tmp_path, fields, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        read(tmp_path, **fields)
    assert str(refused.value).startswith(str(tmp_path / "router.yaml"))
    assert "\n" not in str(refused.value)
