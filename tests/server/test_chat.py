"""Chat completions over HTTP: what a caller sends reaches the member, what the member gives reaches the caller."""

import http.server
import json
import re
import threading
import time

import httpx
import pytest

from bestroute import BestRoute, Ledger, Query
from bestroute.billing.outcomes import CallOutcome
from bestroute.generators.openai import OpenAIGenerator
from bestroute.types.pool import Pool

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
CALLS_ADD = 'Please CALL add({"a": 1, "b": 2})'


def test_the_decision_stands_in_the_headers_and_in_a_field(served):
    answer = served.chat()
    found = answer.json()
    assert found["object"] == "chat.completion"
    assert found["choices"][0]["message"]["content"].startswith("[large-max#0]")
    assert found["model"] == "large-max"
    assert found["bestroute"]["plan"] == [{"model": "large-max", "n": 1, "accept": None}]
    assert answer.headers["x-bestroute-model"] == found["bestroute"]["model"] == "large-max"
    assert answer.headers["x-bestroute-call-id"] == found["bestroute"]["call_id"]
    assert float(answer.headers["x-bestroute-cost-usd"]) == pytest.approx(found["bestroute"]["cost_usd"])
    assert answer.headers["x-bestroute-reason"].startswith("no router")


def test_models_are_the_policies_and_the_members(served):
    listed = served.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["auto", "auto-cheap", "small-mini", "large-max"]
    assert served.get("/v1/models/small-mini").json()["owned_by"] == "bestroute-member"
    assert served.get("/v1/models/none").status_code == 404


@pytest.mark.parametrize(("name", "member"), [("auto", "large-max"), ("auto-cheap", "small-mini"), ("small-mini",) * 2])
def test_the_name_of_a_model_chooses_who_answers(served, name, member):
    assert served.chat(model=name).json()["bestroute"]["model"] == member


def test_an_unknown_model_is_a_404_that_says_which_there_are(served):
    answer = served.chat(model="auto-chaep")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")
    assert "Did you mean 'auto-cheap'?" in error["message"]


def test_a_promise_that_was_not_shown_is_refused(served):
    answer = served.chat(model="auto-max-drop-1")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "not_tuned"


SENT = {
    "temperature": 0.3,
    "top_p": 0.9,
    "stop": ["END"],
    "seed": 7,
    "max_tokens": 40,
    "frequency_penalty": 0.1,
    "logit_bias": {"50256": -100},
    "metadata": {"team": "search"},
    "user": "u-1",
    "parallel_tool_calls": False,
    "tools": [ADD],
    "tool_choice": "auto",
    "extra_headers": {"x-not": "a header"},
    "extra_body": {"not": "merged"},
    "timeout": "not the client's",
    "a_field_of_a_provider": {"deep": [1, None, "ü", 1.5]},
}
MESSAGES = [
    {"role": "developer", "content": "Be brief.", "name": "dev"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is in the picture?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1,"b":2}'}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "3", "cache_control": {"type": "ephemeral"}},
    {"role": "user", "content": "And now?", "own_field": 1},
]


@pytest.mark.parametrize("streams", [False, True])
def test_what_a_request_carries_reaches_the_member_unchanged(served, server, streams):
    body = {"model": "small-mini", "messages": MESSAGES, **SENT}
    if streams:
        served.events("/v1/chat/completions", body)
        own = {"stream": True, "stream_options": {"include_usage": True}}
    else:
        assert served.post("/v1/chat/completions", body).status_code == 200
        own = {}
    (sent,) = server.sent()
    assert sent == {**body, **own}
    assert "x-not" not in {name.lower() for name in server.requests[0].get("headers", {})}


def test_a_member_by_name_gives_what_it_gives_alone(served, server):
    body = {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "model": "small-mini", "logprobs": True}
    through = served.post("/v1/chat/completions", body).json()
    server.reset()
    alone = httpx.post(f"{server.base_url}/chat/completions", json=body).json()
    assert through.pop("bestroute")["model"] == "small-mini"
    through.pop("id")
    alone.pop("id")
    assert through == alone


@pytest.mark.parametrize("model", ["auto", "small-mini"])
def test_the_callers_n_is_respected(serve, server, model):
    served = serve()
    found = served.chat(model=model, n=3).json()
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in found["choices"]}) == 3
    assert [body["n"] for body in server.sent()] == [3]
    assert found["usage"]["completion_tokens"] == server.usage["output"]
    price = {"auto": (10, 20), "small-mini": (1, 2)}[model]
    bill = (server.usage["input"] * price[0] + server.usage["output"] * price[1]) / 1e6
    assert served.service.engines.ledger.cost_usd == pytest.approx(bill)


