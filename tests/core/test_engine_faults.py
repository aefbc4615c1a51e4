"""The rules for faults, each shown on the loopback server or on a fake: what is asked again, what takes whose place."""

import asyncio
import logging
import threading

import pytest

from bestroute import (
    BestRoute,
    ConfigError,
    Delta,
    GenerationError,
    MajorityVote,
    OpenAIGenerator,
    Plan,
    Pool,
    Price,
    Query,
    Result,
    Sample,
    Step,
    Usage,
    Verifier,
)
from bestroute.testing import FakeGenerator, FakeReward, FakeRouter
from bestroute.types.settings import Settings

openai = pytest.importorskip("openai")

ENGINES: list = []


@pytest.fixture(autouse=True)
async def _close():
    yield
    while ENGINES:
        await ENGINES.pop().aclose()


FAST = Settings(first_wait_s=0.001, max_wait_s=0.01)
PRICES = {"small": Price(1.0, 2.0), "mid": Price(3.0, 6.0), "large": Price(10.0, 30.0)}
POOL = Pool(["small", "mid", "large"], PRICES, "large")
TABLE = {("small", 1): 0.9, ("small", 3): 0.9, ("mid", 1): 0.9, ("large", 1): 1.0}


def on(server, router=("small", 1), *, settings=FAST, reward=None, **models):
    """Return an engine whose members are the loopback server's models of these names."""
    members = {
        name: OpenAIGenerator(models.get(name, name), base_url=server.base_url, api_key="sk-secret-key-123456")
        for name in POOL.models
    }
    if isinstance(router, tuple | Plan):
        decided = router
        router = lambda query: decided  # noqa: E731
    ENGINES.append(BestRoute(POOL, members, router, reward, settings=settings))
    return ENGINES[-1]


def asked(server):
    return [body["model"] for body in server.sent()]


def longest():
    return FakeReward(len)


# Raised at once.


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("fail-401-x", openai.AuthenticationError),
        ("fail-403-x", openai.PermissionDeniedError),
        ("fail-404-x", openai.NotFoundError),
        ("fail-400-x", openai.BadRequestError),
        ("fail-422-x", openai.UnprocessableEntityError),
    ],
)
def test_what_somebody_has_to_mend_is_raised_at_once_and_never_hidden_by_a_dearer_model(server, model, kind):
    engine = on(server, small=model)
    with pytest.raises(GenerationError, match="another model would only hide it") as caught:
        engine.run("hi")
    assert isinstance(caught.value.failures[-1].error, kind)
    assert isinstance(caught.value.__cause__, kind)
    assert asked(server) == [model]
    assert [row["status"] for row in engine.ledger.rows()] == ["failed"]


def test_an_error_of_the_first_step_of_a_plan_is_raised_before_the_second(server):
    plan = Plan((Step("small", 2, 0.9), Step("large")))
    with pytest.raises(GenerationError):
        on(server, plan, reward=Verifier(lambda q, t: True), small="fail-401-x").run("hi")
    assert asked(server) == ["fail-401-x"]


def test_a_client_that_cannot_be_built_is_raised_at_once(monkeypatch, server):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    members = {name: OpenAIGenerator(name) for name in POOL.models}
    with pytest.raises(GenerationError, match="api_key"):
        BestRoute(POOL, members, router=lambda q: ("small", 1), settings=FAST).run("hi")


def test_siblings_of_a_draw_that_is_raised_at_once_are_called_off():
    release = threading.Event()

    class Mixed(FakeGenerator):
        drawn = 0

        def generate(self, query, n, *, params, cancel):
            with self._lock:
                self.drawn += 1
                is_first = self.drawn == 1
            if is_first:
                raise ConfigError("mend me")
            release.wait(60)
            return [Sample("late", usage=Usage(1, 1))]

    members = {**{m: FakeGenerator([m]) for m in POOL.models}, "small": Mixed([""])}
    engine = BestRoute(POOL, members, router=lambda q: ("small", 3), reward_model=longest(), settings=FAST)
    with pytest.raises(GenerationError, match="mend me"):
        engine.run("hi")
    assert [row["status"] for row in engine.ledger.rows()] == ["failed"]
    release.set()
    wait_for(lambda: len(engine.ledger.rows()) == 3)
    assert [row["status"] for row in engine.ledger.rows()] == ["failed", "cancelled", "cancelled"]


