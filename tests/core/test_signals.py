"""Signals of samples: read from what members tell, asked for where a plan needs them, and unknown where missing."""

from __future__ import annotations

import asyncio
import logging
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestroute import (
    BestRoute,
    Ledger,
    LogprobConfidence,
    OpenAIGenerator,
    Plan,
    Pool,
    Price,
    Query,
    Signals,
    Step,
    Usage,
)
from bestroute.testing import FakeGenerator, LoopbackServer
from bestroute.types.signals import answer_probability
from bestroute.types.token_logprobs import signals_of


def entries(*logprobs, words=("8", "4"), **names):
    token, logprob = names.get("token", "token"), names.get("logprob", "logprob")
    return [{token: w, logprob: p} for w, p in zip(words, logprobs, strict=True)]


def known(reply, text="84", **more):
    signals = signals_of(reply, text=text, **more)
    return signals.sum_logprob, signals.mean_logprob, signals.min_logprob, signals.logprob_share, signals.tokens


WHOLE = (-0.75, -0.375, -0.5, 1.0, 2)


@pytest.mark.parametrize(
    "reply",
    [
        {"logprobs": {"content": entries(-0.25, -0.5)}},
        {"logprobs": {"content": entries(-0.25, -0.5), "refusal": None}},
        SimpleNamespace(logprobs=SimpleNamespace(content=[SimpleNamespace(**e) for e in entries(-0.25, -0.5)])),
        {"logprobs": entries(-0.25, -0.5)},
        {"logprobs_result": entries(-0.25, -0.5)},
        {"logprobs_result": {"chosen_candidates": entries(-0.25, -0.5, logprob="log_probability")}},
        {"logprobsResult": {"chosenCandidates": entries(-0.25, -0.5, logprob="logProbability")}},
        {"completion_probabilities": entries(-0.25, -0.5)},
        {"details": {"tokens": entries(-0.25, -0.5, token="text")}},
        {"logprobs": {"tokens": ["8", "4"], "token_logprobs": [-0.25, -0.5], "text_offset": [0, 1]}},
        {"logprobs": [{"text": "8", "logprobs": [-0.25]}, {"text": "4", "logprobs": [-0.5]}]},
        {"logprobs": [[SimpleNamespace(token="8", logprob=-0.25)], [SimpleNamespace(token="4", logprob=-0.5)]]},
        {"logprobs": [entries(-0.25, -2.0, words=("8", "7")), entries(-1.0, -0.5, words=("3", "4"))]},
        {"logprobs": None, "avg_logprobs": -0.1, "logprobs_result": entries(-0.25, -0.5)},
    ],
    ids=str,
)
def test_every_shape_gives_the_same_signals(reply):
    assert known(reply) == WHOLE


def test_the_mean_alone_gives_the_sum_where_tokens_are_billed_and_no_least_token():
    assert known({"avg_logprobs": -0.25}, usage=Usage(9, 4)) == (-1.0, -0.25, None, 1.0, 4)
    assert known({"avg_logprobs": -0.25}) == (None, -0.25, None, None, None)


@pytest.mark.parametrize("mean", [0.0, 0, math.nan, 0.5, True, "x", -math.inf, None])
def test_a_mean_that_is_none_is_unknown(mean):
    assert known({"avg_logprobs": mean}, usage=Usage(9, 4)) == (None, None, None, None, 4)


@pytest.mark.parametrize("reply", [{}, None, 7, {"logprobs": None}, {"logprobs": {"content": None}}, {"logprobs": []}])
def test_where_nothing_is_told_all_is_unknown(reply):
    assert known(reply) == (None, None, None, None, None)


@pytest.mark.parametrize(
    ("told", "text", "usage"),
    [
        (entries(-0.1, -0.2), "84 apples", Usage(9, 4)),
        (entries(-0.1, -0.2), "84 apples", None),
        (entries(-0.1, -0.2), "84 apples", Usage(9, 4, estimated=True)),
        (entries(-0.1, None), "84", Usage(9, 2)),
        (entries(-0.1, math.nan), "84", Usage(9, 2)),
        (entries(-0.1, -math.inf), "84", Usage(9, 2)),
        (entries(-0.1, 0.7), "84", Usage(9, 2)),
        (entries(-0.1, "x"), "84", Usage(9, 2)),
        ([{"token": "8", "logprob": -0.1}, {"token": "4"}], "84", Usage(9, 2)),
        ([[], [SimpleNamespace(token="4", logprob=-0.5)]], "84", Usage(9, 2)),
        ([entries(-0.1, -0.2, words=("9", "7")), entries(-0.1, -0.2, words=("3", "4"))], "84", Usage(9, 2)),
    ],
)
def test_a_token_without_a_log_probability_leaves_the_sum_unknown(told, text, usage):
    signals = signals_of({"logprobs": told}, text=text, usage=usage)
    assert signals.sum_logprob is None
    assert signals.logprob_share is None or signals.logprob_share < 1