def test_a_stream_of_several_choices_has_them_all(served):
    events = served.events("/v1/chat/completions", {"model": "auto", "n": 2, "messages": MESSAGES[-1:]})
    texts = {0: "", 1: ""}
    for event in events[:-1]:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts[0].startswith("[large-max#0]")
    assert texts[1].startswith("[large-max#1]")


def test_a_stream_comes_word_by_word_and_its_last_chunk_tells_the_decision(serve, server):
    served = serve()
    events = served.events("/v1/chat/completions", {"model": "auto", "messages": MESSAGES[-1:]})
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    words = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert len([word for word in words if word]) > 3
    assert "".join(filter(None, words)) == "[large-max#0] answer q=0.40 to: And now?"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == [None, "stop"]
    assert [i for i, chunk in enumerate(chunks) if "bestroute" in chunk] == [len(chunks) - 1]
    assert not any("usage" in chunk for chunk in chunks)
    assert served.service.engines.ledger.cost_usd == pytest.approx(chunks[-1]["bestroute"]["cost_usd"])


def test_a_stream_tells_the_usage_where_it_is_wanted(served, server):
    body = {"model": "auto", "messages": MESSAGES[-1:], "stream_options": {"include_usage": True}}
    *chunks, last, _ = served.events("/v1/chat/completions", body)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == server.usage["output"]
    assert {chunk["usage"] for chunk in chunks} == {None}


def test_a_stream_has_its_first_word_before_the_member_is_done(pool_of, serve, server, meeting):
    served = serve(pool=pool_of(server.base_url, {"slow-20-word-max": (1, 1)}))
    with httpx.stream(
        "POST", f"{served.base_url}/chat/completions", json={"model": "auto", "messages": MESSAGES[-1:], "stream": True}
    ) as answer:
        assert answer.headers["x-bestroute-model"] == "slow-20-word-max"
        next(answer.iter_lines())


def test_a_plan_of_several_samples_streams_the_winner_alone(pool_of, serve, server):
    server.answers = lambda model, messages: "42" if model != "third-max" else "7"
    pool = pool_of(server.base_url, {"one-max": (1, 1), "two-max": (1.1, 1.1), "third-max": (5, 5)})
    served = serve(pool=pool, reward="majority")
    events = served.events(
        "/v1/chat/completions",
        {"model": "auto", "messages": [{"role": "user", "content": "What is 6 * 7? Answer with only the number."}]},
    )
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events[:-1] if event["choices"])
    assert text == "42"
    assert events[-2]["bestroute"]["n"] > 1
    assert served.service.engines.ledger.cost_usd == pytest.approx(events[-2]["bestroute"]["cost_usd"])


def test_logprobs_are_passed_through(served):
    found = served.chat(logprobs=True).json()
    assert found["choices"][0]["logprobs"]["content"][0]["token"]
    events = served.events("/v1/chat/completions", {"model": "auto", "messages": MESSAGES[-1:], "logprobs": True})
    assert any(event["choices"][0].get("logprobs") for event in events[:-1])


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_call_is_passed_through(served, streams):
    body = {"model": "small-mini", "messages": [{"role": "user", "content": CALLS_ADD}], "tools": [ADD]}
    if streams:
        events = served.events("/v1/chat/completions", body)[:-1]
        pieces = [c for e in events for choice in e["choices"] for c in choice["delta"].get("tool_calls") or ()]
        assert len(pieces) > 2, "they come piece by piece"
        arguments = "".join(piece["function"]["arguments"] for piece in pieces)
        assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    else:
        choice = served.post("/v1/chat/completions", body).json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"a": 1, "b": 2}


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_turn_stays_with_the_member_that_made_the_call(served, server, streams):
    body = {"model": "auto-cheap", "messages": [{"role": "user", "content": CALLS_ADD}], "tools": [ADD]}
    if streams:
        events = served.events("/v1/chat/completions", body)[:-1]
        pieces = [c for e in events for choice in e["choices"] for c in choice["delta"].get("tool_calls") or ()]
        call = {"id": pieces[0]["id"], "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    else:
        (call,) = served.post("/v1/chat/completions", body).json()["choices"][0]["message"]["tool_calls"]
    turn = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "3"},
    ]
    found = served.chat(model="auto", messages=[*body["messages"], *turn], tools=[ADD]).json()
    assert found["bestroute"]["model"] == "small-mini"
    assert found["bestroute"]["reason"] == "a tool turn stays with the model that made the call"
    sent = server.sent()[-1]["messages"]
    assert sent[-1]["tool_call_id"] == sent[-2]["tool_calls"][0]["id"] == call["id"].rpartition("-br")[0]


