"""A loopback OpenAI-compatible server that bills exactly what it sent. Standard library only."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

from bestroute.testing.brain import Answer, Brain, Scripted, count_tokens, text_of
from bestroute.testing.switches import Switches, switches

_TOOL_CALL_TOKENS = 5
_RESPONSES_TOKENS = 5
_JSON_PIECE = 6


@dataclass(frozen=True)
class Bill:
    """What one request was billed."""

    model: str
    input_tokens: int
    output_tokens: int
    n: int
    status: Literal["ok", "failed", "cancelled"]


class _Refused(Exception):
    """An HTTP error to answer with."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


class LoopbackServer(ThreadingHTTPServer):
    """Speaks chat completions (n, SSE with usage, tools, response formats), Responses, embeddings and models.

    It listens on a free port of 127.0.0.1 at once. Every request is kept in ``requests``, every bill in ``bills``.
    What it answers is said in ``bestroute.testing.brain``, how it fails in ``bestroute.testing.switches``.

    Example:
        >>> with LoopbackServer() as server:
        ...     server.base_url.startswith("http://127.0.0.1:")
        True
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, models: Sequence[str] = ("small", "large")) -> None:
        """Listen, and serve in a thread."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models, self.brain = list(models), Brain()
        self.requests: list[dict[str, Any]] = []
        self.bills: list[Bill] = []
        self.inflight = self.max_inflight = 0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def usage(self) -> dict[str, int]:
        """All tokens billed so far: ``{"input", "output"}``."""
        with self.brain.lock:
            return {
                "input": sum(bill.input_tokens for bill in self.bills),
                "output": sum(bill.output_tokens for bill in self.bills),
            }

    @property
    def answers(self) -> Callable[[str, list[dict[str, Any]]], str] | None:
        """A function ``fn(model, messages) -> text`` in place of the usual text answer."""
        return self.brain.answers

    @answers.setter
    def answers(self, fn: Callable[[str, list[dict[str, Any]]], str] | None) -> None:
        self.brain.answers = fn

    def script(self, model: str, answers: Sequence[str | Mapping[str, Any]]) -> None:
        """Set what a model answers, choice by choice, in order.

        Args:
            model: As requests name it.
            answers: Texts, or ``{"text" | "tool" + "args", "finish_reason"}``, or ``{"status"}`` to fail. When
                they are used up the server answers 500 and says so.
        """
        entries = []
        for entry in answers:
            if isinstance(entry, str):
                entries.append(Scripted(Answer(entry)))
            else:
                fields = {k: v for k, v in entry.items() if k != "status"}
                entries.append(Scripted(Answer(**fields), entry.get("status", 200)))
        with self.brain.lock:
            self.brain.scripts[model] = entries

    def sent(self, path: str = "/chat/completions") -> list[dict[str, Any]]:
        """Return the bodies of the requests to an endpoint."""
        return [r["body"] for r in self.requests if r["path"].endswith(path)]

    def reset(self) -> None:
        """Forget requests, bills, draws and scripts."""
        with self.brain.lock:
            self.brain.reset()
            self.requests.clear()
            self.bills.clear()
            self.max_inflight = self.inflight

    def close(self) -> None:
        """Stop serving and free the port."""
        self.shutdown()
        self.server_close()
        self._thread.join(timeout=5)

    def __enter__(self) -> LoopbackServer:
        """Return the server, which is serving already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet: clients hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if not self.path.endswith("/models"):
            return self._json({"error": {"message": "not found " + self.path}}, 404)
        listed = [{"id": m, "object": "model", "created": 0, "owned_by": "t"} for m in self.server.models]
        self._json({"object": "list", "data": listed})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        server = self.server
        with server.brain.lock:
            server.requests.append({"path": self.path, "body": body, "t": time.time(), "headers": dict(self.headers)})
            server.inflight += 1
            server.max_inflight = max(server.max_inflight, server.inflight)
        try:
            self._answer(body, switches(body.get("model", "")))
        except _Refused as refusal:
            self._bill(body, 0, 0, "failed")
            self._json(refusal.body, refusal.status, refusal.headers)
        finally:
            with server.brain.lock:
                server.inflight -= 1

    def _answer(self, body: dict[str, Any], on: Switches) -> None:
        endpoints = {
            "/chat/completions": self._chat,
            "/responses": self._responses,
            "/embeddings": self._embeddings,
            "/completions": self._completions,
        }
        endpoint = next((fn for end, fn in endpoints.items() if self.path.endswith(end)), None)
        if endpoint is None:
            raise _Refused(404, "not found " + self.path)
        self._faults(body, on)
        if "badjson" in on:
            self._bill(body, 0, 0, "failed")
            return self._raw(b'{"choices": [', 200, "application/json")
        if "drop" in on and not body.get("stream"):
            self._bill(body, 0, 0, "failed")
            self.close_connection = True
            return None
        return endpoint(body, on)

    def _faults(self, body: Mapping[str, Any], on: Switches) -> None:
        """Wait or refuse, as the model's name asks."""
        model = body.get("model", "")
        if "slow" in on:
            time.sleep(on["slow"] / 1000)
        with self.server.brain.lock:
            self.server.brain.calls[model] += 1
            call = self.server.brain.calls[model]
        if "fail" in on:
            raise _Refused(on["fail"], f"forced {on['fail']}", code="forced")
        if "flaky" in on and call <= on["flaky"]:
            raise _Refused(500, "flaky", code="server_error")
        if "ratelimit" in on and call <= on["ratelimit"]:
            raise _Refused(429, "slow down", code="rate_limit_exceeded", headers=[("Retry-After", "0")])
        if "filter" in on:
            raise _Refused(400, "refused by the content filter", code="content_filter")
        if "ctx" in on and (size := _prompt_tokens(body)) > on["ctx"]:
            raise _Refused(
                400, f"the context holds {on['ctx']} tokens, the prompt has {size}", code="context_length_exceeded"
            )

    def _bill(self, body: Mapping[str, Any], inp: int, out: int, status: Literal["ok", "failed", "cancelled"]) -> None:
        bill = Bill(body.get("model", ""), inp, out, int(body.get("n") or 1), status)
        with self.server.brain.lock:
            self.server.bills.append(bill)

    # Chat completions.

    def _chat(self, body: dict[str, Any], on: Switches) -> None:
        _check_chat(body)
        choices = self._choices(body, on)
        inp = _prompt_tokens(body)
        counts = [choice.pop("tokens") for choice in choices]
        told = counts[:1] if "usage1" in on else counts
        usage = None if "nousage" in on else _chat_usage(inp, sum(told))
        brain = self.server.brain
        base = {
            "id": brain.next_id("chatcmpl"),
            "created": 1,
            "model": body["model"],
            "system_fingerprint": "fp_x",
            "service_tier": "default",
        }
        if body.get("stream"):
            return self._chat_stream(body, base, choices, usage, (inp, sum(counts)), on)
        self._bill(body, inp, sum(counts), "ok")
        reply = {**base, "object": "chat.completion", "choices": choices}
        return self._json(reply if usage is None else {**reply, "usage": usage})

    def _choices(self, body: dict[str, Any], on: Switches) -> list[dict[str, Any]]:
        n = 1 if "one" in on else int(body.get("n") or 1)
        try:
            scripted = self.server.brain.next_scripted(body["model"], n)
        except IndexError as error:
            raise _Refused(500, str(error)) from error
        if scripted and (status := max(entry.status for entry in scripted)) != 200:
            raise _Refused(status, f"scripted {status}", code="scripted")
        answers = [entry.answer for entry in scripted] if scripted else self.server.brain.answer(body, n)
        return [self._choice(i, answer, body, on) for i, answer in enumerate(answers)]

    def _choice(self, index: int, answer: Answer, body: Mapping[str, Any], on: Switches) -> dict[str, Any]:
        if answer.tool is not None:
            function = {"name": answer.tool, "arguments": json.dumps(answer.args or {}, ensure_ascii=False)}
            call = {"id": self.server.brain.next_id("call"), "type": "function", "function": function}
            message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
            reason, tokens = answer.finish_reason or "tool_calls", _TOOL_CALL_TOKENS
        else:
            text, reason = _cut(answer.text, body, on)
            message, tokens = {"role": "assistant", "content": text, "refusal": None}, count_tokens(text)
            reason = answer.finish_reason or reason
        return {"index": index, "message": message, "finish_reason": reason, "logprobs": None, "tokens": tokens}

    def _chat_stream(
        self,
        body: Mapping[str, Any],
        base: Mapping[str, Any],
        choices: Sequence[dict[str, Any]],
        usage: dict[str, Any] | None,
        billed: tuple[int, int],
        on: Switches,
    ) -> None:
        chunk = {**base, "object": "chat.completion.chunk"}
        sent = 0
        try:
            self._sse_start()
            for choice in choices:
                for delta, words in _deltas(choice):
                    if "drop" in on and words and sent >= on["drop"]:
                        self._bill(body, billed[0], sent, "cancelled")
                        return
                    told = {"index": choice["index"], "delta": delta, "finish_reason": None}
                    self._sse({**chunk, "choices": [told]})
                    sent += words
                end = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
                self._sse({**chunk, "choices": [end]})
        except OSError:  # the client hung up
            self._bill(body, billed[0], sent, "cancelled")
            return
        self._bill(body, *billed, "ok")
        if usage is not None and (body.get("stream_options") or {}).get("include_usage"):
            self._sse({**chunk, "choices": [], "usage": usage})
        self._sse("[DONE]")

    # The other endpoints.

    def _completions(self, body: dict[str, Any], on: Switches) -> None:
        asked = {"model": body["model"], "messages": [{"role": "user", "content": body["prompt"]}]}
        text = self.server.brain.answer(asked, 1)[0].text
        self._bill(body, 1, 1, "ok")
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        reply = {"id": "cmpl", "object": "text_completion", "created": 0, "model": body["model"]}
        self._json({**reply, "choices": [choice], "usage": usage})

    def _responses(self, body: dict[str, Any], on: Switches) -> None:
        asked = _from_responses(body)
        answer = self.server.brain.answer(asked, 1)[0]
        brain = self.server.brain
        if answer.tool is not None:
            item: dict[str, Any] = {
                "type": "function_call",
                "id": brain.next_id("fc"),
                "call_id": brain.next_id("call"),
                "name": answer.tool,
                "arguments": json.dumps(answer.args, ensure_ascii=False),
                "status": "completed",
            }
        else:
            part = {"type": "output_text", "text": answer.text, "annotations": []}
            item = {"type": "message", "id": brain.next_id("msg"), "role": "assistant", "status": "completed"}
            item["content"] = [part]
        self._bill(body, _RESPONSES_TOKENS, _RESPONSES_TOKENS, "ok")
        reply = _response_object(brain.next_id("resp"), body["model"], item)
        if not body.get("stream"):
            return self._json(reply)
        self._sse_start()
        for number, (kind, fields) in enumerate(_response_events(reply, item)):
            self._sse({"type": kind, "sequence_number": number, **fields}, event=kind)
        return None

    def _embeddings(self, body: dict[str, Any], on: Switches) -> None:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = []
        for i, text in enumerate(texts):
            vector: Any = [x / 255 for x in hashlib.sha256(str(text).encode()).digest()[:16]]
            if body.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack("<16f", *vector)).decode()
            data.append({"object": "embedding", "index": i, "embedding": vector})
        self._bill(body, 1, 0, "ok")
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        self._json({"object": "list", "data": data, "model": body["model"], "usage": usage})

    # Wire.

    def _json(self, value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._raw(json.dumps(value).encode(), status, "application/json", headers)

    def _raw(self, data: bytes, status: int, kind: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("x-request-id", self.server.brain.next_id("req"))
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _sse_start(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _sse(self, value: Any, event: str | None = None) -> None:
        data = value if isinstance(value, str) else json.dumps(value)
        self.wfile.write(((f"event: {event}\n" if event else "") + f"data: {data}\n\n").encode())
        self.wfile.flush()


def _check_chat(body: Mapping[str, Any]) -> None:
    """Refuse what the real API refuses."""
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        supported = "Supported values are: 'none', 'auto', and 'required'."
        raise _Refused(400, f"Invalid value: '{choice}'. {supported}")
    for tool in body.get("tools") or []:
        if tool.get("type") == "function" and not (tool.get("function") or {}).get("name"):
            raise _Refused(400, "Missing required parameter: 'tools[0].function'")
    announced: set[str] = set()
    for message in body["messages"]:
        announced |= {call["id"] for call in message.get("tool_calls") or []}
        if message["role"] == "tool" and not message.get("tool_call_id"):
            raise _Refused(400, "tool message without tool_call_id")
        if message["role"] == "tool" and message["tool_call_id"] not in announced:
            rule = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
            raise _Refused(400, rule)


def _cut(text: str, body: Mapping[str, Any], on: Switches) -> tuple[str, str]:
    """Apply stop sequences, limits and switches to a text; return it with its finish reason."""
    stop = body.get("stop") or []
    for sequence in [stop] if isinstance(stop, str) else stop:
        text = text.split(sequence)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if "trunc" in on:
        limit = min(limit or 3, 3)
    words = re.findall(r"\s*\S+", text)
    if limit and len(words) > limit:
        return "".join(words[:limit]), "length"
    return ("" if "empty" in on else text or "."), "stop"


def _deltas(choice: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the deltas of one choice, each with the words it carries."""
    message = choice["message"]
    yield {"role": "assistant", "content": ""}, 0
    if not message.get("tool_calls"):
        for word in re.findall(r"\s*\S+", message["content"]):
            yield {"content": word}, 1
        return
    call = message["tool_calls"][0]
    head = {"index": 0, "id": call["id"], "type": "function", "function": {**call["function"], "arguments": ""}}
    yield {"tool_calls": [head]}, 0
    arguments = call["function"]["arguments"]
    for i in range(0, len(arguments), _JSON_PIECE):
        piece = {"index": 0, "function": {"arguments": arguments[i : i + _JSON_PIECE]}}
        yield {"tool_calls": [piece]}, 1


def _prompt_tokens(body: Mapping[str, Any]) -> int:
    return sum(count_tokens(text_of(m.get("content"))) for m in body.get("messages") or [])


def _chat_usage(inp: int, out: int) -> dict[str, Any]:
    return {
        "prompt_tokens": inp,
        "completion_tokens": out,
        "total_tokens": inp + out,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _from_responses(body: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a Responses request into the chat request that asks the same."""
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    given = body.get("input")
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given or []:
        if item.get("type") == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif item.get("type") == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
        else:
            messages.append({"role": item.get("role", "user"), "content": text_of(item.get("content"))})
    tools = [
        {"type": "function", "function": {k: tool.get(k) for k in ("name", "parameters", "description")}}
        for tool in body.get("tools") or []
        if tool.get("type") == "function"
    ]
    wanted = (body.get("text") or {}).get("format") or {}
    return {
        "model": body["model"],
        "messages": messages,
        "tools": tools,
        "tool_choice": body.get("tool_choice"),
        "response_format": None if wanted.get("type") in (None, "text") else wanted,
    }


def _response_object(id_: str, model: str, item: dict[str, Any]) -> dict[str, Any]:
    usage = {
        "input_tokens": _RESPONSES_TOKENS,
        "output_tokens": _RESPONSES_TOKENS,
        "total_tokens": 2 * _RESPONSES_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "id": id_,
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": model,
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
    }


def _response_events(reply: dict[str, Any], item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a streamed Responses reply."""
    at = {"output_index": 0, "item_id": item["id"]}
    yield "response.created", {"response": {**reply, "status": "in_progress", "output": [], "usage": None}}
    if item["type"] == "message":
        part, where = item["content"][0], {**at, "content_index": 0}
        started = {**item, "content": [], "status": "in_progress"}
        yield "response.output_item.added", {"output_index": 0, "item": started}
        yield "response.content_part.added", {**where, "part": {**part, "text": ""}}
        for word in re.findall(r"\s*\S+", part["text"]):
            yield "response.output_text.delta", {**where, "delta": word, "logprobs": []}
        yield "response.output_text.done", {**where, "text": part["text"], "logprobs": []}
        yield "response.content_part.done", {**where, "part": part}
    else:
        started = {**item, "arguments": "", "status": "in_progress"}
        yield "response.output_item.added", {"output_index": 0, "item": started}
        yield "response.function_call_arguments.delta", {**at, "delta": item["arguments"]}
        done = {**at, "arguments": item["arguments"], "name": item["name"]}
        yield "response.function_call_arguments.done", done
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield "response.completed", {"response": reply}