def wait_for(is_true, seconds=60.0):
    waited = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if is_true():
            return
        waited.wait(0.005)
    raise AssertionError("it did not happen in time")


# Asked again.


@pytest.mark.parametrize(
    ("model", "kind"),
    [("flaky-2-x", "InternalServerError"), ("ratelimit-2-x", "RateLimitError")],
)
def test_a_fault_that_passes_is_asked_again_and_every_attempt_has_a_row(server, model, kind):
    engine = on(server, small=model)
    result = engine.run("hi")
    assert result.model == "small"
    assert asked(server) == [model] * 3
    assert [row["status"] for row in engine.ledger.rows()] == ["failed", "failed", "ok"]
    assert [(s.error and type(s.error).__name__) for s in result.samples] == [kind, kind, None]
    assert result.chosen == 2
    assert result.decision.reason == "chosen by the router function"  # nothing else took its place


def test_retries_do_not_multiply_with_the_clients_own(server):
    members = {m: OpenAIGenerator("fail-503-x", base_url=server.base_url, api_key="k", max_retries=5) for m in PRICES}
    with pytest.raises(GenerationError):
        BestRoute(POOL, members, settings=FAST).run("hi")
    assert len(server.requests) == FAST.attempts


@pytest.mark.parametrize(("max_retries", "requests"), [(0, 1), (1, 2), (4, 5)])
def test_max_retries_is_how_often_it_is_asked_again(server, max_retries, requests):
    members = {m: OpenAIGenerator("fail-500-x", base_url=server.base_url, api_key="k") for m in PRICES}
    with pytest.raises(GenerationError):
        BestRoute(POOL, members, settings=FAST, max_retries=max_retries).run("hi")
    assert len(server.requests) == requests


def test_an_empty_reply_is_asked_again_billed_and_then_another_model_answers(server):
    engine = on(server, small="empty-x")
    result = engine.run("how are you")
    assert asked(server) == ["empty-x"] * 3 + ["large"]
    assert result.model == "large"
    assert "'small' failed (the reply is empty), so large x 1" in result.decision.reason
    assert [row["error"] for row in engine.ledger.rows()] == ["the reply is empty"] * 3 + [None]
    billed = engine.ledger.totals()["all"]
    assert {"input": billed["input_tokens"], "output": billed["output_tokens"]} == server.usage


def test_where_every_reply_is_empty_the_last_one_is_the_answer_and_not_an_error(server):
    result = on(server, small="empty-x", large="empty-y").run("hi")
    assert (result.text, result.model) == ("", "large")
    assert result.decision.reason.endswith("nothing better came: the reply is empty")


def test_a_tool_call_without_text_is_not_an_empty_reply(server):
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    result = on(server).run(Query('CALL add({"a": 1})', tools=[tool]))
    assert asked(server) == ["small"]
    assert result.payload.tool_calls


@pytest.mark.parametrize("model", ["badjson-x", "drop-0-x"])
def test_an_answer_that_is_none_is_asked_again_and_then_another_model_answers(server, model):
    assert on(server, small=model).run("hi").model == "large"
    assert asked(server) == [model] * 3 + ["large"]


def test_a_connection_that_is_refused_is_asked_again_and_then_another_model_answers(server):
    engine = on(server)
    engine.generators["small"]._connection["base_url"] = "http://127.0.0.1:9/v1"
    result = engine.run("hi")
    assert result.model == "large"
    assert [type(s.error) for s in result.samples[:-1]] == [openai.APIConnectionError] * 3


def test_a_provider_that_asks_for_more_patience_than_there_is_is_not_asked_again(server):
    class Patient(FakeGenerator):
        def generate(self, query, n, *, params, cancel):
            self.calls.append((query.text, n))
            response = type("R", (), {"headers": {"retry-after": "60"}, "status_code": 429})()
            error = RuntimeError("slow down")
            error.response = response
            raise error

    members = {**{m: FakeGenerator([m]) for m in PRICES}, "small": Patient([""])}
    result = BestRoute(POOL, members, router=lambda q: ("small", 1), settings=FAST).run("hi")
    assert (result.model, len(members["small"].calls)) == ("large", 1)


def test_of_several_draws_only_those_that_failed_are_repeated(server):
    engine = on(server, ("small", 4), reward=longest(), small="flaky-1-x")
    result = engine.run("hi")
    assert len(server.requests) == 5
    assert sum(s.error is None for s in result.samples) == 4