def test_structured_output_reaches_the_member_and_is_checked(served, server):
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    found = served.chat(model="small-mini", response_format=form).json()
    assert isinstance(json.loads(found["choices"][0]["message"]["content"])["x"], int)
    assert server.sent()[0]["response_format"] == form


def test_options_of_the_call_are_taken_from_the_field_bestroute(serve, server):
    served = serve()
    options = {"tags": {"team": "search"}, "session": "s1", "allow": ["small-mini"]}
    found = served.chat(bestroute=options).json()
    assert found["bestroute"]["model"] == "small-mini"
    assert [row["tags"] for row in served.service.engines.ledger.rows()] == [{"team": "search"}]
    assert "bestroute" not in server.sent()[0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "auto"}, "messages"),
        ({"model": "auto", "messages": "x"}, "messages"),
        ({"model": "auto", "messages": []}, "messages"),
        ({"model": "auto", "messages": [{"role": "user", "content": "x"}], "n": 0}, "n"),
        ({"model": "auto", "messages": [{"role": "user", "content": "x"}], "n": "2"}, "n"),
        ({"model": "auto", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}, "stream"),
        ({"model": "auto", "messages": [{"role": "user", "content": "x"}], "bestroute": {"budget": 1}}, "bestroute"),
        ({"model": "auto", "messages": [{"role": "user", "content": "x"}], "bestroute": {"tags": 1}}, "bestroute"),
        *(
            ({"model": "auto", "messages": [{"role": "user", "content": "x"}], "bestroute": {name: value}}, None)
            for name in ("deadline_s", "max_cost_usd")
            for value in ("x", [], {}, True, -1, 10**400)
        ),
        ({"model": "auto", "messages": [{"role": "user", "content": "x"}, {"content": "y"}]}, "messages"),
        ({"model": "auto", "messages": [{"role": 1, "content": "x"}]}, "messages"),
    ],
)
def test_a_request_that_makes_no_sense_is_a_400_that_names_the_field(served, server, body, param):
    answer = served.post("/v1/chat/completions", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not server.requests


@pytest.mark.parametrize("raw", [b"{", b"[1]", b'{"a": NaN}', b'{"a": 1e999}', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_a_400(served, raw):
    answer = httpx.post(f"{served.base_url}/chat/completions", content=raw)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


def test_a_body_that_is_too_long_is_a_413(serve, server):
    served = serve(max_request_mb=0.01)
    answer = served.chat("x" * 20_000)
    assert answer.status_code == 413

    def pieces():
        yield b"{" + b" " * 20_000

    assert httpx.post(f"{served.base_url}/chat/completions", content=pieces()).status_code == 413
    assert not server.requests


@pytest.mark.parametrize("path", ["/v1/none", "/", "/v1/chat/completions/../../etc"])
def test_an_endpoint_that_there_is_not_is_a_404_in_openais_form(served, path):
    assert served.get(path).json()["error"]["type"] == "invalid_request_error"
    assert served.get("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("streams", [False, True])
def test_a_members_error_keeps_its_status(pool_of, serve, server, status, streams):
    served = serve(pool=pool_of(server.base_url, {f"fail-{status}-max": (1, 1)}))
    served.service.engines.auto.settings.__dict__.update(first_wait_s=0.0)
    answer = served.chat(model=f"fail-{status}-max", stream=streams)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_stream_that_breaks_ends_with_its_error_and_is_billed(pool_of, serve, server):
    served = serve(pool=pool_of(server.base_url, {"drop-2-max": (1, 1)}))
    *chunks, last = served.events("/v1/chat/completions", {"model": "auto", "messages": MESSAGES[-1:]})
    assert chunks
    assert last["error"]["type"] == "server_error"
    (row,) = served.service.engines.ledger.rows()
    assert row["status"] == "failed"
    assert row["output_tokens"] > 0


def test_a_caller_who_hangs_up_stops_the_draw_and_is_billed(pool_of, serve, server):
    served = serve(pool=pool_of(server.base_url, {"slow-5000-max": (1, 1)}))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{served.base_url}/chat/completions",
            json={"model": "auto", "messages": MESSAGES[-1:]},
            timeout=httpx.Timeout(10, read=0.3),
        )
    served.wait_until_idle()
    (row,) = served.service.engines.ledger.rows()
    assert row["status"] == "cancelled"
    assert row["cost_usd"] > 0
    assert 'status="499"' in served.get("/metrics").text


ODD_REPLIES = {
    "no choices": ({"object": "list"}, 502),
    "choices that are null": ({"choices": None, "usage": {"prompt_tokens": 3, "completion_tokens": 0}}, 502),
    "choices that are none": ({"choices": ["4"]}, 502),
    "a list": ([1], 502),
    "a text": ("4", 502),
    "a message that is a text": ({"choices": [{"message": "4", "stops": 1}], "x": [1]}, 200),
    "a choice that is null": ({"choices": [None, {"message": {"content": "4"}, "stops": 1}], "x": [1]}, 200),
    "tool calls that are none": (
        {"choices": [{"message": {"tool_calls": ["a"], "content": "4"}, "stops": 1}], "x": [1]},
        200,
    ),
    "fields of its own": ({"choices": [{"message": {"content": "4", "mood": "glad"}, "stops": 1}], "x": [1]}, 200),
}


@pytest.mark.parametrize("kind", ODD_REPLIES)
def test_a_reply_that_is_no_completion_is_an_error_of_the_member_and_one_with_more_is_kept(serve, pool_of, kind):
    reply, status = ODD_REPLIES[kind]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as member:
        thread = threading.Thread(target=member.serve_forever, daemon=True)
        thread.start()
        served = serve(pool=pool_of(f"http://127.0.0.1:{member.server_address[1]}/v1", {"odd": (1, 1)}))
        answer = served.chat()
        member.shutdown()
        thread.join()
    assert answer.status_code == status, answer.text
    if status == 200:
        choice = answer.json()["choices"][0]
        assert (choice["message"], choice["stops"], answer.json()["x"]) == (reply["choices"][-1]["message"], 1, [1])
    else:
        assert answer.json()["error"]["message"]


@pytest.fixture
def endless():
    """A member whose stream has no end, and an event that is set when its caller has hung up."""
    left = threading.Event()
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "endless"}
    word = {**chunk, "choices": [{"index": 0, "delta": {"content": "on "}, "finish_reason": None}]}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                while not left.wait(0.01):
                    self.wfile.write(f"data: {json.dumps(word)}\n\n".encode())
            except OSError:
                left.set()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as member:
        thread = threading.Thread(target=member.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{member.server_address[1]}/v1", left
        left.set()
        member.shutdown()
        thread.join()


def test_a_caller_who_hangs_up_in_a_stream_stops_the_member_and_is_billed_for_what_was_sent(serve, pool_of, endless):
    url, left = endless
    served = serve(pool=pool_of(url, {"endless": (1, 1)}))
    body = {"model": "auto", "messages": MESSAGES[-1:], "stream": True}
    with httpx.stream("POST", f"{served.base_url}/chat/completions", json=body) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert [json.loads(next(lines)[6:])["choices"][0]["delta"]["content"] for _ in range(3)] == ["on "] * 3
    assert left.wait(30), "the member's stream goes on"
    served.wait_until_idle()
    (row,) = served.service.engines.ledger.rows()
    assert row["status"] == "cancelled"
    assert row["output_tokens"] >= 3
    assert row["estimated"]


def test_a_budget_that_is_spent_is_a_429_and_spends_nothing(serve, server):
    served = serve(budget=1e-9)
    answer = served.chat()
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "insufficient_quota"
    assert answer.headers["x-should-retry"] == "false"
    assert not server.requests


def test_the_limit_of_time_is_a_504(pool_of, serve, server):
    served = serve(pool=pool_of(server.base_url, {"slow-5000-max": (1, 1)}), timeout_s=0.2)
    answer = served.chat()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"


def test_requests_are_answered_side_by_side(served, server):
    together = threading.Barrier(8, timeout=30)
    server.answers = lambda model, messages: f"answer {together.wait()}"
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(served.chat().status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8


def test_feedback_is_kept_by_the_calls_id(serve):
    served = serve()
    call_id = served.chat().json()["bestroute"]["call_id"]
    assert served.post("/v1/feedback", {"call_id": call_id, "score": 0.5}).json()["score"] == 0.5
    assert served.post("/v1/feedback", {"call_id": call_id, "score": True}).status_code == 200
    assert [kept.score for kept in served.service.engines.ledger.feedbacks()] == [0.5, 1.0]
    assert served.post("/v1/feedback", {"call_id": "none", "score": 1}).status_code == 404
    assert served.post("/v1/feedback", {"call_id": call_id, "score": 2}).json()["error"]["param"] == "score"
    assert served.post("/v1/feedback", {"score": 1}).json()["error"]["param"] == "call_id"


@pytest.mark.parametrize(("keeps", "kept"), [(False, None), (True, "good")])
def test_the_words_of_feedback_are_kept_where_that_is_wanted(serve, keeps, kept):
    served = serve(keep_notes=keeps)
    call_id = served.chat().json()["bestroute"]["call_id"]
    assert served.post("/v1/feedback", {"call_id": call_id, "score": 1, "note": "good"}).status_code == 200
    assert [feedback.note for feedback in served.service.engines.ledger.feedbacks()] == [kept]


def test_health_and_metrics_tell_what_goes_on(serve):
    served = serve()
    served.chat()
    assert served.get("/health").json()["status"] == "ok"
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    cost = served.service.engines.ledger.cost_usd
    assert f'bestroute_cost_usd_total{{model="large-max"}} {cost!r}' in answer.text
    assert 'bestroute_training_cost_usd_total{model="large-max"} 0.0' in answer.text
    assert 'bestroute_requests_total{endpoint="/v1/chat/completions",model="auto",status="200"' in answer.text


def test_alarms_are_counted_in_the_metrics(serve, server):
    served = serve(audit=0.5)

    def scraped():
        lines = [
            line for line in served.get("/metrics").text.splitlines() if line.startswith("bestroute_alarms_total{")
        ]
        found = (re.fullmatch(r'.*kind="(\w+)",model="([^"]*)",worker="\d+"} (\d+)', line) for line in lines)
        return {(match[1], match[2]): int(match[3]) for match in found}

    assert scraped()["familiarity", ""] == scraped()["length", "small-mini"] == 0
    watch = served.service.engines.auto._auditor.watch
    for i in range(64):  # queries unlike those of training, which a server without a router does not know
        fields = {"time": 0.0, "model": "small-mini", "plan": "small-mini x 1", "status": "unaudited"}
        watch.note_outcome(CallOutcome(f"c{i}", **fields, probability=0.5, familiarity=0.001))
    served.chat()  # the call after them has them looked at
    for _ in range(500):
        if scraped()["familiarity", ""]:
            break
        time.sleep(0.01)
    assert {name for name, count in scraped().items() if count} == {("familiarity", "")}
    assert "# TYPE bestroute_alarms_total counter" in served.get("/metrics").text


def test_the_engine_alone_decides_and_bills_the_same(pool_of, serve, server):
    served, texts = serve(), [f"What is {i} + 1?" for i in range(20)]
    through = [served.chat(text).json()["bestroute"] for text in texts]
    server.reset()
    pool = Pool.from_dict(pool_of(server.base_url), where="test")
    generators = {m: OpenAIGenerator(m, base_url=server.base_url, api_key="k") for m in pool.models}
    with BestRoute(pool, generators, ledger=Ledger()) as engine:
        alone = [engine.run(Query(text)) for text in texts]
    assert [found["plan"] for found in through] == [result.decision.plan.to_json() for result in alone]
    assert [found["cost_usd"] for found in through] == [result.cost_usd for result in alone]
    assert served.service.engines.ledger.cost_usd == engine.ledger.cost_usd


def test_a_database_that_is_away_is_a_503_that_tells_callers_nothing_of_it(serve, server, tmp_path):
    served = serve(ledger="bills.db", budget={"usd": 5, "per": "day"})
    call_id = served.chat().json()["bestroute"]["call_id"]
    for path in tmp_path.glob("bills.db*"):
        path.unlink()
    (tmp_path / "bills.db").write_bytes(b"no database, and too long to be an empty one" * 100)
    drawn = len(server.requests)
    refused = [served.chat(), served.chat(stream=True), served.post("/v1/feedback", {"call_id": call_id, "score": 1})]
    assert [answer.status_code for answer in refused] == [503] * 3
    assert all(answer.json()["error"]["code"] == "store_unavailable" for answer in refused)
    assert not any("x-should-retry" in answer.headers or str(tmp_path) in answer.text for answer in refused)
    assert len(server.requests) == drawn
    metrics = served.get("/metrics")
    assert metrics.status_code == 200
    assert 'status="503"' in metrics.text
    assert "bestroute_cost_usd_total" not in metrics.text
