"""Rolling out through LlamaIndex: modes, shares and sessions."""

import asyncio

import pytest

from bestroute import ConfigError


def model_of(response):
    return response.message.additional_kwargs["bestroute"]["model"]


def test_mode_and_share_are_fields_that_are_set_while_it_runs(make, user):
    llm = make()
    engine = llm.engine
    assert model_of(llm.chat(user("hi"))) == "small"
    llm.mode = "shadow"
    about = llm.chat(user("hi")).message.additional_kwargs["bestroute"]
    assert (about["model"], about["shadow"]) == ("large", [{"model": "small", "n": 1, "accept": None}])
    llm.mode = "off"
    assert model_of(asyncio.run(llm.achat(user("hi")))) == "large"
    llm.mode, llm.share = "on", 0.0
    assert model_of(llm.chat(user("hi"))) == "large"
    assert llm.engine is engine
    with pytest.raises(ConfigError, match="mode must be one of"):
        engine.mode = "of"


def test_a_session_is_treated_alike_throughout(make, user, server):
    llm = make(share=0.5)
    for i in range(20):
        wanted = llm.engine.route("hi", session=f"s{i}").model
        assert {model_of(llm.chat(user(f"turn {turn}"), session=f"s{i}")) for turn in range(3)} == {wanted}
        assert llm.complete("hi", session=f"s{i}").additional_kwargs["bestroute"]["model"] == wanted
    assert not any("session" in request["body"] for request in server.requests)