def test_of_one_call_for_n_choices_only_the_missing_ones_are_asked_for_again(server):
    member = OpenAIGenerator("one-small", base_url=server.base_url, api_key="k", native_n=True)
    server.script("one-small", ["a", {"status": 500}, "bb", "ccc"])
    members = {m: member for m in PRICES}
    result = BestRoute(POOL, members, lambda q: ("small", 3), longest(), settings=FAST).run("hi")
    assert result.text == "ccc"
    assert [body.get("n") for body in server.sent()] == [3, 2, 2, None]


# Whose place is taken by whom.


def test_the_next_plan_by_the_policy_then_the_reference(server):
    router = FakeRouter(TABLE, [10.0, 10.0, 10.0])
    parts = {"reward": longest(), "small": "fail-500-s"}
    result = on(server, router, **parts).run("hi")
    assert result.model == "mid"
    assert asked(server) == ["fail-500-s"] * 3 + ["mid"]
    server.reset()
    result = on(server, router, mid="fail-429-m", **parts).run("hi")
    assert result.model == "large"
    assert asked(server) == ["fail-500-s"] * 3 + ["fail-429-m"] * 3 + ["large"]
    assert result.decision.reason.count("failed") == 2


def test_after_a_reference_that_failed_the_best_plan_left_answers(server):
    router = FakeRouter({("small", 1): (0.1, 0.4), ("mid", 1): (0.1, 0.6), ("large", 1): 1.0}, [10.0] * 3)
    result = on(server, router, large="fail-503-l").run("hi")
    assert (result.model, asked(server)) == ("mid", ["fail-503-l"] * 3 + ["mid"])


def test_a_router_function_that_chose_the_reference_has_nothing_to_fall_back_on(server):
    with pytest.raises(GenerationError) as caught:
        on(server, ("large", 1), large="fail-503-l").run("hi")
    assert asked(server) == ["fail-503-l"] * 3
    assert len(caught.value.failures) == 3


class BrokenRouter(FakeRouter):
    """Predicts until it is told not to."""

    def predict(self, queries):
        raise RuntimeError(f"cannot read {queries[0].text}")


@pytest.mark.parametrize("kind", ["function", "router"])
def test_a_router_that_raises_costs_no_answer(server, caplog, kind):
    broken = BrokenRouter({("small", 1): 1.0, ("mid", 1): 1.0, ("large", 1): 1.0}, [10.0] * 3)
    engine = on(server, broken if kind == "router" else lambda query: broken.predict([query]))
    result = engine.run("a private question")
    assert (result.model, asked(server)) == ("large", ["large"])
    assert result.decision.reason.startswith("the router failed (RuntimeError: cannot read ")
    assert result.decision.reason in caplog.text
    assert "private" not in caplog.text + result.decision.reason
    assert engine.route("hi", model="mid").model == "mid"
    assert engine.run("hi", allow=["small"]).model == "small"


def test_a_router_that_refuses_with_our_own_error_is_heard(server):
    def refuses(query):
        raise ConfigError("no such thing")

    with pytest.raises(ConfigError, match="no such thing"):
        on(server, refuses).run("hi")


@pytest.mark.parametrize(("model", "rule"), [("ctx-2-x", "context_length_exceeded"), ("filter-x", "content_filter")])
def test_a_prompt_that_a_member_cannot_take_goes_on_without_asking_again(server, model, rule):
    result = on(server, small=model).run("one two three four")
    assert (result.model, asked(server)) == ("large", [model, "large"])
    assert rule in result.decision.reason


def test_a_prompt_that_the_reference_cannot_take_goes_to_a_member_that_can(server):
    result = on(server, ("large", 1), large="ctx-2-x").run("one two three four")
    assert (result.model, asked(server)) == ("mid", ["ctx-2-x", "mid"])


def test_a_forced_model_never_falls_back(server):
    with pytest.raises(GenerationError) as caught:
        on(server, small="fail-500-x").run("hi", model="small")
    assert asked(server) == ["fail-500-x"] * 3
    assert isinstance(caught.value.failures[-1].error, openai.InternalServerError)


def test_a_wish_with_its_reason_gives_way_and_the_reason_says_so(server):
    result = on(server, ("mid", 1), small="fail-500-x").run("hi", model="small", reason="a tool turn stays")
    assert (result.model, asked(server)) == ("large", ["fail-500-x"] * 3 + ["large"])
    assert result.decision.reason.startswith("a tool turn stays; 'small' failed (InternalServerError")


