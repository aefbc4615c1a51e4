"""Spans and metrics of OpenTelemetry: one span a call, one a request to a member, every token and dollar once."""

import asyncio
import json
import subprocess
import sys

import pytest

from bestroute import (
    BestRoute,
    BudgetError,
    ConfigError,
    GenerationError,
    Plan,
    Pool,
    Price,
    Sample,
    Settings,
    Step,
    Usage,
)
from bestroute.monitoring.tracing import instrument, tracing_in_use, uninstrument
from bestroute.testing import FakeGenerator, FakeReward
from bestroute.types.bases import GeneratorBase
from bestroute.types.sample import Delta

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bestroute.monitoring.tracing.semantic_names import VERSIONS
from bestroute.monitoring.tracing.spans import CAPTURE, Tracing, response_model

SECRET = "the patient is called Ada"
POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large", max_n=5)


class Exported:
    """What went out, in memory."""

    def __init__(self, **options):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(self.provider, MeterProvider([self.reader]), **options)

    def spans(self, start=""):
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(start)]

    @property
    def call(self):
        (call,) = self.spans("invoke_workflow")
        return call

    def metric(self, name):
        data = self.reader.get_metrics_data()
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        points = [point for m in metrics if m.name == name for point in m.data.data_points]
        return {tuple(sorted(p.attributes.items())): getattr(p, "sum", getattr(p, "value", None)) for p in points}


@pytest.fixture
def exported():
    return Exported()


class Member(GeneratorBase):
    """Notes which span is current where it is called."""

    model_name, provider = "provider-small", "acme"

    def __init__(self, texts=("yes",), error=None):
        self.texts, self.error, self.current = texts, error, []

    def _sample(self, text):
        self.current.append(trace.get_current_span().get_span_context().span_id)
        if self.error is not None:
            raise self.error
        usage = Usage(100, 10, cached_input=40, reasoning=4)
        return Sample(text, {"model": "provider-small-2026"}, usage, "stop")

    def generate(self, query, n, *, params, cancel):
        return [self._sample(text) for text in self.texts[:n]]

    async def agenerate(self, query, n, *, params, cancel):
        await asyncio.sleep(0)
        return [self._sample(text) for text in self.texts[:n]]

    def stream(self, query, *, params, cancel):
        sample = self._sample(self.texts[0])
        for letter in sample.text:
            yield Delta(letter)
        yield sample

    async def astream(self, query, *, params, cancel):
        for piece in self.stream(query, params=params, cancel=cancel):
            yield piece


def engine(exported, member=None, plan=("small", 1), **options):
    members = {"small": member or Member(), "large": FakeGenerator(["dear"], usage=Usage(100, 20))}
    return BestRoute(POOL, members, lambda query: plan, tracing=exported.tracing, **options)


async def _arun(routed, way):
    if way == "arun":
        return await routed.arun(SECRET)
    async for item in routed.astream(SECRET):
        last = item
    return last


def run(routed, way):
    if way == "run":
        return routed.run(SECRET)
    if way == "stream":
        return list(routed.stream(SECRET))[-1]
    return asyncio.run(_arun(routed, way))


WAYS = ["run", "stream", "arun", "astream"]


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_a_span_and_each_draw_a_child_with_its_tokens(exported, way):
    member = Member()
    with exported.provider.get_tracer("mine").start_as_current_span("request") as request:
        result = run(engine(exported, member), way)
    call, (draw,) = exported.call, exported.spans("chat")
    assert call.parent.span_id == request.get_span_context().span_id
    assert draw.parent.span_id == call.context.span_id
    assert draw.name == "chat provider-small"
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "provider-small",
        "gen_ai.response.model": "provider-small-2026",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.reasoning.output_tokens": 4,
        "bestroute.model": "small",
        "bestroute.cost_usd": result.cost_usd,
    }
    assert {name: draw.attributes.get(name) for name in wanted} == wanted
    assert draw.kind is trace.SpanKind.CLIENT
    assert call.attributes["gen_ai.operation.name"] == "invoke_workflow"
    assert call.attributes["bestroute.call_id"] == result.call_id
    assert call.attributes["bestroute.plan"] == "small x 1"
    assert call.attributes["bestroute.reason"] == result.decision.reason
    assert call.attributes["bestroute.reference_cost_usd"] == result.reference_cost_usd
    assert not [name for name in call.attributes if name.startswith("gen_ai.usage")]
    assert member.current == [draw.context.span_id]
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("way", ["run", "arun"])
def test_draws_in_threads_and_tasks_stand_below_their_call(exported, way):
    member = Member()
    run(engine(exported, member, plan=("small", 3), reward_model=FakeReward(len)), way)
    draws = exported.spans("chat")
    assert len(draws) == 3
    assert {draw.parent.span_id for draw in draws} == {exported.call.context.span_id}
    assert sorted(member.current) == sorted(draw.context.span_id for draw in draws)


