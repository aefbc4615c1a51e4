"""Replies that came and were paid for, and that the member's class cannot read, or reads without its usage."""

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI

from bestroute import Price, Settings
from bestroute.errors import EmptyReplyError
from langchain_bestroute import BestRouteChat

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def answering(choices):
    """A pool of one member, whose server answers these choices."""
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": USAGE}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=body))
    clients = {
        "http_client": httpx.Client(transport=transport),
        "http_async_client": httpx.AsyncClient(transport=transport),
    }
    member = ChatOpenAI(model="m", api_key="k", base_url="http://localhost/v1", max_retries=0, **clients)
    return BestRouteChat(models={"a": member}, prices={"a": Price(1, 1)}, settings=Settings(attempts=1))


def choice(message):
    return [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, **message}}]


def calling(arguments):
    return choice({"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]})


@pytest.mark.parametrize(
    "choices",
    [calling('"{\\"a\\": 1}"'), calling("3"), choice({"content": 5}), choice({"tool_calls": [{"id": "1"}]}), [], None],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_reply_that_cannot_be_read_is_billed_as_its_server_told(choices, is_async):
    chat = answering(choices)
    with pytest.raises(Exception):  # noqa: B017, PT011  (whatever the class raises)
        await chat.ainvoke("hi") if is_async else chat.invoke("hi")
    assert [(row["status"], row["input_tokens"], row["output_tokens"]) for row in chat.ledger.rows()] == [
        ("failed", 9, 4)
    ]


def test_a_reply_without_choices_is_an_empty_one():
    with pytest.raises(EmptyReplyError, match="'a' answered without a choice"):
        answering([]).invoke("hi")


class Noting(BaseChatModel):
    """A class that notes the usage beside its message, in the provider's words."""

    output: dict
    told: dict | None = None

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage("one two three", usage_metadata=self.told)
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=self.output)

    @property
    def _llm_type(self):
        return "noting"


ZEROS = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("told", [None, ZEROS])
@pytest.mark.parametrize("output", [{"token_usage": USAGE}, {"usage": {"input_tokens": 9, "output_tokens": 4}}])
def test_a_usage_that_is_noted_beside_the_message_is_the_bill(told, output):
    chat = BestRouteChat(models={"a": Noting(output=output, told=told)}, prices={"a": Price(1, 1)})
    message = chat.invoke("hi there")
    assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (9, 4)
    row = chat.ledger.rows()[0]
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (9, 4, False)