def test_every_fallback_is_in_the_reason_and_logged_as_a_warning(server, caplog):
    with caplog.at_level(logging.WARNING, "bestroute"):
        result = on(server, small="fail-500-x").run("hi")
    assert "'small' failed (InternalServerError: " in result.decision.reason
    assert any(r.levelno == logging.WARNING and "so large x 1" in r.getMessage() for r in caplog.records)
    assert result.to_dict()["reason"] == result.decision.reason
    assert result.to_dict()["plan"] == [{"model": "large", "n": 1, "accept": None}]
    assert [s["step"] for s in result.to_dict()["samples"]] == [0, 0, 0, 1]


def test_a_step_that_fails_gives_way_to_the_next_and_the_reason_says_so(server):
    plan = Plan((Step("small", 1, 0.5), Step("large")))
    result = on(server, plan, reward=Verifier(lambda q, t: True), small="fail-500-x").run("hi")
    assert result.model == "large"
    assert "so the next step" in result.decision.reason


def test_only_when_everything_failed_there_is_an_error_with_every_failure(server):
    with pytest.raises(GenerationError) as caught:
        on(server, small="fail-500-x", large="fail-429-y").run("hi")
    assert [f.model for f in caught.value.failures] == ["small"] * 3 + ["large"] * 3
    assert isinstance(caught.value.failures[-1].error, openai.RateLimitError)
    assert isinstance(caught.value.__cause__, openai.RateLimitError)


async def test_async_runs_follow_the_same_rules(server):
    engine = on(server, ("small", 3), reward=longest(), small="fail-500-x")
    result = await engine.arun("hi")
    assert (result.model, sorted(asked(server))) == ("large", ["fail-500-x"] * 9 + ["large"])
    with pytest.raises(GenerationError, match="would only hide it"):
        await on(server, small="fail-401-x").arun("hi")


# Breakers.


def test_a_member_that_keeps_failing_rests_and_comes_back(server):
    settings = Settings(attempts=1, breaker_failures=2, breaker_rest_s=30.0)
    engine = on(server, settings=settings, small="fail-500-x")
    now = [0.0]
    engine.breakers.clock = lambda: now[0]
    for _ in range(4):
        assert engine.run("hi").model == "large"
    assert asked(server).count("fail-500-x") == 2
    resting = engine.run("hi")
    assert "'small' rests after repeated failures and was passed over" in resting.decision.reason
    assert len(resting.samples) == 1
    engine.generators["small"].model = "small"  # it is well again, but nobody knows yet
    assert engine.run("hi").model == "large"
    now[0] = 30.0
    assert engine.run("hi").model == "small"
    assert engine.run("hi").model == "small"


def test_a_member_that_rests_is_asked_all_the_same_where_nobody_else_can_answer(server):
    settings = Settings(attempts=1, breaker_failures=1, breaker_rest_s=1000.0)
    engine = on(server, ("large", 1), settings=settings, large="flaky-1-x")
    with pytest.raises(GenerationError):
        engine.run("hi")
    result = engine.run("hi")
    assert result.model == "large"
    assert "nobody else can answer" in result.decision.reason


@pytest.mark.parametrize(("native", "calls"), [(False, [1] * 5), (True, [1, 4])])
def test_one_sample_finds_out_whether_a_member_is_well_before_the_rest_is_drawn(native, calls):
    class Patient:
        native_n = native
        is_ill = True

        def __init__(self):
            self.calls = []

        def generate(self, query, n, *, params, cancel):
            self.calls.append(n)
            if self.is_ill:
                raise ConnectionError("down")
            return [Sample("x", usage=Usage(1, 1))] * n

    patient = Patient()
    members = {"small": patient, "mid": FakeGenerator(["mid"]), "large": FakeGenerator(["large"])}
    it = BestRoute(
        POOL,
        members,
        lambda q: ("small", 5),
        longest(),
        settings=Settings(attempts=1, breaker_failures=1, breaker_rest_s=0.0),
    )
    it.run("hi")  # it fails, and rests for no time at all
    patient.calls = []
    assert it.run("hi").text == "large"
    assert patient.calls == [1]
    patient.calls, patient.is_ill = [], False
    assert len(it.run("hi").samples) == 5
    assert patient.calls == calls
    assert not it.breakers.is_open("small")