def test_a_sum_over_a_part_of_the_tokens_is_no_probability_of_the_answer():
    assert math.isnan(answer_probability(Signals(sum_logprob=-0.1, logprob_share=0.5, tokens=2)))
    assert answer_probability(Signals(sum_logprob=-0.1, logprob_share=1.0, tokens=2)) == math.exp(-0.1)


def test_the_share_is_that_of_the_tokens_billed():
    signals = signals_of({"logprobs": entries(-0.1, -0.2)}, text="84 red apples", usage=Usage(9, 5))
    assert (signals.logprob_share, signals.tokens) == (0.4, 5)


def test_the_token_that_ends_the_answer_counts_where_it_is_listed_and_is_not_missed_where_it_is_not():
    listed = entries(-0.25, -0.5, -0.125, words=("8", "4", "<|im_end|>"))
    assert known({"logprobs": {"content": listed}}, usage=Usage(9, 3)) == (-0.875, -0.875 / 3, -0.5, 1.0, 3)
    assert known({"logprobs": {"content": entries(-0.25, -0.5)}}, usage=Usage(9, 3)) == WHOLE


def test_reasoning_is_not_missed_among_the_tokens_of_the_answer():
    told = {"logprobs": entries(-0.25, -0.5, words=("?", "!"))}
    assert known(told, usage=Usage(9, 42, reasoning=40)) == WHOLE


def test_characters_of_several_tokens_are_read_by_their_bytes():
    cut = "é".encode()
    told = [
        {"token": "\\xc3", "logprob": -0.25, "bytes": [cut[0]]},
        {"token": "\\xa9", "logprob": -0.5, "bytes": [cut[1]]},
    ]
    assert known({"logprobs": {"content": told}}, text="é", usage=Usage(9, 9)) == WHOLE


def test_white_space_of_vocabularies_is_white_space():
    told = {"logprobs": {"content": entries(-0.25, -0.5, words=("▁a", "Ġb"))}}
    assert known(told, text="a b", usage=Usage(9, 9)) == WHOLE


@pytest.mark.parametrize(("billed", "is_known"), [(2, True), (3, True), (9, False), (None, False)])
def test_a_tool_call_is_known_where_its_tokens_are_as_many_as_were_billed(billed, is_known):
    usage = None if billed is None else Usage(9, billed)
    signals = signals_of({"logprobs": entries(-0.25, -0.5)}, text="84", usage=usage, has_calls=True)
    assert (signals.sum_logprob is not None) == is_known


@pytest.mark.parametrize(
    ("logprobs", "of_known"),
    [
        ([-0.5, 0.0, -0.25], (-0.75, -0.25, -0.5, 1.0, 3)),
        ([-0.5, -0.25, False], (None, -0.375, -0.5, 2 / 3, 3)),
        ([-0.5, -0.25, 0.5], (None, -0.375, -0.5, 2 / 3, 3)),
        ([-0.5, math.nan, -0.25], (None, -0.375, -0.5, 2 / 3, 3)),
        ([-0.5, -math.inf, -0.25], (None, -0.375, -0.5, 2 / 3, 3)),
        ([-0.5, "-0.5", -0.25], (None, -0.375, -0.5, 2 / 3, 3)),
    ],
    ids=str,
)
def test_what_is_no_logarithm_of_a_probability_is_unknown_wherever_it_stands(logprobs, of_known):
    for turned in (logprobs, logprobs[1:] + logprobs[:1], logprobs[2:] + logprobs[:2]):
        entries = [{"token": "a", "logprob": value} for value in turned]
        assert known({"logprobs": entries}, text="aaa", usage=Usage(9, 3)) == pytest.approx(of_known)


