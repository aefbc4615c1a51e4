"""What is billed where a provider tells nonsense, draws that a member adds by itself, turns that a member refuses."""

import pytest
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.llms.openai_like import OpenAILike

from bestroute import Ledger
from llamaindex_bestroute.members import quiet

ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("usage", [ZERO, {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}])
@pytest.mark.parametrize("method", ["chat", "complete"])
def test_a_usage_that_makes_no_sense_is_estimated_and_told(make, server, user, method, usage):
    server.script("small-mini", [{"text": "five words are not nothing", "usage": usage}])
    llm = make()
    response = getattr(llm, method)("hi" if method == "complete" else user("hi"))
    (row,) = llm.ledger.rows()
    assert row["estimated"]
    assert row["output_tokens"] >= 5
    assert response.raw["usage"]["completion_tokens"] == row["output_tokens"]


def test_n_set_on_a_member_draws_no_more_than_the_router_says(like, make, server, user):
    member = like("small-mini", additional_kwargs={"n": 3, "seed": 7})
    make(models={"small": member}).chat(user("hi"))
    (body,) = server.sent()
    assert body.get("n", 1) == 1
    assert body["seed"] == 7
    assert member.additional_kwargs == {"n": 3, "seed": 7}
    assert quiet(member).additional_kwargs == {"seed": 7}


class Picky(OpenAILike):
    """Its server refuses conversations in which another model called a tool."""

    def chat(self, messages, **kwargs):
        if any(isinstance(block, ToolCallBlock) for message in messages for block in message.blocks):
            import httpx
            import openai

            reply = httpx.Response(400, request=httpx.Request("POST", "http://127.0.0.1"))
            raise openai.BadRequestError("thought signature missing in a function call", response=reply, body=None)
        return super().chat(messages, **kwargs)


def test_where_a_member_refuses_anothers_turn_one_that_can_is_asked(make, like, server, user, told):
    options = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8000, "max_retries": 0}
    picky = Picky(model="picky", api_base=server.base_url, api_key="x", **options)
    llm = make(models={"small": picky, "large": like("large-max")})
    block = ToolCallBlock(tool_call_id="call_1", tool_name="add", tool_kwargs={"a": 2, "b": 3})
    about = {"bestroute": {"model": "gone"}}
    history = [
        *user("add"),
        ChatMessage(role="assistant", blocks=[block], additional_kwargs=about),
        ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": "call_1"}),
        *user("and now?"),
    ]
    assert told(llm.chat(history))["model"] == "large"


def test_tags_and_the_call_id_tell_a_call_in_the_ledger(make, user, told):
    ledger = Ledger()
    response = make(ledger=ledger).chat(user("hi"), tags={"team": "search"})
    (row,) = ledger.rows()
    assert row["call_id"] == told(response)["call_id"]
    assert "search" in str(row["tags"])
