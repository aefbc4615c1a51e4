import asyncio
import http.client
import json
import socket
import threading
import time

import pytest

openai = pytest.importorskip("openai")

from bestroute.testing import Bill, LoopbackServer  # noqa: E402
from bestroute.testing.switches import switches  # noqa: E402

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        yield client


def ask(client, model="small", text="how are you", **options):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model=model, messages=messages, **options)


def test_n_choices_differ_and_are_billed_exactly(client, server):
    reply = ask(client, n=3)
    texts = [c.message.content for c in reply.choices]
    assert len(set(texts)) == 3
    assert [f"q={q}" in t for q, t in zip(("0.40", "0.95", "0.10"), texts, strict=True)] == [True] * 3
    words = sum(len(t.split()) for t in texts)
    assert server.bills == [Bill("small", 3, words, 3, "ok")]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, words)


def test_a_stream_tells_its_usage_if_asked_and_is_billed_once(client, server):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.completion_tokens == len(text.split()) == server.usage["output"]
    assert list(ask(client, stream=True))[-1].usage is None


def test_a_client_that_hangs_up_is_billed_for_what_was_sent(server):
    server.answers = lambda model, messages: "word " * 200_000
    body = json.dumps({"model": "small", "stream": True, "messages": [{"role": "user", "content": "go"}]}).encode()
    connection = socket.create_connection(server.server_address[:2])
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    seen = b""
    while b"word" not in seen:
        seen += connection.recv(1000)
    connection.close()
    deadline = time.monotonic() + 20
    while not server.bills and time.monotonic() < deadline:
        time.sleep(0.01)
    (bill,) = server.bills
    assert bill.status == "cancelled"
    assert 0 < bill.output_tokens < 200_000


@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [
        ("fail-401-x", openai.AuthenticationError, "forced"),
        ("fail-503-x", openai.InternalServerError, "forced"),
        ("ratelimit-1-x", openai.RateLimitError, "rate_limit_exceeded"),
        ("flaky-1-x", openai.InternalServerError, "server_error"),
        ("ctx-2-x", openai.BadRequestError, "context_length_exceeded"),
        ("filter-x", openai.BadRequestError, "content_filter"),
    ],
)
def test_faults_raise_the_clients_own_errors_and_are_billed_as_failed(client, server, model, kind, code):
    with pytest.raises(kind) as caught:
        ask(client, model)
    assert caught.value.code == code
    assert server.bills == [Bill(model, 0, 0, 1, "failed")]


@pytest.mark.parametrize("model", ["flaky-2-x", "ratelimit-2-x"])
def test_some_faults_pass_after_k_calls(server, model):
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=2) as client:
        assert "answer" in ask(client, model).choices[0].message.content
    assert [b.status for b in server.bills] == ["failed", "failed", "ok"]


def test_a_dropped_stream_ends_in_the_middle(client, server):
    pieces = []
    with pytest.raises(Exception, match="."):  # noqa: PT012 - the error comes while reading
        for chunk in ask(client, "drop-2-x", stream=True, stream_options={"include_usage": True}):
            pieces.append(chunk)
        assert chunk.usage is not None, "the stream ended without its usage"
    assert server.bills == [Bill("drop-2-x", 3, 2, 1, "cancelled")]
    with pytest.raises(openai.APIConnectionError):
        ask(client, "drop-1-x")


@pytest.mark.parametrize(
    ("model", "looks"),
    [
        ("empty-x", lambda r: r.choices[0].message.content == ""),
        ("nousage-x", lambda r: r.usage is None),
        ("one-x", lambda r: len(r.choices) == 1),
        ("trunc-x", lambda r: r.choices[0].finish_reason == "length"),
        ("usage1-x", lambda r: r.usage.completion_tokens * 2 == sum(len(c.message.content.split()) for c in r.choices)),
    ],
)
def test_odd_answers(client, model, looks):
    assert looks(ask(client, model, n=2))