@pytest.mark.parametrize(("billed", "looks"), [(2, 0), (3, 2)])
def test_texts_of_tokens_are_read_only_where_the_bill_does_not_show_that_all_are_there(billed, looks):
    read = []

    class Token:
        logprob = -0.25

        @property
        def token(self):
            read.append(self)
            return "a"

    signals = signals_of(SimpleNamespace(logprobs=[Token(), Token()]), text="aa", usage=Usage(9, billed))
    assert (signals.sum_logprob, len(read)) == (-0.5, looks)


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=50))
def test_signals_agree_with_each_other(logprobs):
    signals = Signals.from_logprobs(logprobs)
    assert signals.sum_logprob == pytest.approx(sum(logprobs))
    assert signals.sum_logprob <= signals.min_logprob <= signals.mean_logprob + 1e-9
    assert signals.mean_logprob <= 0
    assert signals.logprob_share == 1.0


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "tokens", "token_logprobs", "token", "logprob", "bytes"]), inner)
    ),
    max_leaves=10,
)


@given(JSON, st.text(max_size=3))
def test_whatever_a_server_sends_is_read_or_unknown(told, text):
    signals = signals_of({"logprobs": told}, text=text, usage=Usage(1, 2))
    assert signals.sum_logprob is None or signals.sum_logprob <= 1e-6 * max(1, signals.tokens)


# The core's client.


def pool(**small):
    return Pool(["small", "large"], {"small": Price(0.1, 0.4), "large": Price(2.5, 10.0)}, "large", **small)


CASCADE = Plan((Step("small", 1, accept=0.7), Step("large")))


def engine(server, *, plan=CASCADE, small="small", **options):
    members = {name: OpenAIGenerator(name, base_url=server.base_url, api_key="k") for name in (small, "large")}
    return BestRoute(
        pool(),
        {"small": members[small], "large": members["large"]},
        router=lambda query: plan,
        reward_model=LogprobConfidence(),
        **options,
    )


@pytest.fixture
def server():
    with LoopbackServer() as serving:
        yield serving


def test_log_probabilities_are_asked_for_where_the_plan_reads_them_alone(server):
    server.script("small", [{"text": "no", "logprobs": [-5.0]}])
    server.script("large", ["yes"])
    result = engine(server).run("12 * 7?")
    small, large = server.sent()
    assert (small["logprobs"], "logprobs" in large) == (True, False)
    assert result.text == "yes"
    assert result.samples[0].signals == Signals(-5.0, -5.0, -5.0, 1.0, 1, "greedy")


def test_a_plain_call_sends_what_it_always_sent(server):
    engine(server, plan=Plan((Step("small"),))).run("12 * 7?")
    assert server.sent() == [{"model": "small", "messages": [{"role": "user", "content": "12 * 7?"}]}]


def test_a_sure_answer_is_accepted_and_its_signals_stand_in_the_metadata(server):
    server.script("small", [{"text": "84 it", "logprobs": [-0.1, -0.1]}])
    result = engine(server).run("12 * 7?")
    assert (result.model, len(result.samples)) == ("small", 1)
    assert result.to_dict()["samples"][0]["signals"] == {
        "sum_logprob": -0.2,
        "mean_logprob": -0.1,
        "min_logprob": -0.1,
        "logprob_share": 1.0,
        "tokens": 2,
        "mode": "greedy",
        "tools": None,
    }


def test_async_calls_read_the_same(server):
    server.script("small", [{"text": "84 it", "logprobs": [-0.1, -0.2]}])

    async def run():
        async with engine(server) as router:
            return await router.arun("12 * 7?")

    result = asyncio.run(run())
    assert (result.model, result.samples[0].signals.sum_logprob) == ("small", pytest.approx(-0.3))


@pytest.mark.parametrize("streams", ["stream", "astream"])
def test_streams_read_the_same(server, streams):
    member = OpenAIGenerator("small", base_url=server.base_url, api_key="k", logprobs=True)
    server.script("small", [{"text": "84 it is", "logprobs": [-0.1, -0.2, -0.3]}])
    one = BestRoute(Pool(["small"], {"small": Price(1, 1)}, "small"), {"small": member})

    async def collected():
        async with one:
            return [piece async for piece in one.astream("12 * 7?")]

    pieces = list(one.stream("12 * 7?")) if streams == "stream" else asyncio.run(collected())
    assert pieces[-1].samples[0].signals == Signals(pytest.approx(-0.6), pytest.approx(-0.2), -0.3, 1.0, 3, "sampled")


def test_each_of_n_choices_has_its_own(server):
    member = OpenAIGenerator("small", base_url=server.base_url, api_key="k", native_n=True, logprobs=True)
    server.script("small", [{"text": "a", "logprobs": [-0.1]}, {"text": "b c", "logprobs": [-0.2, -0.3]}])
    samples = member.generate(Query("?"), 2, params={}, cancel=SimpleNamespace(is_set=False))
    assert [s.signals.sum_logprob for s in samples] == [-0.1, -0.5]
    assert [s.signals.tokens for s in samples] == [1, 2]


