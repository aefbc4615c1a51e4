import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import socket
import threading
import time
from email.utils import parsedate_to_datetime

import httpx
import pytest

openai = pytest.importorskip("openai")

from bestroute.testing import Bill, LoopbackServer  # noqa: E402
from bestroute.testing.switches import USAGES, switches  # noqa: E402

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


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def raw_stream(server, path="chat/completions", **body):
    """Open a stream by hand; return its socket once the first 'word' has come, and what came so far."""
    data = json.dumps({"model": "small", "stream": True, **body}).encode()
    connection = socket.create_connection(server.server_address[:2])
    connection.sendall(f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    seen = b""
    while b"word" not in seen:
        seen += connection.recv(1000)
    return connection, seen


@pytest.mark.parametrize(
    ("path", "body", "delta"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "go on"}]}, b'"content": "'),
        ("responses", {"input": "go on"}, b'"delta": "'),
    ],
)
def test_a_cancelled_stream_is_billed_for_exactly_the_words_that_were_sent(server, path, body, delta):
    server.answers = lambda model, messages: "word " * 50_000
    connection, seen = raw_stream(server, path, **body)
    connection.shutdown(socket.SHUT_WR)  # we say we are leaving, but read on, to count
    while part := connection.recv(1 << 16):
        seen += part
    connection.close()
    wait_for(lambda: server.bills)
    sent = seen.count(delta + b"word") + seen.count(delta + b" word")
    assert 0 < sent < 50_000
    assert server.bills == [Bill("small", 2, sent, 1, "cancelled")]
    assert server.usage == {"input": 2, "output": sent}


def test_a_cancelled_tool_call_is_never_billed_more_than_a_whole_one(server):
    server.script("small", [{"tool": "add", "args": {"a": "word " * 50_000}}])
    connection, seen = raw_stream(server, messages=[{"role": "user", "content": "go"}])
    while seen.count(b"arguments") < 20:
        seen += connection.recv(1000)
    connection.close()
    wait_for(lambda: server.bills)
    assert server.bills == [Bill("small", 1, 5, 1, "cancelled")]


def test_a_client_that_hangs_up_is_billed_for_what_was_sent(server):
    server.answers = lambda model, messages: "word " * 50_000
    with openai.OpenAI(base_url=server.base_url, api_key="k") as client:
        stream = ask(client, stream=True)
        next(stream)
        stream.close()
    wait_for(lambda: server.bills)
    (bill,) = server.bills
    assert bill.status == "cancelled"
    assert bill.output_tokens < 50_000
    assert server.inflight == 0


def test_a_cancelled_async_stream_is_billed_once(server):
    server.answers = lambda model, messages: "word " * 50_000

    async def main():
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
            async with await ask(client, stream=True) as stream:
                async for _ in stream:
                    break

    asyncio.run(main())
    wait_for(lambda: server.bills)
    assert [bill.status for bill in server.bills] == ["cancelled"]


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


def test_ratelimits_ask_for_an_immediate_retry(client):
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "ratelimit-1-x")
    assert caught.value.response.headers["retry-after"] == "0"


@pytest.mark.parametrize("k", [0, 2, 3])
def test_a_dropped_stream_just_ends_after_k_words(client, server, k):
    server.answers = lambda model, messages: "one two three"
    model = f"drop-{k}-x"
    choices = [c.choices[0] for c in ask(client, model, stream=True, stream_options={"include_usage": True})]
    assert "".join(c.delta.content or "" for c in choices).split() == ["one", "two", "three"][:k]
    assert {c.finish_reason for c in choices} <= {None}  # and no chunk with the usage, or [0] would have failed
    assert server.bills == [Bill(model, 3, k, 1, "cancelled")]


def test_a_call_without_a_stream_is_dropped_before_its_answer(client, server):
    with pytest.raises(openai.APIConnectionError):
        ask(client, "drop-1-x")
    assert server.bills == [Bill("drop-1-x", 0, 0, 1, "failed")]