def test_a_forced_model_is_asked_even_while_it_rests(server):
    settings = Settings(attempts=1, breaker_failures=1, breaker_rest_s=1000.0)
    engine = on(server, settings=settings, small="flaky-1-x")
    assert engine.run("hi").model == "large"
    assert engine.run("hi", model="small").model == "small"


def test_a_prompt_that_is_refused_says_nothing_about_the_members_health(server):
    engine = on(server, settings=Settings(attempts=1, breaker_failures=1), small="filter-x")
    for _ in range(3):
        engine.run("hi")
    assert asked(server).count("filter-x") == 3


# Rewards, truncation, usage.


def test_a_reward_model_that_raises_leaves_the_first_complete_sample(caplog):
    def broken(query, texts):
        raise RuntimeError("reward service is down")

    members = {**{m: FakeGenerator([m]) for m in PRICES}, "small": FakeGenerator(["one", "two"], native_n=True)}
    engine = BestRoute(POOL, members, lambda q: ("small", 2), broken)
    result = engine.run("hi")
    assert result.text == "one"
    assert "the reward model raised RuntimeError: reward service is down; nothing was scored" in result.decision.reason
    assert result.to_dict()["rewards"] == [None, None]


def test_a_reward_model_that_raises_accepts_nothing():
    class Broken:
        range = (0.0, 1.0)

        def score(self, query, texts):
            raise RuntimeError("down")

    members = {m: FakeGenerator([m]) for m in PRICES}
    plan = Plan((Step("small", 2, 0.1), Step("large")))
    result = BestRoute(POOL, members, lambda q: plan, Broken()).run("hi")
    assert (result.text, [s.model for s in result.samples]) == ("large", ["small", "small", "large"])
    assert result.decision.reason.count("down") == 1  # said once


async def test_a_reward_model_that_runs_out_does_not_hang_the_loop():
    class Empty:
        def score(self, query, texts):
            return next(iter(()))  # StopIteration, which no future can hold

    members = {m: FakeGenerator(["a", "b"], native_n=True) for m in PRICES}
    call = BestRoute(POOL, members, lambda q: ("small", 2), Empty()).arun("hi")
    assert (await asyncio.wait_for(call, 10)).text == "a"


async def test_a_reward_model_that_raises_in_a_loop_is_no_different():
    class Broken:
        async def ascore(self, query, texts):
            raise RuntimeError("down")

        def score(self, query, texts):
            raise AssertionError("not this one")

    members = {m: FakeGenerator(["a", "b"], native_n=True) for m in PRICES}
    result = await BestRoute(POOL, members, lambda q: ("small", 2), Broken()).arun("hi")
    assert result.text == "a"


@pytest.mark.parametrize("returned", [[None, None], ["no", "number"], [float("nan"), None], None, 1.0])
def test_a_reward_that_is_no_number_is_none_and_the_answer_is_kept(returned):
    members = {m: FakeGenerator(["a", "b"], native_n=True) for m in PRICES}
    engine = BestRoute(POOL, members, lambda q: ("small", 2), lambda query, texts: returned)
    result = engine.run("hi")
    assert (result.text, result.to_dict()["rewards"]) == ("a", [None, None])
    assert ("nothing was scored" in result.decision.reason) is not isinstance(returned, list)


def test_one_reward_that_is_no_number_stands_behind_the_others():
    members = {m: FakeGenerator(["a", "b"], native_n=True) for m in PRICES}
    engine = BestRoute(POOL, members, lambda q: ("small", 2), lambda query, texts: [None, -7])
    assert engine.run("hi").text == "b"


def test_a_verifier_that_cannot_tell_accepts_nothing():
    members = {m: FakeGenerator([m]) for m in PRICES}
    plan = Plan((Step("small", 2, 0.0), Step("large")))
    cannot_tell = Verifier(lambda query, text: float("nan"))
    result = BestRoute(POOL, members, lambda q: plan, cannot_tell).run("hi")
    assert (result.text, result.to_dict()["rewards"][0]) == ("large", None)


@pytest.mark.parametrize("returned", [None, [None], 1 / 3])
def test_a_calibration_that_fails_accepts_nothing_and_the_reason_says_so(returned):
    class Crooked:
        def score(self, query, texts):
            return [1.0] * len(texts)

        def calibrated(self, rewards):
            return returned

    members = {m: FakeGenerator([m]) for m in PRICES}
    plan = Plan((Step("small", 2, 0.0), Step("large")))
    result = BestRoute(POOL, members, lambda q: plan, Crooked()).run("hi")
    assert result.text == "large"
    assert result.decision.reason.count("nothing was accepted") == 1


