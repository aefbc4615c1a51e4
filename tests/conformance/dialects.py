"""The protocols of the providers: how each writes a reply, a stream, an error."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from .scenes import Scene


def of(path: str) -> Dialect:
    """Return the protocol that is spoken at a path."""
    return next(dialect for marks, dialect in _DIALECTS if any(mark in path for mark in marks))


def _asked_call(scene: Scene, body: Mapping[str, Any], names: list[str]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the call to answer with: the scene's own, or its value by the tool of the request."""
    if scene.value is not None and names:
        return names[0], scene.value
    return scene.call


def _text(scene: Scene) -> str:
    return json.dumps(scene.value) if scene.value is not None else scene.text


def _halves(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]


class Dialect:
    """One protocol."""

    content_type = "text/event-stream"

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        return bool(body.get("stream"))

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        raise NotImplementedError

    def error(self, scene: Scene) -> dict[str, Any]:
        kind = "rate_limit_error" if scene.status == 429 else "invalid_request_error"
        return {
            "error": {"message": f"the stub refuses with {scene.status}", "type": kind, "param": None, "code": None}
        }

    def error_headers(self, scene: Scene) -> dict[str, str]:
        return {}


def _sse(data: Any, event: str | None = None) -> bytes:
    written = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {written}\n\n".encode()


class ChatCompletions(Dialect):
    """OpenAI's chat completions, which most speak."""

    def _common(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": "chatcmpl-stub",
            "created": 1_700_000_000,
            "model": f"{body.get('model', 'model')}-2026",
            "system_fingerprint": "fp_stub",
            "service_tier": "default",
        }

    def _call(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any] | None:
        names = [tool["function"]["name"] for tool in body.get("tools") or () if "function" in tool]
        if (call := _asked_call(scene, body, names)) is None:
            return None
        return {
            "id": "abcDEF123",
            "type": "function",
            "function": {"name": call[0], "arguments": json.dumps(call[1])},
        }

    def _usage(self, scene: Scene) -> dict[str, Any]:
        prompt, output = scene.usage
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        call = self._call(scene, body)
        message = {"role": "assistant", "content": "" if call else _text(scene)}
        if call:
            message["tool_calls"] = [call]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop", "logprobs": None}
        return {**self._common(body), "object": "chat.completion", "choices": [choice], "usage": self._usage(scene)}

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        common = {**self._common(body), "object": "chat.completion.chunk"}

        def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
            return _sse({**common, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more})

        call = self._call(scene, body)
        if call:
            first, second = _halves(call["function"]["arguments"])
            if str(body.get("model", "")).startswith("mistral"):  # which sends a call whole
                first, second = first + second, ""
            opened = {**call, "index": 0, "function": {"name": call["function"]["name"], "arguments": first}}
            yield chunk({"role": "assistant", "content": "", "tool_calls": [opened]})
            if scene.is_cut:
                return
            if second:
                yield chunk({"content": "", "tool_calls": [{"index": 0, "function": {"arguments": second}}]})
        else:
            first, second = _halves(_text(scene))
            yield chunk({"role": "assistant", "content": first})
            if scene.is_cut:
                return
            yield chunk({"content": second})
        wants_usage = (body.get("stream_options") or {}).get("include_usage")
        tells_usage = "stream_options" not in body and not self._is_openai(body)
        ended = {"usage": self._usage(scene)} if tells_usage else {}
        yield chunk({"content": ""}, "tool_calls" if call else "stop", **ended)
        if wants_usage:
            yield _sse({**common, "choices": [], "usage": self._usage(scene)})
        yield _sse("[DONE]")

    def _is_openai(self, body: Mapping[str, Any]) -> bool:
        """OpenAI tells a stream's usage only where it is asked to; others tell it in the last chunk."""
        return str(body.get("model", "")).startswith("gpt-")