def test_a_dropped_stream_of_responses_just_ends(client, server):
    events = [e.type for e in client.responses.create(model="drop-2-x", input="hi", stream=True)]
    assert events.count("response.output_text.delta") == 2
    assert events[-1] == "response.output_text.delta"
    assert server.bills == [Bill("drop-2-x", 1, 2, 1, "cancelled")]


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


def test_truncation_keeps_max_tokens_words_or_three_and_always_says_length(client, server):
    server.answers = lambda model, messages: "a b c d e f"
    for limit, text in ((None, "a b c"), (2, "a b"), (5, "a b c d e"), (1000, "a b c d e f")):
        choice = ask(client, "trunc-x", max_tokens=limit).choices[0]
        assert (choice.message.content, choice.finish_reason) == (text, "length")
    reply = client.responses.create(model="trunc-x", input="hi")
    assert (reply.output_text, reply.status) == ("a b c", "incomplete")


def test_a_body_that_is_no_json_is_an_error(server):
    connection = http.client.HTTPConnection(*server.server_address[:2])
    body = {"model": "badjson-x", "messages": [{"role": "user", "content": "hi"}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = connection.getresponse()
    assert answer.status == 200
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(answer.read())
    connection.close()
    assert server.bills == [Bill("badjson-x", 0, 0, 1, "failed")]


def test_switches_can_be_chained():
    assert dict(switches("slow-50-flaky-1-nousage-small").on) == {"slow": 50, "flaky": 1, "nousage": 1}
    assert dict(switches("small-slow-50").on) == {}
    assert dict(switches("slowly").on) == dict(switches("one").on) == {}
    assert dict(switches("fail-503").on) == {"fail": 503}


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


def test_a_scripted_failure_takes_one_entry_and_leaves_the_rest_for_the_retry(server):
    server.script("s", [{"status": 429}, "one", "two"])
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=1) as client:
        assert [c.message.content for c in ask(client, "s", n=2).choices] == ["one", "two"]
    assert [b.status for b in server.bills] == ["failed", "ok"]


def test_a_scripted_usage_is_told_and_billed(client, server):
    usage = {"prompt_tokens": 100, "completion_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 30}}
    server.script("s", [{"text": "short", "usage": usage}, "two words", {"text": "short", "usage": usage}])
    told = ask(client, "s", n=2).usage
    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (100, 42, 142)
    assert told.completion_tokens_details.reasoning_tokens == 30
    told = client.responses.create(model="s", input="hi").usage
    assert (told.input_tokens, told.output_tokens, told.output_tokens_details.reasoning_tokens) == (100, 40, 30)
    assert server.bills == [Bill("s", 100, 42, 2, "ok"), Bill("s", 100, 40, 1, "ok")]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"txt": "x"}, "a scripted answer has no 'txt'; it may have text, tool, args"),
        ({"usage": {"output_tokens": 1}}, "usage has 'output_tokens'; the words of chat completions are"),
    ],
)
def test_a_script_with_an_unknown_key_is_refused_at_once(server, entry, message):
    with pytest.raises(ValueError, match=message):
        server.script("s", [entry])


def test_a_function_may_answer_and_its_error_is_told(client, server, caplog):
    server.answers = lambda model, messages: f"{model} heard {messages[-1]['content']}\n"
    assert ask(client).choices[0].message.content == "small heard how are you\n"
    streamed = ask(client, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == "small heard how are you\n"

    def broken(model, messages):
        raise FileNotFoundError("answers.json")

    server.answers = broken
    with pytest.raises(openai.InternalServerError, match=r"FileNotFoundError: answers\.json"):
        ask(client)
    assert server.bills[-1] == Bill("small", 0, 0, 1, "failed")
    assert "in broken" in caplog.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "small"}, "Missing required parameter: 'messages'."),
        ({"messages": []}, "Missing required parameter: 'model'."),
        ({"model": "small", "messages": [], "n": 0}, "Invalid 'n': expected an integer >= 1, but got 0 instead."),
        ([1], "We could not parse the JSON body of your request."),
        ("{", "We could not parse the JSON body of your request."),
    ],
)
def test_a_malformed_request_is_told_what_is_wrong(server, body, message):
    connection = http.client.HTTPConnection(*server.server_address[:2])
    connection.request("POST", "/v1/chat/completions", body if isinstance(body, str) else json.dumps(body))
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["error"]["message"] == message
    connection.close()
    assert [b.status for b in server.bills] == ["failed"]