def test_a_calibration_that_returns_the_wrong_number_is_named():
    class Short(FakeReward):
        def calibrated(self, rewards):
            return []

    members = {m: FakeGenerator([m]) for m in PRICES}
    engine = BestRoute(POOL, members, lambda q: Plan((Step("small", 1, 0.5), Step("large"))), Short(len))
    with pytest.raises(ConfigError, match="calibrated was given 1 rewards and returned 0 probabilities"):
        engine.run("hi")


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_json_cannot_hold_is_none_in_the_metadata(reward):
    members = {m: FakeGenerator(["a", "b"], native_n=True) for m in PRICES}
    result = BestRoute(POOL, members, lambda q: ("small", 2), FakeReward(lambda text: reward)).run("hi")
    assert result.to_dict()["rewards"] == [None, None]


def test_a_nan_is_never_accepted():
    members = {m: FakeGenerator([m]) for m in PRICES}
    plan = Plan((Step("small", 2, 0.0), Step("large")))
    reward = FakeReward(lambda text: float("nan"), is_probability=True)
    assert BestRoute(POOL, members, lambda q: plan, reward).run("hi").text == "large"


def test_of_equal_rewards_a_complete_text_goes_before_one_that_was_cut():
    def sample(text, reason):
        return Sample(text, usage=Usage(1, 1), finish_reason=reason)

    cut, whole = sample("cut", "length"), sample("whole", "stop")
    members = {**{m: FakeGenerator([m]) for m in PRICES}, "small": FakeGenerator([cut, whole], native_n=True)}
    engine = BestRoute(POOL, members, lambda q: ("small", 2), FakeReward(lambda text: 1.0))
    assert engine.run("hi").text == "whole"
    better = BestRoute(POOL, members, lambda q: ("small", 2), FakeReward(lambda text: float(text == "cut")))
    assert better.run("hi").text == "cut"  # the reward has read it


def test_a_text_that_was_cut_answers_where_it_is_alone(server):
    result = on(server, small="trunc-x").run("a b c d e f")
    assert (result.model, result.samples[0].sample.finish_reason) == ("small", "length")
    assert len(result.samples) == 1


def test_n_choices_without_usage_count_their_prompt_once(server):
    member = OpenAIGenerator("nousage-x", base_url=server.base_url, api_key="k", native_n=True)
    engine = BestRoute(POOL, {m: member for m in PRICES}, lambda q: ("small", 3), longest())
    result = engine.run(Query("four words are here", input_tokens=4))
    assert [s.usage.input for s in result.samples] == [4, 0, 0]
    assert all(row["estimated"] for row in engine.ledger.rows())


# Streams.


def stream(engine, **call):
    pieces = list(engine.stream("one two three four", **call))
    assert isinstance(pieces[-1], Result)
    return [p.text for p in pieces[:-1]], pieces[-1]


def test_a_stream_that_dies_before_its_first_token_is_tried_again_and_then_replaced(server):
    engine = on(server, small="drop-0-x")
    shown, result = stream(engine)
    assert asked(server) == ["drop-0-x"] * 3 + ["large"]
    assert result.model == "large"
    assert "".join(shown).startswith("[large#0]")
    assert len(shown) > 3  # the reference streams, too


@pytest.mark.parametrize("model", ["flaky-1-x", "ratelimit-2-x"])
def test_a_stream_that_cannot_be_opened_is_tried_again(server, model):
    shown, result = stream(on(server, small=model))
    assert result.model == "small"
    assert "".join(shown) == result.text


def test_a_stream_that_dies_later_raises_its_error_and_is_billed(server):
    engine = on(server, small="drop-3-x")
    shown = []
    with pytest.raises(GenerationError, match="broke off") as caught:
        shown.extend(engine.stream("one two three four"))
    assert isinstance(caught.value.failures[-1].error, ConnectionError)
    assert asked(server) == ["drop-3-x"]  # what was shown cannot be taken back
    (row,) = engine.ledger.rows()
    assert (row["status"], row["estimated"], row["output_tokens"] >= 3) == ("failed", True, True)


