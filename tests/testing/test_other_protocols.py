"""The loopback server in Anthropic's and Ollama's protocols, asked by the providers' own clients."""

import pytest

from bestroute.faults.error_rules import rule_for
from bestroute.testing import Bill

ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
CALL = 'CALL add({"a": 2, "b": 3})'


def user(text):
    return {"role": "user", "content": text}


class TestAnthropic:
    @pytest.fixture
    def client(self, server):
        anthropic = pytest.importorskip("anthropic")
        with anthropic.Anthropic(base_url=server.root_url, api_key="k", max_retries=0) as client:
            yield client

    def ask(self, client, *messages, model="claude", **options):
        return client.messages.create(model=model, max_tokens=100, messages=list(messages), **options)

    def test_a_reply_tells_what_is_billed(self, client, server):
        reply = self.ask(client, user("how are you"), system="be brief")
        assert reply.content[0].text == "[claude#0] answer q=0.40 to: how are you"
        assert reply.stop_reason == "end_turn"
        assert server.bills == [Bill("claude", 5, 7, 1, "ok")]
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 7)

    def test_a_stream_carries_the_same(self, client, server):
        with client.messages.stream(model="claude", max_tokens=100, messages=[user("how are you")]) as stream:
            pieces = list(stream.text_stream)
            reply = stream.get_final_message()
        assert len(pieces) == 7
        assert "".join(pieces) == reply.content[0].text == "[claude#0] answer q=0.40 to: how are you"
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 7)
        assert server.bills == [Bill("claude", 3, 7, 1, "ok")]

    def test_cached_input_stands_beside_the_input(self, client, server):
        details = {"cached_tokens": 60, "cache_creation_tokens": 10}
        usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": details}
        server.script("claude", [{"text": "x", "usage": usage}])
        told = self.ask(client, user("x")).usage
        assert (told.input_tokens, told.cache_read_input_tokens, told.cache_creation_input_tokens) == (30, 60, 10)
        assert server.bills == [Bill("claude", 100, 5, 1, "ok")]

    @pytest.mark.parametrize("thinking", [{}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}])
    def test_a_tool_turn_in_its_own_format(self, client, thinking):
        tools = [{"name": "add", "input_schema": ADD}]
        reply = self.ask(client, user(CALL), tools=tools, **thinking)
        call = reply.content[-1]
        assert (call.type, call.name, call.input, reply.stop_reason) == (
            "tool_use",
            "add",
            {"a": 2, "b": 3},
            "tool_use",
        )
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "5"}]}
        sent_back = {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in reply.content]}
        again = self.ask(client, user(CALL), sent_back, result, tools=tools, **thinking)
        assert again.content[-1].text.endswith("tool said: 5")

    def test_a_streamed_call_comes_whole(self, client):
        tools = [{"name": "add", "input_schema": ADD}]
        choice = {"type": "tool", "name": "add"}
        asked = {"model": "claude", "max_tokens": 9, "messages": [user("1 2")], "tools": tools, "tool_choice": choice}
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_message().content[0].input == {"a": 1, "b": 2}

    def test_a_schema_is_followed(self, client):
        reply = self.ask(
            client, user("'Ann' is 7"), output_config={"format": {"type": "json_schema", "schema": PERSON}}
        )
        assert reply.content[0].text == '{"name": "Ann", "age": 7}'

    @pytest.mark.parametrize(
        ("messages", "options", "sentence"),
        [
            ([user("x")], {"extra_body": {"n": 2}}, "n: Extra inputs are not permitted"),
            ([{"role": "system", "content": "x"}], {}, "Input should be 'user' or 'assistant'"),
            ([{"role": "assistant", "content": "x"}], {}, "first message must use the user role"),
            ([user("")], {}, "text content blocks must be non-empty"),
            ([user([{"type": "reasoning", "text": "x"}])], {}, "Input tag 'reasoning'"),
            (
                [
                    user("x"),
                    {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]},
                ],
                {},
                "Invalid `signature`",
            ),
            (
                [
                    user("x"),
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a.b", "name": "f", "input": {}}]},
                ],
                {},
                "tool_use.id: String should match",
            ),
            ([user([{"type": "tool_result", "tool_use_id": "a", "content": "x"}])], {}, "unexpected `tool_use_id`"),
            ([user("x")], {"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
            ([user("x")], {"tool_choice": "any"}, "tool_choice: must be an object"),
        ],
    )
    def test_what_the_real_api_refuses_is_refused(self, client, server, messages, options, sentence):
        import anthropic

        with pytest.raises(anthropic.BadRequestError, match=sentence):
            self.ask(client, *messages, **options)
        assert [b.status for b in server.bills] == ["failed"]

    def test_faults_come_in_its_own_words(self, client):
        import anthropic

        with pytest.raises(anthropic.RateLimitError, match="rate_limit_error"):
            self.ask(client, user("x"), model="fail-429-x")
        with pytest.raises(anthropic.APIStatusError, match="529"):
            self.ask(client, user("x"), model="fail-529-x")
        assert self.ask(client, user("one two"), model="trunc-x").stop_reason == "max_tokens"


class TestOllama:
    @pytest.fixture
    def client(self, server):
        with pytest.importorskip("ollama").Client(host=server.root_url) as client:
            yield client

    def test_a_reply_tells_what_is_billed(self, client, server):
        reply = client.chat(model="llama", messages=[user("how are you")])
        assert reply.message.content == "[llama#0] answer q=0.40 to: how are you"
        assert (reply.prompt_eval_count, reply.eval_count, reply.done_reason) == (3, 7, "stop")
        assert server.bills == [Bill("llama", 3, 7, 1, "ok")]

    def test_a_stream_carries_the_same(self, client, server):
        parts = list(client.chat(model="llama", messages=[user("how are you")], stream=True))
        assert "".join(p.message.content for p in parts) == "[llama#0] answer q=0.40 to: how are you"
        assert [p.done for p in parts] == [False] * 7 + [True]
        assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (3, 7)
        assert server.bills == [Bill("llama", 3, 7, 1, "ok")]

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_tool_turn(self, client, stream):
        tools = [{"type": "function", "function": {"name": "add", "parameters": ADD}}]
        replies = client.chat(model="llama", messages=[user(CALL)], tools=tools, stream=stream, think=True)
        parts = list(replies) if stream else [replies]
        assert [p.message.thinking for p in parts if p.message.thinking] == ["let me see"]
        calls = [call for part in parts for call in part.message.tool_calls or []]
        assert [(c.function.name, dict(c.function.arguments)) for c in calls] == [("add", {"a": 2, "b": 3})]
        history = [user(CALL), {"role": "assistant", "content": "", "tool_calls": calls}]
        answer = client.chat(model="llama", messages=[*history, {"role": "tool", "content": "5"}], tools=tools)
        assert answer.message.content.endswith("tool said: 5")

    def test_a_format_and_options_are_followed(self, client):
        reply = client.chat(model="llama", messages=[user("'Ann' is 7")], format=PERSON)
        assert reply.message.content == '{"name": "Ann", "age": 7}'
        assert client.chat(model="llama", messages=[user("key 'a'")], format="json").message.content == '{"a": "foo"}'
        cut = client.chat(model="llama", messages=[user("x")], options={"num_predict": 2})
        assert (cut.message.content, cut.done_reason, cut.eval_count) == ("[llama#0] answer", "length", 2)

    def test_models_are_told(self, client):
        assert [m.model for m in client.list().models] == ["small", "large"]
        assert client.show("llama").modelinfo["loopback.context_length"] == 8192

    def test_faults_come_in_its_own_words(self, client, server):
        import ollama

        with pytest.raises(ollama.ResponseError, match="forced 503"):
            client.chat(model="fail-503-x", messages=[user("x")])
        call = {"function": {"name": "f", "arguments": "{}"}}
        body = {"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}
        with pytest.raises(ollama.ResponseError, match="arguments must be an object"):
            client._request_raw("POST", "/api/chat", json=body)
        assert [b.status for b in server.bills] == ["failed", "failed"]

    def test_a_cancelled_stream_is_billed_for_what_was_sent(self, server, client):
        list(client.chat(model="drop-2-llama", messages=[user("how are you")], stream=True))
        assert server.bills == [Bill("drop-2-llama", 3, 2, 1, "cancelled")]


def streamed_by_anthropic(server):
    anthropic = pytest.importorskip("anthropic")
    with anthropic.Anthropic(base_url=server.root_url, api_key="k", max_retries=0) as client:
        list(client.messages.create(model="overload-1-x", max_tokens=9, messages=[user("hi")], stream=True))


def streamed_by_openai(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        list(client.chat.completions.create(model="overload-1-x", messages=[user("hi")], stream=True))


def streamed_responses(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        list(client.responses.create(model="overload-1-x", input="hi", stream=True))


def asked_of_ollama(server):
    ollama = pytest.importorskip("ollama")
    client = ollama.Client(host=server.root_url)
    try:
        client.chat(model="overload-1-x", messages=[user("hi")])
    finally:
        client._client.close()


@pytest.mark.parametrize("ask", [streamed_by_anthropic, streamed_by_openai, streamed_responses, asked_of_ollama])
def test_overload_reaches_every_client_as_an_error_that_is_asked_again(server, ask):
    with pytest.raises(Exception) as failure:  # noqa: PT011  the client's own
        ask(server)
    assert rule_for(failure.value).name == "server failure"
    assert [bill.status for bill in server.bills] == ["failed"]
