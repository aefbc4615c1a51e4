"""A loopback server that speaks OpenAI's, Anthropic's and Ollama's protocols and bills exactly what it sent.

Standard library only.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

from bestroute.testing import anthropic_wire, ollama_wire, payloads
from bestroute.testing.batch_wire import Batches
from bestroute.testing.brain import Brain, as_answer
from bestroute.testing.payloads import Choice, Frame
from bestroute.testing.switches import Refused, switches

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bill:
    """The bill of one request: one token per word, five per tool call, unless a script overrides it."""

    model: str
    input_tokens: int
    output_tokens: int
    n: int
    """Number of choices requested."""
    status: Literal["ok", "failed", "cancelled"]
    """``failed`` costs nothing; ``cancelled`` costs the prompt and what was sent before the stream was interrupted."""


class LoopbackServer(ThreadingHTTPServer):
    """Speaks chat completions (n, SSE with usage, tools, response formats), Responses, embeddings and models.

    Under ``root_url`` it also speaks Anthropic's Messages (``/v1/messages``) and Ollama's chat (``/api/chat``), both
    with streams, tools and JSON schemas. ``batches`` holds what is done by files and batches of either provider.

    It listens on a free port of 127.0.0.1 at once. Every request is kept in ``requests``; each has one bill in
    ``bills``, written before its answer ends. ``inflight`` counts requests without a bill yet, ``max_inflight`` the
    most there were at a time.

    What it answers is said in ``bestroute.testing.brain``, how it fails in ``bestroute.testing.switches``.

    Example:
        >>> with LoopbackServer() as server:
        ...     server.base_url.startswith("http://127.0.0.1:")
        True
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, models: Sequence[str] = ("small", "large")) -> None:
        """Listen on a free port, and serve in a thread."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models, self.brain, self.batches = list(models), Brain(), Batches()
        self.requests: list[dict[str, Any]] = []
        self.bills: list[Bill] = []
        self.inflight = self.max_inflight = 0
        self._closing = threading.Event()
        self._workers: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Address for OpenAI clients."""
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """Address for Anthropic and Ollama clients."""
        return f"http://127.0.0.1:{self.server_address[1]}"

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
        """A function ``fn(model, messages) -> text`` that replaces the default text answers."""
        return self.brain.answers

    @answers.setter
    def answers(self, fn: Callable[[str, list[dict[str, Any]]], str] | None) -> None:
        self.brain.answers = fn

    def script(self, model: str, answers: Sequence[str | Mapping[str, Any]]) -> None:
        """Script a model's answers, choice by choice, in order.

        Args:
            model: As requests name it.
            answers: Texts, or dicts of ``"text"`` or ``"tool"`` and ``"args"``, with ``"finish_reason"`` and
                ``"usage"`` (in the words of chat completions, told and billed) and ``"logprobs"`` (a number a word,
                told where they are asked for) if need be; or ``{"status": 503}`` to fail a whole request. When they
                are used up the server answers 500 and says so.

        Raises:
            ValueError: If an answer has an unknown key.
        """
        entries = [as_answer(entry) for entry in answers]
        with self.brain.lock:
            self.brain.scripts[model] = entries

    def sent(self, path: str = "/chat/completions") -> list[dict[str, Any]]:
        """Return the bodies of the requests to an endpoint."""
        return [r["body"] for r in self.requests if r["path"].endswith(path)]

    def reset(self) -> None:
        """Reset requests, bills, draws, scripts and batches."""
        with self.brain.lock:
            self.brain.reset()
            self.batches = Batches()
            self.requests.clear()
            self.bills.clear()
            self.max_inflight = self.inflight

    def close(self) -> None:
        """Stop serving, disconnect every client and free the port; no thread is left."""
        self._closing.set()
        self.shutdown()
        for connection in self._workers.values():
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        for thread in (self._thread, *self._workers):
            thread.join(timeout=5)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread that ``close`` can end; called only by the serving thread."""
        self._workers = {thread: held for thread, held in self._workers.items() if thread.is_alive()}
        worker = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._workers[worker] = request
        worker.start()

    def __enter__(self) -> LoopbackServer:
        """Return the server, which is serving already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the server."""
        self.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients disconnect on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes: 40 ms a call otherwise
    server: LoopbackServer

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        if self.server.batches.handles(self.path):
            return self._of_batches(lambda: self.server.batches.get(self.path, self.server.server_address[1]))
        if self.path.endswith("/api/tags"):
            return self._json({"models": [{"model": m, "name": m} for m in self.server.models]})
        if not self.path.endswith("/models"):
            return self._json(Refused(404, "not found " + self.path).body, 404)
        listed = [{"id": m, "object": "model", "created": 0, "owned_by": "t"} for m in self.server.models]
        self._json({"object": "list", "data": listed})

    def _of_batches(self, answer: Callable[[], tuple[bytes, str]]) -> None:
        try:
            data, kind = answer()
        except Refused as refusal:
            return self._json(refusal.body, refusal.status)
        except ConnectionError:
            self.close_connection = True
            return None
        return self._raw(data, 200, kind=kind)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.batches.handles(self.path):
            batches, form = self.server.batches, self.headers.get("Content-Type", "")
            return self._of_batches(lambda: (batches.post(self.path, form, data), "application/json"))
        parsed = _parse(data or b"{}")
        self.body: dict[str, Any] = parsed or {}
        self.model = str(self.body.get("model") or "")
        self.on = switches(self.model)
        self._enter()
        try:
            if parsed is None:
                raise Refused(400, "We could not parse the JSON body of your request.")
            self._answer()
        except Refused as refusal:
            self._refuse(refusal)
        except ConnectionError:  # the client hung up, or the server is being closed
            self._bill(0, 0, "cancelled")
            self.close_connection = True
        except Exception as error:
            if not self.billed:  # most likely a bug in the test's own ``answers``, which must not be swallowed
                logger.exception("%s %s", self.path, self.model)
            self._refuse(Refused(500, f"{type(error).__name__}: {error}"))

    def _answer(self) -> None:
        endpoints: dict[str, tuple[Callable[[], None], str]] = {
            "/chat/completions": (self._chat, "messages"),
            "/responses": (self._responses, "input"),
            "/embeddings": (self._embeddings, "input"),
            "/completions": (self._completions, "prompt"),
            "/v1/messages": (self._anthropic, "messages"),
            "/api/chat": (self._ollama, "messages"),
            "/api/show": (self._show, "model"),
        }
        path = self.path.partition("?")[0]
        known = next((known for end, known in endpoints.items() if path.endswith(end)), None)
        if known is None:
            raise Refused(404, "not found " + self.path)
        endpoint, subject = known
        for name in ("model", subject):
            if self.body.get(name) is None:
                raise Refused(400, f"Missing required parameter: '{name}'.", param=name)
        self.chat_body = self._as_chat()
        self._misbehave()
        if "overload" in self.on and self.call <= self.on["overload"]:
            self._overload()
        elif "badjson" in self.on:
            self._bill(0, 0, "failed")
            self._raw(b'{"choices": [', 200)
        elif "drop" in self.on and not self.body.get("stream"):
            self._bill(0, 0, "failed")
            self.close_connection = True
        else:
            endpoint()

    def _as_chat(self) -> dict[str, Any]:
        """Convert the request to a chat completion request."""
        if self.path.endswith("/responses"):
            return payloads.from_responses(self.body)
        if self.path.endswith(("/chat/completions", "/api/show")):
            return self.body if "messages" in self.body else {**self.body, "messages": []}
        if self._speaks_anthropic:
            anthropic_wire.check(self.body)
            return anthropic_wire.to_chat(self.body)
        if self._speaks_ollama:
            ollama_wire.check(self.body)
            return ollama_wire.to_chat(self.body)
        subject = self.body.get("prompt", self.body.get("input"))
        texts = subject if isinstance(subject, list) else [subject]
        return {**self.body, "messages": [{"role": "user", "content": str(text)} for text in texts]}

    @property
    def _speaks_anthropic(self) -> bool:
        return "/v1/messages" in self.path

    @property
    def _speaks_ollama(self) -> bool:
        return "/api/" in self.path

    def _misbehave(self) -> None:
        """Wait or fail, as the model's name requests."""
        if "slow" in self.on and self.server._closing.wait(self.on["slow"] / 1000):
            raise ConnectionAbortedError("the server is being closed")
        self.on.refuse_options(self.body)
        with self.server.brain.lock:
            self.server.brain.calls[self.model] += 1
            self.call = self.server.brain.calls[self.model]
        self.on.refuse(self.call, payloads.prompt_tokens(self.chat_body))

    def _overload(self) -> None:
        """Send an error with status 200, in the protocol's format."""
        error = {"type": "overloaded_error", "message": "Overloaded"}
        is_chat = self.path.partition("?")[0].endswith("/chat/completions")
        if self._speaks_ollama or not (is_chat or self.body.get("stream")):
            raise Refused(529, "Overloaded", kind="overloaded_error")
        self._bill(0, 0, "failed")
        if self.body.get("stream"):
            body: dict[str, Any] = {"error": error} if is_chat else {"type": "error", "error": error}
            self._stream(iter([Frame(body, event=None if is_chat else "error")]), 0, 0)
        else:
            self._json({"error": {**error, "code": 529}})

    # Endpoints.

    def _chat(self) -> None:
        payloads.check_chat(self.body)
        choices, inp, usage = self._choices(1 if "one" in self.on else int(self.body.get("n") or 1))
        out = sum(choice.tokens for choice in choices)
        base = {
            "id": self.server.brain.next_id("chatcmpl"),
            "created": 1,
            "model": self.model,
            "system_fingerprint": "fp_x",
            "service_tier": "default",
        }
        if self.body.get("stream"):
            wanted = (self.body.get("stream_options") or {}).get("include_usage")
            reported = self.on.usage(usage) if wanted else None
            chunk = {**base, "object": "chat.completion.chunk"}
            return self._stream(payloads.chat_frames(chunk, choices, reported), inp, out)
        listed = [choice.chat(index) for index, choice in enumerate(choices)]
        reply = {**base, "object": "chat.completion", "choices": listed}
        self._bill(inp, out, "ok")
        return self._json(reply if usage is None else {**reply, "usage": self.on.usage(usage)})

    def _responses(self) -> None:
        (choice,), inp, usage = self._choices(1)
        next_id = self.server.brain.next_id
        item = payloads.response_item(choice, next_id("msg" if choice.call is None else "fc"))
        reported = None if usage is None else payloads.responses_usage(usage)
        reply = payloads.response_reply(next_id("resp"), self.model, choice, item, reported)
        if self.body.get("stream"):
            return self._stream(payloads.response_frames(reply, item), inp, choice.tokens)
        self._bill(inp, choice.tokens, "ok")
        return self._json(reply)

    def _anthropic(self) -> None:
        (choice,), inp, usage = self._choices(1)
        thinks = (self.body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        reply = anthropic_wire.reply(self.server.brain.next_id("msg"), self.model, choice, usage, thinks=thinks)
        if self.body.get("stream"):
            return self._stream(anthropic_wire.frames(reply), inp, choice.tokens)
        self._bill(inp, choice.tokens, "ok")
        return self._json(reply)

    def _ollama(self) -> None:
        (choice,), inp, usage = self._choices(1)
        thinks = bool(self.body.get("think"))
        if self.body.get("stream", True):
            frames = ollama_wire.frames(self.model, choice, usage, thinks=thinks)
            return self._stream(frames, inp, choice.tokens, as_lines=True)
        self._bill(inp, choice.tokens, "ok")
        return self._json(ollama_wire.reply(self.model, choice, usage, thinks=thinks))

    def _show(self) -> None:
        self._bill(0, 0, "ok")
        self._json(ollama_wire.show(self.model))

    def _completions(self) -> None:
        (choice,), inp, usage = self._choices(1)
        listed = {"index": 0, "text": choice.text, "finish_reason": choice.finish_reason, "logprobs": None}
        reply = {"id": "cmpl", "object": "text_completion", "created": 0, "model": self.model, "choices": [listed]}
        self._bill(inp, choice.tokens, "ok")
        self._json(reply if usage is None else {**reply, "usage": usage})

    def _embeddings(self) -> None:
        texts = [self.body["input"]] if isinstance(self.body["input"], str) else self.body["input"]
        vectors = [payloads.embedding(text, self.body.get("encoding_format")) for text in texts]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        inp = payloads.prompt_tokens(self.chat_body)
        self._bill(inp, 0, "ok")
        usage = {"prompt_tokens": inp, "total_tokens": inp}
        self._json({"object": "list", "data": data, "model": self.model, "usage": usage})

    def _choices(self, n: int) -> tuple[list[Choice], int, dict[str, Any] | None]:
        """Return the choices, the tokens billed for the prompt, and the usage reported."""
        brain = self.server.brain
        answers = brain.answer(self.chat_body, n)
        tells = self._asks_for_logprobs and self.on.tells_logprobs(self.call)
        choices = [
            payloads.make_choice(answer, self.chat_body, self.on, brain.next_id("call"), with_logprobs=tells)
            for answer in answers
        ]
        scripted = [answer.usage or {} for answer in answers]
        inp = next((u["prompt_tokens"] for u in scripted if "prompt_tokens" in u), None)
        inp = payloads.prompt_tokens(self.chat_body) if inp is None else inp
        if "nousage" in self.on:
            return choices, inp, None
        billed = choices[:1] if "usage1" in self.on else choices
        return choices, inp, payloads.chat_usage(inp, sum(choice.tokens for choice in billed), scripted)

    @property
    def _asks_for_logprobs(self) -> bool:
        included = self.body.get("include") or ()
        return bool(self.body.get("logprobs")) or "message.output_text.logprobs" in included

    # Bills.

    def _enter(self) -> None:
        server = self.server
        request = {"path": self.path, "body": self.body, "t": time.time(), "thread": threading.get_ident()}
        self.billed = False
        with server.brain.lock:
            server.requests.append({**request, "headers": dict(self.headers)})
            server.inflight += 1
            server.max_inflight = max(server.max_inflight, server.inflight)

    def _bill(self, inp: int, out: int, status: Literal["ok", "failed", "cancelled"]) -> None:
        """Bill the request, once, and count it as answered."""
        if self.billed:
            return
        self.billed = True
        n = self.body.get("n")
        with self.server.brain.lock:
            self.server.bills.append(Bill(self.model, inp, out, n if isinstance(n, int) else 1, status))
            self.server.inflight -= 1

    def _refuse(self, refusal: Refused) -> None:
        if self.billed:  # an answer is on its way, nothing else may follow
            self.close_connection = True
            return
        self._bill(0, 0, "failed")
        body: Mapping[str, Any] = refusal.body
        if self._speaks_anthropic:
            body = anthropic_wire.error_body(refusal.status, str(refusal))
        elif self._speaks_ollama:
            body = {"error": str(refusal)}
        self._json(body, refusal.status, refusal.headers)

    # Wire.

    def _json(self, value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._raw(json.dumps(value).encode(), status, headers)

    def _raw(
        self, data: bytes, status: int, headers: Sequence[tuple[str, str]] = (), kind: str = "application/json"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("x-request-id", self.server.brain.next_id("req"))
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, frames: Iterator[Frame], inp: int, out: int, *, as_lines: bool = False) -> None:
        """Send server-sent events, or lines; bill all once the tokens are sent, or what was sent if interrupted."""
        sent = 0
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson" if as_lines else "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for frame in frames:
                if ("drop" in self.on and sent >= self.on["drop"]) or self._hung_up():
                    raise ConnectionAbortedError
                if frame.complete:
                    self._bill(inp, out, "ok")
                self.wfile.write(frame.line() if as_lines else frame.event_text())
                sent += frame.words
        except OSError:
            self._bill(inp, min(sent, out), "cancelled")

    def _hung_up(self) -> bool:
        """Return whether the client has closed its side, which writing would notice only two writes later."""
        self.connection.settimeout(0)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(None)


def _parse(data: bytes) -> dict[str, Any] | None:
    """Return a JSON object, ``None`` if the data is anything else."""
    try:
        body = json.loads(data)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