def test_a_limit_cuts_the_answer(client, server):
    choice = ask(client, max_tokens=2).choices[0]
    assert (len(choice.message.content.split()), choice.finish_reason) == (2, "length")
    assert server.usage["output"] == 2
    assert ask(client, max_completion_tokens=1).choices[0].finish_reason == "length"
    assert "answer" not in ask(client, stop=["answer"]).choices[0].message.content
    assert ask(client, stop="[").choices[0].message.content == "."


def test_tools_are_called_by_the_real_apis_rules(client, server):
    call = ask(client, text="3 and 4", tools=[ADD], tool_choice="required").choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"a": 3, "b": 4}
    assert ask(client, text="hello", tools=[ADD], tool_choice="auto").choices[0].message.tool_calls is None
    with pytest.raises(openai.BadRequestError, match="Invalid value: 'any'") as caught:
        ask(client, tools=[ADD], tool_choice="any")
    assert caught.value.param == "tool_choice"
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
    assert [b.status for b in server.bills] == ["ok"] * 4 + ["failed"]  # listing the models is free
    assert [r["path"] for r in server.requests][-2:] == ["/v1/completions", "/v1/nothing"]


def test_every_endpoint_tells_the_usage_it_bills(client, server):
    reply = client.responses.create(model="small", input="one two")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (2, len(reply.output_text.split()))
    done = list(client.responses.create(model="small", input="one two", stream=True))[-1].response
    assert done.usage.output_tokens == server.bills[1].output_tokens
    old = client.completions.create(model="small", prompt="one two")
    assert (old.usage.prompt_tokens, old.usage.completion_tokens) == (2, len(old.choices[0].text.split()))
    assert client.embeddings.create(model="small", input=["one two", "three"]).usage.prompt_tokens == 3
    assert [b.input_tokens for b in server.bills] == [2, 2, 2, 3]
    assert server.bills[-1].output_tokens == 0


def test_responses_call_tools_as_chat_does(client, server):
    tool = {"type": "function", "name": "add", "parameters": ADD["function"]["parameters"]}
    asked = {"model": "small", "input": "3 and 4", "tools": [tool], "tool_choice": "required"}
    (call,) = client.responses.create(**asked).output
    assert (call.name, json.loads(call.arguments)) == ("add", {"a": 3, "b": 4})
    done = list(client.responses.create(**asked, stream=True))[-1].response
    assert done.output[0].arguments == call.arguments
    assert [b.output_tokens for b in server.bills] == [5, 5]


async def test_async_clients_are_served_at_the_same_time(server, meeting):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as client:

        async def all_at_once():
            return await asyncio.gather(*(ask(client) for _ in range(6)))

        await meeting(all_at_once(), 6)
    assert server.max_inflight == 6
    assert server.inflight == 0


def test_a_connection_is_kept_alive(server):
    connection = http.client.HTTPConnection(*server.server_address[:2])
    for _ in range(3):
        connection.request("GET", "/v1/models")
        assert connection.getresponse().read()
    connection.close()


def test_calls_on_a_kept_connection_do_not_wait_for_acknowledgements(client, server):
    ask(client)
    connection = [*server._workers.values()][-1]
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # without it, 40 ms are lost on every call


def test_many_threads_are_billed_for_every_draw(client, server):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: ask(client, n=2), range(40)))
    texts = [c.message.content for r in replies for c in r.choices]
    assert len(set(texts)) == 80
    assert len(server.bills) == 40
    assert server.usage == {"input": 120, "output": sum(len(t.split()) for t in texts)}
    assert server.inflight == 0


