"""``raw`` reads like the member's own object, and as a dict with the bill, in whole answers and in every chunk."""

import copy
import json
import pickle

import pytest

from llamaindex_bestroute.responses import raw_of

USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


def test_raw_reads_like_the_members_object_and_as_a_dict(make, like, user):
    alone, pooled = like("small-mini").chat(user("how are you")).raw, make().chat(user("how are you")).raw
    assert pooled.choices[0].message.content.startswith("[small-mini#")
    assert pooled.choices[0].finish_reason == alone.choices[0].finish_reason
    assert pooled.model == alone.model == pooled["model"]
    assert pooled["choices"][0]["message"]["content"] == pooled.choices[0].message.content
    assert {name: pooled["usage"][name] for name in USAGE} == {name: getattr(alone.usage, name) for name in USAGE}
    assert pooled.usage.total_tokens == pooled["usage"]["total_tokens"]
    with pytest.raises(AttributeError, match="has no 'nonsense'"):
        _ = pooled.nonsense


@pytest.mark.parametrize("n", [1, 3])
async def test_every_chunk_can_be_read_both_ways_and_the_last_one_has_the_bill(make, server, user, n):
    llm = make(("small", n))
    for pieces in (
        list(llm.stream_chat(user("how are you"))),
        [piece async for piece in await llm.astream_chat(user("how are you"))],
        list(llm.stream_complete("how are you")),
    ):
        assert all(piece.raw.choices for piece in pieces), "the chunk of the usage, which we ask for, is not shown"
        assert [piece.raw["usage"] for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert pieces[-1].raw.choices[0].finish_reason == "stop"
        assert pieces[-1].raw["usage"]["total_tokens"] > 0
        assert pieces[-1].raw.usage.total_tokens == pieces[-1].raw["usage"]["total_tokens"]


def test_each_of_several_choices_reads_like_a_reply_of_its_own(make, user):
    response = make(("small", 3), bills_input="once").chat(user("hi"))
    assert response.raw.choices[0].message.content == response.message.content
    assert response.raw.usage.completion_tokens == response.raw["usage"]["completion_tokens"]


def test_raw_is_copied_pickled_and_dumped_as_plain_data(make, user):
    raw = make().chat(user("hi")).raw
    assert type(pickle.loads(pickle.dumps(raw))) is dict
    assert copy.deepcopy(raw)["usage"] == raw["usage"]
    assert json.loads(json.dumps(raw, default=str))["usage"] == raw["usage"]


def test_a_raw_reply_that_holds_itself_costs_no_answer():
    reply = {"id": "1"}
    reply["self"] = reply
    raw = raw_of(reply, {"total_tokens": 3}, "small")
    assert (raw["usage"], raw.id) == ({"total_tokens": 3}, "1")