class Responses(Dialect):
    """OpenAI's Responses."""

    def _items(self, scene: Scene, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        names = [tool["name"] for tool in body.get("tools") or () if tool.get("type") in ("function", "custom")]
        if (call := _asked_call(scene, body, names)) is not None:
            return [
                {
                    "type": "function_call",
                    "id": "fc_stub",
                    "call_id": "call_stub",
                    "name": call[0],
                    "arguments": json.dumps(call[1]),
                    "status": "completed",
                }
            ]
        content = [{"type": "output_text", "text": _text(scene), "annotations": []}]
        return [{"type": "message", "id": "msg_stub", "role": "assistant", "status": "completed", "content": content}]

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        prompt, output = scene.usage
        return {
            "id": "resp_stub",
            "object": "response",
            "created_at": 1_700_000_000,
            "model": f"{body.get('model', 'model')}-2026",
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "service_tier": "default",
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "top_p": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "output": self._items(scene, body),
            "usage": {
                "input_tokens": prompt,
                "output_tokens": output,
                "total_tokens": prompt + output,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        whole, number = self.reply(scene, body), 0

        def event(kind: str, **data: Any) -> bytes:
            nonlocal number
            number += 1
            return _sse({"type": kind, "sequence_number": number, **data}, kind)

        item = whole["output"][0]
        yield event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
        if item["type"] == "function_call":
            first, second = _halves(item["arguments"])
            about = {"output_index": 0, "item_id": item["id"]}
            opened = {**item, "arguments": "", "status": "in_progress"}
            yield event("response.output_item.added", output_index=0, item=opened)
            yield event("response.function_call_arguments.delta", delta=first, **about)
            if scene.is_cut:
                return
            yield event("response.function_call_arguments.delta", delta=second, **about)
            yield event("response.function_call_arguments.done", arguments=item["arguments"], **about)
        else:
            about = {"output_index": 0, "item_id": item["id"], "content_index": 0}
            text = item["content"][0]["text"]
            first, second = _halves(text)
            opened = {**item, "content": [], "status": "in_progress"}
            yield event("response.output_item.added", output_index=0, item=opened)
            part = {"type": "output_text", "text": "", "annotations": []}
            yield event("response.content_part.added", part=part, **about)
            yield event("response.output_text.delta", delta=first, logprobs=[], **about)
            if scene.is_cut:
                return
            yield event("response.output_text.delta", delta=second, logprobs=[], **about)
            yield event("response.output_text.done", text=text, logprobs=[], **about)
            yield event("response.content_part.done", part={**part, "text": text}, **about)
        yield event("response.output_item.done", output_index=0, item=item)
        yield event("response.completed", response=whole)


class Messages(Dialect):
    """Anthropic's messages."""

    def _content(self, scene: Scene, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        names = [tool["name"] for tool in body.get("tools") or ()]
        if (call := _asked_call(scene, body, names)) is not None:
            return [{"type": "tool_use", "id": "toolu_stub", "name": call[0], "input": dict(call[1])}]
        return [{"type": "text", "text": _text(scene)}]

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        content = self._content(scene, body)
        prompt, output = scene.usage
        return {
            "id": "msg_stub",
            "type": "message",
            "role": "assistant",
            "model": f"{body.get('model')}-2026",
            "content": content,
            "stop_reason": "tool_use" if content[0]["type"] == "tool_use" else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": output},
        }

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        def event(kind: str, **data: Any) -> bytes:
            return _sse({"type": kind, **data}, kind)

        whole = self.reply(scene, body)
        prompt, output = scene.usage
        begun = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": prompt, "output_tokens": 1}}
        yield event("message_start", message=begun)
        block = whole["content"][0]
        if block["type"] == "tool_use":
            yield event("content_block_start", index=0, content_block={**block, "input": {}})
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in _halves(json.dumps(block["input"]))]
        else:
            yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            deltas = [{"type": "text_delta", "text": part} for part in _halves(block["text"])]
        yield event("content_block_delta", index=0, delta=deltas[0])
        if scene.is_cut:
            return
        yield event("content_block_delta", index=0, delta=deltas[1])
        yield event("content_block_stop", index=0)
        ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield event("message_delta", delta=ended, usage={"input_tokens": prompt, "output_tokens": output})
        yield event("message_stop")

    def error(self, scene: Scene) -> dict[str, Any]:
        return {"type": "error", **super().error(scene)}


class Gemini(Dialect):
    """Google's generateContent."""

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        return "streamGenerateContent" in path

    def _whole(self, parts: list[dict[str, Any]], scene: Scene, *, is_last: bool = True) -> dict[str, Any]:
        prompt, output = scene.usage
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        told: dict[str, Any] = {
            "candidates": [candidate],
            "modelVersion": "gemini-stub-2026",
            "responseId": "resp-stub",
        }
        if is_last:
            candidate["finishReason"] = "STOP"
            counts = {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output}
            told["usageMetadata"] = counts
        return told

    def _call(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any] | None:
        names = [f["name"] for tool in body.get("tools") or () for f in tool.get("functionDeclarations") or ()]
        call = _asked_call(scene, body, names)
        return None if call is None else {"functionCall": {"id": "fc-stub", "name": call[0], "args": dict(call[1])}}

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._whole([self._call(scene, body) or {"text": _text(scene)}], scene)

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        if (call := self._call(scene, body)) is not None:
            yield _sse(self._whole([call], scene, is_last=not scene.is_cut))
            return
        first, second = _halves(_text(scene))
        yield _sse(self._whole([{"text": first}], scene, is_last=False))
        if not scene.is_cut:
            yield _sse(self._whole([{"text": second}], scene))

    def error(self, scene: Scene) -> dict[str, Any]:
        status = "RESOURCE_EXHAUSTED" if scene.status == 429 else "INVALID_ARGUMENT"
        return {"error": {"code": scene.status, "message": f"the stub refuses with {scene.status}", "status": status}}


class Converse(Dialect):
    """Bedrock's Converse and ConverseStream."""

    content_type = "application/vnd.amazon.eventstream"

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        return path.endswith("/converse-stream")

    def _block(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        tools = (body.get("toolConfig") or {}).get("tools") or ()
        names = [tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool]
        if (call := _asked_call(scene, body, names)) is not None:
            return {"toolUse": {"toolUseId": "tooluse_stub", "name": call[0], "input": dict(call[1])}}
        return {"text": _text(scene)}

    def _usage(self, scene: Scene) -> dict[str, Any]:
        prompt, output = scene.usage
        return {"inputTokens": prompt, "outputTokens": output, "totalTokens": prompt + output}

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        block = self._block(scene, body)
        return {
            "output": {"message": {"role": "assistant", "content": [block]}},
            "stopReason": "tool_use" if "toolUse" in block else "end_turn",
            "usage": self._usage(scene),
            "metrics": {"latencyMs": 1},
        }

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        block = self._block(scene, body)
        yield _event("messageStart", {"role": "assistant"})
        if "toolUse" in block:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            yield _event("contentBlockStart", {"contentBlockIndex": 0, "start": start})
            deltas = [{"toolUse": {"input": part}} for part in _halves(json.dumps(use["input"]))]
        else:
            deltas = [{"text": part} for part in _halves(block["text"])]
        yield _event("contentBlockDelta", {"contentBlockIndex": 0, "delta": deltas[0]})
        if scene.is_cut:
            return
        yield _event("contentBlockDelta", {"contentBlockIndex": 0, "delta": deltas[1]})
        yield _event("contentBlockStop", {"contentBlockIndex": 0})
        yield _event("messageStop", {"stopReason": "tool_use" if "toolUse" in block else "end_turn"})
        yield _event("metadata", {"usage": self._usage(scene), "metrics": {"latencyMs": 1}})

    def error(self, scene: Scene) -> dict[str, Any]:
        return {"message": f"the stub refuses with {scene.status}"}

    def error_headers(self, scene: Scene) -> dict[str, str]:
        return {"x-amzn-ErrorType": "ThrottlingException" if scene.status == 429 else "ValidationException"}


def _event(kind: str, payload: Mapping[str, Any]) -> bytes:
    """Write one message of Amazon's event stream."""
    data = json.dumps(payload).encode()
    headers = b"".join(
        struct.pack("!B", len(name)) + name + b"\x07" + struct.pack("!H", len(value)) + value
        for name, value in (
            (b":event-type", kind.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(data), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + data
    return message + struct.pack("!I", zlib.crc32(message))


class Cohere(Dialect):
    """Cohere's chat, version 2."""

    def _call(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any] | None:
        names = [tool["function"]["name"] for tool in body.get("tools") or ()]
        if (call := _asked_call(scene, body, names)) is None:
            return None
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        return {"id": "multiply_stub", "type": "function", "function": function}

    def _usage(self, scene: Scene) -> dict[str, Any]:
        counts = {"input_tokens": scene.usage[0], "output_tokens": scene.usage[1]}
        return {"billed_units": counts, "tokens": counts}

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        call = self._call(scene, body)
        message: dict[str, Any] = {"role": "assistant"}
        if call:
            message |= {"tool_calls": [call], "tool_plan": "I will multiply."}
        else:
            message["content"] = [{"type": "text", "text": _text(scene)}]
        reason = "TOOL_CALL" if call else "COMPLETE"
        return {"id": "stub", "finish_reason": reason, "message": message, "usage": self._usage(scene)}

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        def event(kind: str, **data: Any) -> bytes:
            return _sse({"type": kind, **data}, kind)

        call = self._call(scene, body)
        started = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        yield event("message-start", id="stub", delta={"message": started})
        if call:
            first, second = _halves(call["function"]["arguments"])
            if str(body.get("model", "")).startswith("mistral"):  # which sends a call whole
                first, second = first + second, ""
            opened = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
            yield event("tool-call-start", index=0, delta={"message": {"tool_calls": opened}})
            for part in (first,) if scene.is_cut else (first, second):
                delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
                yield event("tool-call-delta", index=0, delta=delta)
            if scene.is_cut:
                return
            yield event("tool-call-end", index=0)
        else:
            first, second = _halves(_text(scene))
            block = {"type": "text", "text": ""}
            yield event("content-start", index=0, delta={"message": {"content": block}})
            for part in (first,) if scene.is_cut else (first, second):
                yield event("content-delta", index=0, delta={"message": {"content": {"text": part}}})
            if scene.is_cut:
                return
            yield event("content-end", index=0)
        ended = {"finish_reason": "TOOL_CALL" if call else "COMPLETE", "usage": self._usage(scene)}
        yield event("message-end", id="stub", delta=ended)

    def error(self, scene: Scene) -> dict[str, Any]:
        return {"message": f"the stub refuses with {scene.status}"}


class Ollama(Dialect):
    """Ollama's chat: a JSON object a line."""

    content_type = "application/x-ndjson"

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        return bool(body.get("stream", True))

    def _ended(self, scene: Scene) -> dict[str, Any]:
        counts = {"prompt_eval_count": scene.usage[0], "eval_count": scene.usage[1]}
        spent = {"total_duration": 5, "load_duration": 1, "prompt_eval_duration": 1, "eval_duration": 1}
        return {"done": True, "done_reason": "stop", **counts, **spent}

    def _common(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": body.get("model"), "created_at": "2026-11-01T00:00:00Z"}

    def _call(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any] | None:
        names = [tool["function"]["name"] for tool in body.get("tools") or ()]
        call = _asked_call(scene, body, names)
        return None if call is None else {"function": {"name": call[0], "arguments": dict(call[1])}}

    def reply(self, scene: Scene, body: Mapping[str, Any]) -> dict[str, Any]:
        call = self._call(scene, body)
        message: dict[str, Any] = {"role": "assistant", "content": "" if call else _text(scene)}
        if call:
            message["tool_calls"] = [call]
        return {**self._common(body), "message": message, **self._ended(scene)}

    def stream(self, scene: Scene, body: Mapping[str, Any]) -> Iterator[bytes]:
        def line(message: dict[str, Any], **about: Any) -> bytes:
            whole = {**self._common(body), "message": {"role": "assistant", **message}, **(about or {"done": False})}
            return json.dumps(whole).encode() + b"\n"

        call = self._call(scene, body)
        first, second = _halves(_text(scene))
        yield line({"content": "", "tool_calls": [call]} if call else {"content": first})
        if scene.is_cut:
            return
        yield line({"content": "" if call else second})
        yield line({"content": ""}, **self._ended(scene))

    def error(self, scene: Scene) -> dict[str, Any]:
        return {"error": f"the stub refuses with {scene.status}"}


_DIALECTS: tuple[tuple[tuple[str, ...], Dialect], ...] = (
    (("/chat/completions",), ChatCompletions()),
    (("/responses",), Responses()),
    (("/v1/messages",), Messages()),
    (("enerateContent",), Gemini()),
    (("/converse",), Converse()),
    (("/v2/chat",), Cohere()),
    (("/api/chat",), Ollama()),
)