def test_calls_side_by_side_do_not_mix(exported):
    routed = engine(exported, plan=("small", 2), reward_model=FakeReward(len))

    async def many():
        return await asyncio.gather(*(routed.arun(f"q{i}") for i in range(20)))

    results = asyncio.run(many())
    calls = {span.context.span_id: span.attributes["bestroute.call_id"] for span in exported.spans("invoke_workflow")}
    assert set(calls.values()) == {result.call_id for result in results}
    parents = [span.parent.span_id for span in exported.spans("chat")]
    assert all(parents.count(span_id) == 2 for span_id in calls)


def test_rewards_are_events_of_evaluation(exported):
    run(engine(exported, plan=("small", 2), member=Member(), reward_model=FakeReward(len)), "run")
    events = [event for event in exported.call.events if event.name == "gen_ai.evaluation.result"]
    assert [event.attributes["gen_ai.evaluation.score.value"] for event in events] == [3.0, 3.0]
    assert [event.attributes["bestroute.sample"] for event in events] == [0, 1]


class NChoices(Member):
    native_n = True

    def __init__(self):
        super().__init__(("a", "bb", "ccc"))


def test_choices_of_one_request_are_one_span(exported):
    run(engine(exported, NChoices(), plan=("small", 3), reward_model=FakeReward(len)), "run")
    (draw,) = exported.spans("chat")
    assert draw.attributes["gen_ai.request.choice.count"] == 3


@pytest.mark.parametrize("way", WAYS)
def test_what_failed_says_so_without_the_query(exported, way):
    member = Member(error=ValueError(f"cannot answer {SECRET!r}"))
    plan = Plan((Step("small", 1),))
    routed = BestRoute(
        Pool(["small"], {"small": Price(1, 2)}, "small"),
        {"small": member},
        lambda query: plan,
        tracing=exported.tracing,
    )
    with pytest.raises(GenerationError):
        run(routed, way)
    draws, call = exported.spans("chat"), exported.call
    assert draws
    assert {draw.attributes["error.type"] for draw in draws} == {"ValueError"}
    assert call.attributes["error.type"].endswith("GenerationError")
    for span in (*draws, call):
        assert span.status.status_code is trace.StatusCode.ERROR
        assert SECRET not in span.to_json()


def test_repeated_draws_are_spans_of_their_own(exported):
    class Once(Member):
        def _sample(self, text):
            if not self.current:
                self.current.append(0)
                raise ConnectionError("reset")
            return super()._sample(text)

    routed = engine(exported, Once(), settings=Settings(attempts=2, first_wait_s=0.0))
    routed.run("q")
    assert [draw.attributes["bestroute.attempt"] for draw in exported.spans("chat")] == [1, 2]
    assert exported.call.status.status_code is trace.StatusCode.UNSET


def test_a_stream_that_is_left_ends_its_spans(exported):
    stream = engine(exported, Member(["a long answer"])).stream("q")
    assert next(stream).text
    stream.close()
    assert exported.call.attributes["bestroute.abandoned"] is True
    (draw,) = exported.spans("chat")
    assert draw.attributes["gen_ai.usage.output_tokens"] >= 1


class Slow(Member):
    """Has something to say, and never ends."""

    async def agenerate(self, query, n, *, params, cancel):
        self.begun.set()
        await asyncio.sleep(60)

    async def cancelled(self, routed):
        self.begun = asyncio.Event()
        task = asyncio.ensure_future(routed.arun("q"))
        await self.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def _left(routed, member):
    stream = routed.stream("q")
    next(stream)
    stream.close()


def _without_an_answer(routed, member):
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    member.error = ValueError("refused")
    member.error.body = {"usage": usage}
    with pytest.raises(GenerationError):
        routed.run("q", model="small")


@pytest.mark.parametrize(
    "end", [_left, _without_an_answer, lambda routed, member: asyncio.run(member.cancelled(routed))]
)
def test_what_a_call_cost_stands_on_its_span_however_it_ends(exported, end):
    member = Slow(["a long answer"])
    routed = engine(exported, member)
    end(routed, member)
    assert routed.ledger.cost_usd > 0
    assert exported.call.attributes["bestroute.cost_usd"] == pytest.approx(routed.ledger.cost_usd)


def test_a_call_that_nothing_fits_is_a_span_without_draws(exported):
    with pytest.raises(BudgetError):
        engine(exported, budget=1e-12).run("q")
    assert exported.call.attributes["error.type"].endswith("BudgetError")
    assert exported.spans("chat") == []