def test_a_stream_that_dies_later_may_be_kept_as_it_is(server):
    settings = Settings(first_wait_s=0.001, broken_stream="keep")
    engine = on(server, settings=settings, small="drop-3-x")
    shown, result = stream(engine)
    assert result.text == "".join(shown) != ""
    assert result.samples[0].sample.finish_reason == "broken"
    (row,) = engine.ledger.rows()
    assert (row["status"], row["estimated"]) == ("ok", True)


def test_a_stream_without_anything_in_it_is_an_empty_reply(server):
    shown, result = stream(on(server, small="empty-x"))
    assert (result.model, len(server.requests)) == ("large", 4)
    assert "".join(shown) == result.text


def test_nothing_is_shown_of_a_plan_that_may_reject_it(server):
    plan = Plan((Step("small", 1, 1.0), Step("large")))
    engine = on(server, plan, reward=Verifier(lambda q, text: text.startswith("[large")))
    shown, result = stream(engine)
    assert shown == [result.text]
    assert result.model == "large"


def test_the_only_sample_there_will_be_streams_even_if_it_has_to_be_accepted(server):
    plan = Plan((Step("small", 1, 1.0),))
    shown, result = stream(on(server, plan, reward=Verifier(lambda q, text: True)))
    assert len(shown) > 3
    assert result.samples[0].accepted
    shown, _ = stream(on(server, ("small", 4), reward=longest()), max_samples=1)
    assert len(shown) > 3


async def test_async_streams_follow_the_same_rules(server):
    async def run(engine):
        return [piece async for piece in engine.astream("one two three four")]

    pieces = await run(on(server, small="drop-0-x"))
    assert pieces[-1].model == "large"
    assert "".join(p.text for p in pieces[:-1]) == pieces[-1].text
    with pytest.raises(GenerationError, match="broke off"):
        await run(on(server, small="drop-3-x"))
    pieces = await run(on(server, settings=Settings(broken_stream="keep"), small="drop-3-x"))
    assert pieces[-1].samples[0].sample.finish_reason == "broken"
    with pytest.raises(GenerationError, match="would only hide it"):
        await run(on(server, small="fail-401-x"))


async def test_an_async_stream_that_is_closed_is_billed_at_once():
    class Endless(FakeGenerator):
        closed = False

        async def astream(self, query, *, params, cancel):
            try:
                while True:
                    yield Delta("word ")
                    await asyncio.sleep(0)
            finally:
                self.closed = True

    members = {m: Endless([m]) for m in PRICES}
    engine = BestRoute(POOL, members, lambda q: ("small", 1))
    pieces = engine.astream("hi")
    await anext(pieces)
    await pieces.aclose()
    (row,) = engine.ledger.rows()
    assert (row["status"], members["small"].closed) == ("cancelled", True)


def test_a_role_without_text_does_not_count_as_the_first_token():
    class Dies(FakeGenerator):
        def stream(self, query, *, params, cancel):
            self.calls.append((query.text, 1))
            yield Delta("")
            raise ConnectionError("gone")

    members = {**{m: FakeGenerator([m]) for m in PRICES}, "small": Dies(["x"])}
    pieces = list(BestRoute(POOL, members, lambda q: ("small", 1), settings=FAST).stream("hi"))
    assert pieces[-1].model == "large"
    assert len(members["small"].calls) == 3


# What one member cannot do.


def test_members_that_lack_something_are_no_fallback():
    class NoImages(FakeGenerator):
        def lacks(self, query):
            return "it takes no images"

    members = {"small": FakeGenerator([OSError("down")]), "mid": NoImages(["mid"]), "large": FakeGenerator(["large"])}
    router = FakeRouter(TABLE, [10.0, 10.0, 10.0])
    result = BestRoute(POOL, members, router, longest(), settings=FAST).run("hi")
    assert (result.model, members["mid"].calls) == ("large", [])


def test_votes_agree_across_models_and_the_posterior_of_the_leader_ends_the_plan():
    answers = {"small": ["4", "5"], "mid": ["4"], "large": ["9"]}
    members = {m: FakeGenerator(a) for m, a in answers.items()}
    plan = Plan((Step("small", 2, 0.85), Step("mid", 1, 0.65), Step("large")))
    result = BestRoute(POOL, members, lambda q: plan, MajorityVote()).run("2 + 2?")
    # 4, 5: tied at 0.5; with mid's 4 two votes against one: Pr[Beta(3, 2) > 1/2] = 0.6875
    assert (result.text, result.chosen, members["large"].calls) == ("4", 0, [])
    assert [s.reward for s in result.samples] == [0.6875, 0.3125, 0.6875]
