"""Rolling out through LangChain: modes and shares are set while it runs, and a graph's thread stays whole."""

import asyncio

import pytest
from langchain_core.runnables import RunnableLambda

from bestroute import ConfigError


def test_mode_and_share_are_fields_that_are_set_while_it_runs(make, told):
    chat = make()
    engine = chat.engine
    assert told(chat.invoke("hi"))["model"] == "small"
    chat.mode = "off"
    assert told(chat.invoke("hi"))["model"] == "large"
    chat.mode = "shadow"
    about = told(chat.invoke("hi"))
    assert (about["model"], about["shadow"]) == ("large", [{"model": "small", "n": 1, "accept": None}])
    chat.mode, chat.share = "on", 0.0
    assert "share 0" in told(chat.invoke("hi"))["reason"]
    assert chat.engine is engine
    with pytest.raises(ConfigError, match="share must be a number"):
        chat.share = 2.0
    assert (chat.share, engine.share) == (0.0, 0.0)


def test_what_is_set_in_a_copy_is_not_set_in_the_original(make, told):
    chat = make()
    copied = chat.model_copy()
    copied.mode = "off"
    assert (told(chat.invoke("hi"))["model"], told(copied.invoke("hi"))["model"]) == ("small", "large")
    chat.mode = "shadow"
    assert (told(chat.invoke("hi"))["shadow"] is None, told(copied.invoke("hi"))["shadow"]) == (False, None)
    assert make(mode="off").model_copy().mode == "off"


def models_by_thread(call):
    return [call({"configurable": {"thread_id": f"t{i}"}}) for i in range(40)]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "in a node"])
def test_a_graphs_thread_is_a_session(make, told, way):
    chat = make(share=0.5)
    expected = [chat.engine.route("hi", session=f"t{i}").model for i in range(40)]
    assert len(set(expected)) == 2

    def call(config):
        if way == "invoke":
            message = chat.invoke("hi", config)
        elif way == "ainvoke":
            message = asyncio.run(chat.ainvoke("hi", config))
        elif way == "in a node":
            message = RunnableLambda(lambda text: chat.invoke(text)).invoke("hi", config)
        else:
            chunks = list(chat.stream("hi", config))
            message = sum(chunks[1:], chunks[0])
        return told(message)["model"]

    assert models_by_thread(call) == expected


def test_the_callers_session_and_the_user_tag_decide_before_the_thread(make, told, server):
    chat = make(share=0.5)
    config = {"configurable": {"thread_id": "t"}}
    for i in range(12):
        wanted = chat.engine.route("hi", session=f"s{i}").model
        assert told(chat.invoke("hi", config, session=f"s{i}"))["model"] == wanted
        assert told(chat.invoke("hi", config, tags={"user": f"s{i}"}))["model"] == wanted
    assert not any("session" in request["body"] for request in server.requests)


def test_an_agents_turns_stay_with_the_reference_in_the_shadow(make, told):
    chat = make(mode="shadow").bind_tools([{"type": "function", "function": {"name": "f", "parameters": {}}}])
    first = chat.invoke([("human", "multiply 12 by 7")])
    assert told(first)["model"] == "large"