def test_audits_are_calls_of_their_own_kind(exported):
    routed = engine(exported, audit=1.0)
    result = routed.run("What is 12 * 7? Answer with only the number.")
    routed.close()
    kinds = {span.attributes["bestroute.kind"]: span for span in exported.spans("invoke_workflow")}
    assert set(kinds) == {"draw", "audit"}
    assert kinds["audit"].attributes["bestroute.call_id"] == result.call_id
    assert routed.monitor()
    assert exported.metric("bestroute.alarms")


class Breaking(Member):
    """Answers until it is broken."""

    is_broken = False

    def generate(self, query, n, *, params=None, cancel=None):
        if self.is_broken:
            raise ConnectionError("no")
        return super().generate(query, n, params=params, cancel=cancel)


def test_alarms_raised_beside_calls_are_counted_by_kind_and_member(exported):
    member, told = Breaking(), []
    settings = Settings(attempts=1, breaker_failures=10_000)
    routed = engine(exported, member, audit=0.5, settings=settings, on_alarm=told.append)
    for i in range(400):
        member.is_broken = i >= 300
        routed.run("What is 12 * 7? Answer with only the number.")
    routed.close()
    counted = exported.metric("bestroute.alarms_raised")
    assert counted[("bestroute.alarm.kind", "error"), ("bestroute.model", "small")] == 1
    assert sum(counted.values()) == len(told)


def test_no_text_goes_out_unless_that_is_opted_for(exported, monkeypatch):
    run(engine(exported, Member(["the secret answer"])), "run")
    assert not any(SECRET in span.to_json() or "secret answer" in span.to_json() for span in exported.spans())
    monkeypatch.setenv(CAPTURE, "true")
    told = Exported()
    run(engine(told, Member(["the secret answer"])), "run")
    (sent,) = json.loads(told.call.attributes["gen_ai.input.messages"])
    assert sent == {"role": "user", "parts": [{"type": "text", "content": SECRET}]}
    assert "secret answer" in told.call.attributes["gen_ai.output.messages"]


def test_metrics_add_up_to_the_ledger(exported):
    routed = engine(exported, plan=("small", 2), reward_model=FakeReward(len))
    for _ in range(3):
        routed.run("q")
    total = routed.ledger.totals()["all"]
    tokens = exported.metric("gen_ai.client.token.usage")
    by_type = {dict(key)["gen_ai.token.type"]: value for key, value in tokens.items()}
    assert by_type == {"input": total["input_tokens"], "output": total["output_tokens"]}
    assert sum(exported.metric("bestroute.cost").values()) == pytest.approx(total["cost_usd"])
    saved = total["reference_cost_usd"] - total["cost_usd"]
    assert sum(exported.metric("bestroute.saved").values()) == pytest.approx(saved)
    assert exported.metric("gen_ai.client.operation.duration")
    assert exported.metric("gen_ai.invoke_agent.duration")


@pytest.mark.parametrize("version", list(VERSIONS))
def test_names_follow_the_version(version):
    exported = Exported(version=version)
    run(engine(exported), "run")
    attributes = {name for span in exported.spans() for name in span.attributes if name.startswith("gen_ai.")}
    assert attributes <= set(VERSIONS[version].values())
    assert ("gen_ai.system" in attributes) == (version == "1.36")


def test_an_unknown_version_or_switch_is_refused():
    with pytest.raises(ConfigError, match="version must be one of"):
        Tracing(version="9")
    with pytest.raises(ConfigError, match="tracing must be True, False, None or a Tracing"):
        BestRoute(POOL, {m: FakeGenerator(["a"]) for m in POOL.models}, tracing="yes")


def test_one_switch_traces_every_engine_that_says_nothing(exported):
    def routed(**options):
        return BestRoute(POOL, {m: FakeGenerator(["a"]) for m in POOL.models}, lambda query: "small", **options)

    instrument(tracer_provider=exported.provider)
    try:
        routed().run("q")
        routed(tracing=False).run("q")
    finally:
        uninstrument()
    routed().run("q")
    assert len(exported.spans("invoke_workflow")) == 1
    assert tracing_in_use(None) is None


def test_nothing_of_it_is_imported_before_it_is_switched_on():
    code = (
        "import sys, bestroute; from bestroute import *; from bestroute.testing import FakeGenerator\n"
        "pool = Pool(['a'], {'a': Price(1, 2)}, 'a'); BestRoute(pool, {'a': FakeGenerator(['x'])}).run('q')\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry') or m.endswith('tracing.spans')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"bestroute\[otel\]"):
        Tracing()


def test_who_answered_is_read_from_any_frameworks_object():
    assert response_model({"model": "m-1"}) == "m-1"
    assert response_model(None) is None
    assert response_model(object()) is None