def test_a_pool_says_always_or_never(server):
    for said, sent in ((True, [True, True]), (False, [None, None]), (None, [True, None])):
        member = OpenAIGenerator("small", base_url=server.base_url, api_key="k", logprobs=said)
        server.reset()
        for plan in (CASCADE, Plan((Step("small"),))):
            run = BestRoute(
                pool(),
                {"small": member, "large": FakeGenerator(["x"])},
                router=lambda query, plan=plan: plan,
                reward_model=LogprobConfidence(),
            )
            run.run("?")
        assert [body.get("logprobs") for body in server.sent()] == sent


def test_a_server_that_refuses_them_is_asked_once_more_without_and_never_again(server):
    router = engine(server, small="refuse-logprobs-small")
    for _ in range(3):
        assert router.run("12 * 7?").model == "large"
    bodies = [b for b in server.sent() if b["model"] != "large"]
    assert [b.get("logprobs") for b in bodies] == [True, None, None, None]


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5-nano", "openai/o1", "deepseek-reasoner"])
def test_models_that_reason_are_not_asked_for_them(server, model):
    member = OpenAIGenerator(model, base_url=server.base_url, api_key="k")
    router = BestRoute(
        pool(),
        {"small": member, "large": FakeGenerator(["x"])},
        router=lambda query: CASCADE,
        reward_model=LogprobConfidence(),
    )
    result = router.run("12 * 7?")
    assert result.model == "large"
    (body,) = server.sent()
    assert body.keys() == {"model", "messages"}
    assert "1 of 1 samples of 'small' came with no log-probability of each token" in result.decision.reason


def test_a_caller_who_asks_for_them_gets_them_asked_for(server):
    member = OpenAIGenerator("small", base_url=server.base_url, api_key="k")
    (sample,) = member.generate(Query("?"), 1, params={"logprobs": True}, cancel=SimpleNamespace(is_set=False))
    assert sample.signals.logprob_share == 1.0


# Missing is unknown, never sure.


def test_a_provider_that_stops_telling_earns_no_acceptance_in_10_000_calls(caplog):
    small = FakeGenerator(["84"], logprob=-0.01, tells_until=5)
    ledger = Ledger()
    router = BestRoute(
        pool(),
        {"small": small, "large": FakeGenerator(["large"])},
        router=lambda query: CASCADE,
        reward_model=LogprobConfidence(),
        ledger=ledger,
    )
    with caplog.at_level(logging.WARNING):
        results = [router.run("12 * 7?") for _ in range(10_005)]
    assert [r.model for r in results[:5]] == ["small"] * 5
    assert {r.model for r in results[5:]} == {"large"}
    assert sum(s.accepted for r in results[5:] for s in r.samples) == 0
    assert all("so none was accepted on that" in r.decision.reason for r in results[5:])
    rows = [row for row in ledger.rows() if "no log-probability of each token" in row["reason"]]
    assert (len(rows), {row["model"] for row in rows}) == (10_000, {"small"})
    assert caplog.text.count("'small' does not tell a log-probability of each token") == 1


def test_the_same_over_http_in_the_middle_of_a_run(server, caplog):
    router = engine(server, small="logprobs-3-small")
    server.answers = lambda model, messages: "84"
    models = [router.run(f"{i} * 7?").model for i in range(8)]
    assert models == ["small"] * 3 + ["large"] * 5
    assert caplog.text.count("does not tell a log-probability") == 1


def test_half_of_the_tokens_are_not_all_of_them(server):
    server.script("small", [{"text": "84 it is", "logprobs": [-0.01]}])
    server.script("large", ["x"])
    result = engine(server).run("12 * 7?")
    assert (result.model, result.samples[0].signals.logprob_share) == ("large", pytest.approx(1 / 3))


def test_a_reward_that_reads_none_has_nothing_missing(server):
    router = BestRoute(
        pool(),
        {"small": FakeGenerator(["84"]), "large": FakeGenerator(["x"])},
        router=lambda query: CASCADE,
        reward_model=SimpleNamespace(range=(0.0, 1.0), score=lambda query, texts: [1.0] * len(texts)),
    )
    result = router.run("12 * 7?")
    assert (result.model, result.samples[0].missing) == ("small", None)
    assert "log-probability" not in result.decision.reason
