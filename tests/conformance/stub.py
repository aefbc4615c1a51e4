"""A server on loopback that answers in every provider's protocol, told apart by the path of the request."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import dialects
from .scenes import ANSWER, Scene


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    body: dict[str, Any]


class Stub(ThreadingHTTPServer):
    """Plays scenes, one a request, the last one for all that come after; keeps every request.

    Args:
        scenes: What to answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, scenes: Sequence[Scene] = (ANSWER,)) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = threading.Lock()
        self.play(*scenes)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def play(self, *scenes: Scene) -> None:
        """Begin anew with other scenes."""
        with self._lock:
            self._scenes, self.requests = list(scenes), []

    def next_scene(self, request: Request) -> Scene:
        """Note a request and return what it is answered with."""
        with self._lock:
            self.requests.append(request)
            return self._scenes[min(len(self.requests), len(self._scenes)) - 1]

    @property
    def root(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent: clients hang up."""

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._whole(200, {"object": "list", "data": [], "models": []})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        request = Request(self.path, json.loads(self.rfile.read(size) or b"{}"))
        scene = self.server.next_scene(request)
        dialect = dialects.of(request.path)
        if scene.status != 200:
            headers = {} if scene.retry_after is None else {"Retry-After": scene.retry_after}
            self._whole(scene.status, dialect.error(scene), {**headers, **dialect.error_headers(scene)})
        elif dialect.is_stream(request.path, request.body):
            self._pieces(dialect.content_type, dialect.stream(scene, request.body))
        else:
            self._whole(200, dialect.reply(scene, request.body))

    def _whole(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _pieces(self, content_type: str, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
        self.close_connection = True
