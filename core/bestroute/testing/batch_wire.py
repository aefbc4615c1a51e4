"""Batch APIs of the loopback server: OpenAI's files and batches, Anthropic's message batches.

Every line is a request to the server itself, so that it is answered, fails and is billed as one of its own.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any

from bestroute.testing.switches import Refused

HEADER = "x-loopback-batch"


@dataclass
class _Submitted:
    id: str
    lines: list[dict[str, Any]]
    is_anthropics: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    looks: int = 0
    results: list[dict[str, Any]] | None = None
    problem: str | None = None

    @property
    def failed(self) -> int:
        return sum(result["status"] != 200 for result in self.results or ())


class Batches:
    """Files and batches of a server.

    Attributes:
        looks: How many looks at a batch find it under way before it is over.
        expire_after: So many lines of each batch are answered, the others expire; ``None``: all are answered.
        lost: Batches that are started, while the answer that says so never arrives: so many of the next ones.
    """

    def __init__(self) -> None:
        """Start without files and batches."""
        self.looks = 1
        self.expire_after: int | None = None
        self.lost = 0
        self.jobs: dict[str, _Submitted] = {}
        self._files: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._ids = 0

    def handles(self, path: str) -> bool:
        """Return whether a path belongs to the batch APIs."""
        return any(part in path.partition("?")[0] for part in ("/files", "/batches"))

    def get(self, path: str, port: int) -> tuple[bytes, str]:
        """Answer a GET request; returns the body and its content type.

        Raises:
            Refused: If there is no such file or batch.
        """
        place, _, _ = path.partition("?")
        *_, kind, name = place.rstrip("/").split("/")
        if name == "content":
            return self._file(kind), "application/octet-stream"
        if name == "results":
            job = self._job(kind)
            return b"".join(_dumped(_anthropics_result(r)) for r in job.results or ()), "application/x-jsonl"
        if name == "batches":
            listed = [self._shown(job) for job in reversed(self.jobs.values())]
            return _dumped(
                {"object": "list", "data": listed, "has_more": False, "first_id": None, "last_id": None}
            ), _JSON
        job = self._job(name)
        self._look(job, port)
        return _dumped(self._shown(job)), _JSON

    def post(self, path: str, content_type: str, data: bytes) -> bytes:
        """Answer a POST request: an upload, or a new batch.

        Raises:
            Refused: If the request makes no sense.
            ConnectionAbortedError: If the answer is to be lost.
        """
        if path.endswith("/files"):
            name = self._next("file")
            self._files[name] = _uploaded(content_type, data)
            return _dumped({"id": name, "object": "file", "purpose": "batch", "bytes": len(self._files[name])})
        body = json.loads(data)
        if "/messages/batches" in path:
            lines = [
                {"custom_id": r["custom_id"], "body": r["params"], "url": "/v1/messages"} for r in body["requests"]
            ]
            job = _Submitted(self._next("msgbatch"), lines, is_anthropics=True)
        else:
            lines = [json.loads(line) for line in self._file(body["input_file_id"]).splitlines()]
            job = _Submitted(self._next("batch"), lines, is_anthropics=False, metadata=body.get("metadata") or {})
            if len({line["body"]["model"] for line in lines}) > 1:
                job.problem = "all lines of a batch must name one model"
        self.jobs[job.id] = job
        if self.lost:
            self.lost -= 1
            raise ConnectionAbortedError("the answer is lost")
        return _dumped(self._shown(job))

    def _look(self, job: _Submitted, port: int) -> None:
        with self._lock:
            job.looks += 1
            if job.results is None and job.problem is None and job.looks > self.looks:
                job.results = [
                    _answered(line, job, port)
                    if self.expire_after is None or place < self.expire_after
                    else _expired(line)
                    for place, line in enumerate(job.lines)
                ]
                if not job.is_anthropics:
                    output = [_openais_result(r) for r in job.results if r["status"] == 200]
                    errors = [_openais_result(r) for r in job.results if r["status"] != 200]
                    self._files[f"file-{job.id}-out"] = b"".join(map(_dumped, output))
                    self._files[f"file-{job.id}-err"] = b"".join(map(_dumped, errors))

    def _shown(self, job: _Submitted) -> dict[str, Any]:
        done, failed = len(job.results or ()), job.failed
        if job.is_anthropics:
            expired = sum(r["status"] == 0 for r in job.results or ())
            counts = {"processing": len(job.lines) - done, "succeeded": done - failed, "errored": failed - expired}
            return {
                "id": job.id,
                "type": "message_batch",
                "processing_status": "in_progress" if job.results is None else "ended",
                "request_counts": {**counts, "canceled": 0, "expired": expired},
                "created_at": "2026-01-01T00:00:00Z",
                "expires_at": "2026-01-02T00:00:00Z",
                "results_url": None if job.results is None else f"/v1/messages/batches/{job.id}/results",
            }
        status = "in_progress" if job.results is None else "completed"
        if job.results is not None and any(r["status"] == 0 for r in job.results):
            status = "expired"
        shown: dict[str, Any] = {
            "id": job.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": 1,
            "input_file_id": "file",
            "status": "failed" if job.problem else status,
            "metadata": dict(job.metadata),
            "request_counts": {"total": len(job.lines), "completed": done - failed, "failed": failed},
        }
        if job.problem:
            shown["errors"] = {"object": "list", "data": [{"code": "invalid", "message": job.problem}]}
        if job.results is not None:
            shown["output_file_id"] = f"file-{job.id}-out" if done > failed else None
            shown["error_file_id"] = f"file-{job.id}-err" if failed else None
        return shown

    def _next(self, prefix: str) -> str:
        with self._lock:
            self._ids += 1
            return f"{prefix}-{self._ids:04d}"

    def _job(self, name: str) -> _Submitted:
        if name not in self.jobs:
            raise Refused(404, f"no batch {name!r}")
        return self.jobs[name]

    def _file(self, name: str) -> bytes:
        if name not in self._files:
            raise Refused(404, f"no file {name!r}")
        return self._files[name]


_JSON = "application/json"


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _uploaded(content_type: str, data: bytes) -> bytes:
    """Return the file in a multipart form."""
    form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + data)
    for part in form.walk():
        if part.get_filename():
            return bytes(part.get_payload(decode=True))
    raise Refused(400, "the form holds no file")


def _answered(line: Mapping[str, Any], job: _Submitted, port: int) -> dict[str, Any]:
    """Send a request to the server itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": _JSON, HEADER: job.id}
        connection.request("POST", line["url"], json.dumps(line["body"]), headers)
        reply = connection.getresponse()
        return {"custom_id": line["custom_id"], "status": reply.status, "body": json.loads(reply.read())}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"custom_id": line["custom_id"], "status": 500, "body": {"error": {"message": str(error)}}}
    finally:
        connection.close()


def _expired(line: Mapping[str, Any]) -> dict[str, Any]:
    return {"custom_id": line["custom_id"], "status": 0, "body": {}}


def _openais_result(result: Mapping[str, Any]) -> dict[str, Any]:
    head = {"id": f"batch_req_{result['custom_id']}", "custom_id": result["custom_id"]}
    if result["status"] == 0:
        error = {"code": "batch_expired", "message": "This request could not be executed before the window ended."}
        return {**head, "response": None, "error": error}
    response = {"status_code": result["status"], "request_id": "req", "body": result["body"]}
    return {**head, "response": response, "error": None}


def _anthropics_result(result: Mapping[str, Any]) -> dict[str, Any]:
    if result["status"] == 0:
        outcome: dict[str, Any] = {"type": "expired"}
    elif result["status"] == 200:
        outcome = {"type": "succeeded", "message": result["body"]}
    else:
        outcome = {"type": "errored", "error": result["body"]}
    return {"custom_id": result["custom_id"], "result": outcome}