def test_closing_frees_the_port_and_leaves_no_thread(caplog):
    before = set(threading.enumerate())
    server = LoopbackServer()
    port = server.server_address[1]
    idle = http.client.HTTPConnection("127.0.0.1", port)
    idle.request("GET", "/v1/models")
    idle.getresponse().read()  # kept alive: its thread waits for the next request
    server.answers = lambda model, messages: "word " * 50_000
    streaming, _ = raw_stream(server, messages=[{"role": "user", "content": "go"}])
    sleeping = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"model": "slow-60000-x", "messages": [{"role": "user", "content": "hi"}]})
    sleeping.request("POST", "/v1/chat/completions", body)
    wait_for(lambda: server.inflight == 2)

    started = time.monotonic()
    server.close()
    server.close()  # twice is once
    assert time.monotonic() - started < 50
    assert not [t for t in set(threading.enumerate()) - before if "process_request" in t.name or t is server._thread]
    assert sorted(b.status for b in server.bills) == ["cancelled", "cancelled"]
    assert idle.sock.recv(1) == b""
    with pytest.raises(ConnectionError):
        sleeping.getresponse()
    for connection in (idle, streaming, sleeping):
        connection.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
    assert not [record for record in caplog.records if record.name.startswith("bestroute.testing")]


def test_reset_forgets_everything_but_the_function_that_answers(client, server):
    server.script("s", ["only"])
    first = ask(client).choices[0].message.content
    ask(client)
    server.reset()
    assert (server.requests, server.bills, server.max_inflight) == ([], [], 0)
    assert ask(client).choices[0].message.content == first
    assert "answer" in ask(client, "s").choices[0].message.content


def test_chaos_fails_the_same_share_of_calls_every_time(client, server):
    def statuses():
        server.reset()
        for _ in range(60):
            with contextlib.suppress(openai.OpenAIError):
                ask(client, "chaos-50-x")
        return [bill.status for bill in server.bills]

    first = statuses()
    assert first == statuses()
    assert set(first) == {"ok", "failed", "cancelled"}
    assert 15 <= first.count("ok") <= 45


def told(server, model, **body):
    request = {"model": model, "messages": [{"role": "user", "content": "how are you"}], **body}
    with httpx.Client(base_url=server.base_url) as client:
        return client.post("/chat/completions", json=request)


def test_an_option_is_refused_by_name(server):
    refused = told(server, "refuse-stream_options-small", stream=True, stream_options={"include_usage": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream_options")
    assert told(server, "refuse-stream_options-small", stream=True).status_code == 200


def test_a_reasoning_model_refuses_what_openai_s_refuse(server):
    assert told(server, "reasoning-small", max_tokens=9).json()["error"]["param"] == "max_tokens"
    assert told(server, "reasoning-small", temperature=0.2).json()["error"]["param"] == "temperature"
    assert told(server, "reasoning-small", temperature=1, max_completion_tokens=9).status_code == 200


def test_a_time_to_come_back_is_told_as_a_date(server):
    refused = told(server, "later-60-small")
    assert refused.status_code == 429
    assert 50 < parsedate_to_datetime(refused.headers["Retry-After"]).timestamp() - time.time() <= 60
    assert told(server, "later-60-small").status_code == 200


def test_overload_is_told_inside_a_200(server):
    whole = told(server, "overload-1-small")
    assert (whole.status_code, whole.json()["error"]["type"]) == (200, "overloaded_error")
    assert told(server, "overload-1-small").json()["choices"]
    stream = told(server, "overload-1-large", stream=True)
    assert (stream.status_code, '"overloaded_error"' in stream.text) == (200, True)
    assert [bill.status for bill in server.bills] == ["failed", "ok", "failed"]


@pytest.mark.parametrize("how", ["none", "bare", "zero", "negative", "text"])
def test_a_usage_that_makes_no_sense_is_told_and_the_true_one_billed(server, how):
    assert told(server, f"usage-{how}-small").json()["usage"] == USAGES[f"usage-{how}"]
    assert server.usage["output"] > 1


def test_a_usage_may_be_nan(server):
    assert "NaN" in told(server, "usage-nan-small").text


def test_an_empty_reply_may_be_cut_at_its_limit(server):
    (choice,) = told(server, "empty-trunc-small").json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