def test_a_body_that_is_no_json_is_an_error(client):
    with pytest.raises(Exception, match="."):
        ask(client, "badjson-x").choices[0].message  # noqa: B018


def test_switches_can_be_chained():
    assert dict(switches("slow-50-flaky-1-nousage-small").on) == {"slow": 50, "flaky": 1, "nousage": 1}
    assert dict(switches("small-slow-50").on) == {}
    assert dict(switches("slowly").on) == {}


def test_slow_models_wait(client):
    started = time.perf_counter()
    ask(client, "slow-150-x")
    assert time.perf_counter() - started >= 0.15


def test_a_script_is_followed_choice_by_choice_and_its_end_is_said(client, server):
    server.script("s", ["one", {"tool": "add", "args": {"a": 1}}, {"text": "cut", "finish_reason": "length"}])
    first, second = ask(client, "s", n=2).choices
    assert first.message.content == "one"
    assert second.message.tool_calls[0].function.arguments == '{"a": 1}'
    assert ask(client, "s").choices[0].finish_reason == "length"
    with pytest.raises(openai.InternalServerError, match="the script of 's' has 0 answers left, 1 were asked for"):
        ask(client, "s")


def test_a_limit_cuts_the_answer(client, server):
    choice = ask(client, max_tokens=2).choices[0]
    assert (len(choice.message.content.split()), choice.finish_reason) == (2, "length")
    assert server.usage["output"] == 2
    assert "answer" not in ask(client, stop=["answer"]).choices[0].message.content


def test_tools_are_called_by_the_real_apis_rules(client, server):
    call = ask(client, text="3 and 4", tools=[ADD], tool_choice="required").choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"a": 3, "b": 4}
    assert ask(client, text="hello", tools=[ADD], tool_choice="auto").choices[0].message.tool_calls is None
    with pytest.raises(openai.BadRequestError, match="Invalid value: 'any'"):
        ask(client, tools=[ADD], tool_choice="any")
    with pytest.raises(openai.BadRequestError, match="must be a response to a preceding message"):
        client.chat.completions.create(model="small", messages=[{"role": "tool", "tool_call_id": "no", "content": "x"}])


def test_structured_output_follows_the_schema(client):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}, "who": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = ask(client, text="'Ann' is 7", response_format=wanted)
    assert json.loads(reply.choices[0].message.content) == {"age": 7, "who": "Ann"}
    reply = ask(client, text="keys 'a' and 'b'", response_format={"type": "json_object"})
    assert json.loads(reply.choices[0].message.content) == {"a": "foo", "b": "foo"}


def test_the_other_endpoints_answer(client, server):
    assert [m.id for m in client.models.list()] == ["small", "large"]
    assert "answer" in client.responses.create(model="small", input="hello").output_text
    events = [e.type for e in client.responses.create(model="small", input="hello", stream=True)]
    assert (events[0], events[-1]) == ("response.created", "response.completed")
    assert len(client.embeddings.create(model="e", input=["a", "b"]).data) == 2
    assert "answer" in client.completions.create(model="small", prompt="hello").choices[0].text
    with pytest.raises(openai.NotFoundError):
        client.post("/nothing", body={}, cast_to=object)
    assert len(server.bills) == 5  # models are free, not found is none of ours to bill


def test_async_clients_are_served_at_the_same_time(server):
    async def main():
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
            await asyncio.gather(*(ask(client, "slow-200-x") for _ in range(6)))

    asyncio.run(main())
    assert server.max_inflight >= 4
    assert server.inflight == 0


def test_a_connection_is_kept_alive(server):
    connection = http.client.HTTPConnection(*server.server_address[:2])
    for _ in range(3):
        connection.request("GET", "/v1/models")
        assert connection.getresponse().read()
    connection.close()


def test_closing_frees_the_port_and_ends_the_thread():
    server = LoopbackServer()
    port = server.server_address[1]
    server.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
    assert not any(t.name == server._thread.name and t.is_alive() for t in threading.enumerate())
