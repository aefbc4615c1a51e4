"""Rolling out: the shadow, a share, nothing; in every one of them the reference answers as it would alone."""

import asyncio
import itertools
import threading

import pytest

from bestroute import BestRoute, ConfigError, GenerationError, Query, Result
from bestroute.testing import FakeGenerator


def engine(pool, *, large=("dear",), **settings):
    members = {"small": FakeGenerator(["cheap"]), "mid": FakeGenerator(["fair"]), "large": FakeGenerator(list(large))}
    settings.setdefault("router", lambda query: "small")
    return BestRoute(pool, members, **settings)


def answered(routed, query="hi", way="run", **options):
    if way == "run":
        return routed.run(query, **options)
    if way == "arun":
        return asyncio.run(routed.arun(query, **options))
    if way == "stream":
        return list(routed.stream(query, **options))[-1]

    async def last():
        return [item async for item in routed.astream(query, **options)][-1]

    return asyncio.run(last())


WAYS = pytest.mark.parametrize("way", ["run", "arun", "stream", "astream"])


@WAYS
def test_off_asks_the_reference_alone_and_decides_nothing(pool, way):
    def router(query):
        raise AssertionError("nothing is to be decided")

    routed = engine(pool, router=router, mode="off")
    result = answered(routed, way=way)
    assert (result.text, result.model, len(result.samples)) == ("dear", "large", 1)
    assert "mode 'off'" in result.decision.reason
    assert not result.reference_cost_is_estimated
    assert result.cost_usd == result.reference_cost_usd


@WAYS
def test_in_the_shadow_the_reference_answers_and_what_was_decided_is_written(pool, way):
    routed = engine(pool, mode="shadow")
    result = answered(routed, way=way)
    assert (result.text, result.to_dict()["plan"]) == ("dear", [{"model": "large", "n": 1, "accept": None}])
    assert result.to_dict()["shadow"] == [{"model": "small", "n": 1, "accept": None}]
    assert "small x 1" in result.decision.reason
    (row,) = routed.ledger.rows()
    assert (row["model"], row["plan"]) == ("large", "large x 1")
    assert "mode 'shadow'" in row["reason"]
    assert "small x 1" in row["reason"]
    assert routed.generators["small"].calls == []


def test_a_stream_in_the_shadow_comes_as_the_reference_sends_it(pool):
    routed = engine(pool, large=["one two three"], mode="shadow")
    assert [item.text for item in routed.stream("hi") if not isinstance(item, Result)] == ["one ", "two ", "three "]


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_the_errors_of_the_reference_are_its_own_and_nobody_takes_its_place(pool, mode):
    routed = engine(pool, large=[RuntimeError("broken")], mode=mode, max_retries=0)
    with pytest.raises(GenerationError, match="broken") as caught:
        routed.run("hi")
    assert [failure.model for failure in caught.value.failures] == ["large"]
    assert routed.generators["small"].calls == routed.generators["mid"].calls == []


@WAYS
@pytest.mark.patient(0.4)
def test_a_router_that_fails_or_hangs_in_the_shadow_costs_no_answer(pool, way, seconds):
    def fails(query):
        raise OSError("no index")

    assert "no index" in answered(engine(pool, router=fails, mode="shadow"), way=way).decision.reason
    is_over = threading.Event()
    hangs = engine(pool, router=lambda query: is_over.wait(60) and "small", mode="shadow")
    try:
        result = answered(hangs, way=way, deadline_s=seconds)
    finally:
        is_over.set()
    assert result.text == "dear"
    assert "nothing was decided" in result.decision.reason


def test_the_mode_is_set_at_run_time(pool):
    routed, models = engine(pool), []
    for mode in ("on", "off", "on", "shadow"):
        routed.mode = mode
        models.append(routed.run("hi").model)
    assert models == ["small", "large", "small", "large"]
    for wrong in ("of", None, 1):
        with pytest.raises(ConfigError, match="mode must be one of 'on', 'shadow', 'off', got"):
            routed.mode = wrong
    for wrong in (-0.1, 1.1, "half", True, float("nan")):
        with pytest.raises(ConfigError, match=r"share must be a number in \[0, 1\]"):
            routed.share = wrong
    assert (routed.mode, routed.share) == ("shadow", 1.0)


def routed_sessions(pool, share, **options):
    routed = engine(pool, share=share)
    return {i for i in range(400) if routed.route("hi", **{k: v(i) for k, v in options.items()}).model == "small"}


@pytest.mark.parametrize(
    "options", [{"session": lambda i: f"s{i}"}, {"tags": lambda i: {"user": f"u{i}"}}], ids=["session", "user"]
)
def test_shares_are_nested_and_as_large_as_they_say(pool, options):
    shares = [routed_sessions(pool, share, **options) for share in (0.0, 0.01, 0.1, 0.5, 1.0)]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(shares))
    assert (len(shares[0]), len(shares[-1])) == (0, 400)
    assert 20 <= len(shares[2]) <= 60
    assert 160 <= len(shares[3]) <= 240
    assert shares == [routed_sessions(pool, share, **options) for share in (0.0, 0.01, 0.1, 0.5, 1.0)]


def test_a_conversation_stays_whole_by_its_first_message_whatever_follows(pool):
    routed = engine(pool, share=0.5)
    for i in range(30):
        messages = [{"role": "system", "content": f"turn {i}"}, {"role": "user", "content": f"task {i}"}]
        models = set()
        for turn in range(4):
            models.add(routed.run(Query(f"turn {turn}", messages=list(messages))).model)
            messages += [{"role": "assistant", "content": "so"}, {"role": "user", "content": f"turn {turn}"}]
            messages[0] = {"role": "system", "content": f"it is {turn} o'clock"}
        assert len(models) == 1


def test_outside_of_the_share_the_reason_says_so(pool):
    result = engine(pool, share=0.0).run("hi", session="s")
    assert (result.model, "share 0" in result.decision.reason) == ("large", True)
    assert "this session" in result.decision.reason
    assert "this conversation" in engine(pool, share=0.0).run("hi").decision.reason


def test_the_session_decides_before_the_user_and_the_user_before_the_thread(pool):
    from bestroute.engine.call_context import Options
    from bestroute.engine.rollout import conversation_key

    query = Query("hi")
    known = {"session": "s", "tags": {"user": "u"}, "thread": "t"}
    for expected in (("session", "s"), ("user", "u"), ("session", "t"), ("conversation", "hi")):
        assert conversation_key(query, Options.of(known)) == expected
        known = dict(list(known.items())[1:])


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_a_call_that_names_its_model_gets_it_and_a_tool_turn_stays_with_its_own(pool, mode):
    routed = engine(pool, mode=mode)
    assert routed.run("hi", model="mid").model == "mid"
    assert routed.run("hi", model="mid", reason="a tool turn stays").model == "mid"
    assert routed.run("hi", model="large", reason="a tool turn stays").decision.is_forced
    assert routed.run("hi", allow=["small"]).model == "small"
