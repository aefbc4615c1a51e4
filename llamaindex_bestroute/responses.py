"""Between members' responses and the core: samples and their bills in, the router's own responses out.

A response is a type of its own in LlamaIndex, around a message; its ``raw`` reads like the member's own object, and as
a dict with the bill of the whole call.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
)
from pydantic import BaseModel, Field

from bestroute.engine.result import Result
from bestroute.types.token_logprobs import joined, lists_logprobs
from bestroute.types.usage import Usage, read_usage
from llamaindex_bestroute.messages import METADATA_KEY, call_dict, tool_calls

_OF_ONE_SAMPLE = ("usage", "thinking_delta")
"""What members note about one sample alone, which would contradict the whole call's bill."""
_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")


@dataclass(frozen=True)
class Chunk:
    """A piece of a member's stream, as the payload of a ``Delta``."""

    response: ChatResponse
    model: str
    """Pool name of the member."""

    @property
    def message(self) -> ChatMessage:
        """What the core looks at to see whether a piece without text carries something."""
        return self.response.message

    @property
    def raw(self) -> Any:
        """Where the core looks for a refusal, which LlamaIndex leaves out of its messages."""
        return self.response.raw

    def shown(self) -> ChatResponse:
        """Return the piece as the caller sees it: it tells who speaks; the rest is known at the end."""
        noted = {**self.message.additional_kwargs, METADATA_KEY: {"model": self.model}}
        others = {k: v for k, v in self.response.additional_kwargs.items() if k not in _TOKENS}
        return self.response.model_copy(
            update={
                "message": self.message.model_copy(update={"additional_kwargs": noted}),
                "raw": raw_of(self.response.raw, None),
                "additional_kwargs": others,
            }
        )


class StructuredResponse(ChatResponse):
    """A response together with the object that its member read from it."""

    parsed: Any = Field(default=None, exclude=True)
    error: Any = Field(default=None, exclude=True)
    """What the member raised when it read the response."""


# What members answer.


def usage_of(response: ChatResponse | CompletionResponse) -> Usage | None:
    """Read the bill of a response, wherever its integration puts it; ``None`` if nothing was told."""
    noted = response.message.additional_kwargs if isinstance(response, ChatResponse) else {}
    places = (
        *(part(raw, name) for raw in _replies(response.raw) for name in ("usage", "usage_metadata")),
        part(response.additional_kwargs, "usage"),
        noted.get("usage"),
        response.additional_kwargs,
        noted,
    )
    return next((usage for place in places if place and (usage := read_usage(place)) is not None), None)


def finish_reason_of(response: ChatResponse | CompletionResponse) -> str | None:
    """Read why a response ended, wherever its integration puts it."""
    noted = response.message.additional_kwargs if isinstance(response, ChatResponse) else {}
    reasons = [noted.get("stop_reason")]
    for raw in _replies(response.raw):
        reasons += [part(raw, name) for name in _REASONS]
    found = next((reason for reason in reasons if isinstance(reason, str)), None)
    return found.value if isinstance(found, Enum) else found


def logprobs_of(response: ChatResponse) -> Any:
    """Return what holds a response's log-probabilities, wherever its integration puts them.

    The raw reply goes first: ``ChatResponse.logprobs`` lists alternatives, and not which of them was drawn.
    """
    for reply in _replies(response.raw):
        if lists_logprobs(reply):
            return reply
    if response.logprobs:
        return response
    output = part(response.raw, "output")  # the Responses API
    contents = [content for item in output for content in part(item, "content") or ()] if _is_list(output) else []
    return joined([part(content, "logprobs") for content in contents if part(content, "logprobs")])


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


_REASONS = ("finish_reason", "stop_reason", "done_reason", "stopReason")


def _replies(raw: Any) -> Iterator[Any]:
    """Yield a raw reply, and what in it may hold what is told of it: an event's data, its delta, the first choice."""
    for reply in (raw, part(raw, "data"), part(raw, "response"), part(raw, "delta"), part(raw, "messageStop")):
        if reply is not None:
            yield reply
            for choices in (part(reply, "choices"), part(reply, "candidates")):
                if isinstance(choices, list | tuple) and choices:
                    yield choices[0]


def with_calls(message: ChatMessage, ids: list[str]) -> ChatMessage:
    """Complete what a message says of its tool calls.

    Each gets an id where the provider gives none, so that its result can name it; and they are noted where
    LlamaIndex's streaming programs look for them, which is not where its integrations agree to put them.

    Args:
        message: What a member answered, or has so far.
        ids: Of this answer, in order; longer from chunk to chunk.
    """
    calls = tool_calls(message)
    if not calls:
        return message
    ids += [f"call_{uuid.uuid4().hex[:24]}" for _ in calls[len(ids) :]]
    known = {
        id(call): call if call.tool_call_id else call.model_copy(update={"tool_call_id": own})
        for call, own in zip(calls, ids, strict=False)
    }
    noted = {"tool_calls": [call_dict(call) for call in known.values()], **message.additional_kwargs}
    blocks = [known.get(id(block), block) for block in message.blocks]
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": noted})


def with_text(message: ChatMessage, text: str) -> ChatMessage:
    """Put the text that a stream has brought into its message, where the integration has not done so yet."""
    if len(message.content or "") >= len(text):
        return message
    thoughts = [block for block in message.blocks if isinstance(block, ThinkingBlock)]
    others = [block for block in message.blocks if not isinstance(block, ThinkingBlock | TextBlock)]
    return message.model_copy(update={"blocks": [*thoughts, TextBlock(text=text), *others]})


# What the router answers.


def tokens(usage: Usage) -> dict[str, int]:
    """Write a bill as LlamaIndex's integrations do."""
    return {"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.total}


def chat_response(result: Result, model_name: str, *, delta: str | None = None) -> ChatResponse:
    """Return the chosen sample's response with the bill of all samples and how it came about."""
    chosen = result.payload
    if not isinstance(chosen, ChatResponse):
        chosen = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=result.text))
    about, noted = (
        {k: v for k, v in kwargs.items() if k not in _OF_ONE_SAMPLE}
        for kwargs in (chosen.message.additional_kwargs, chosen.additional_kwargs)
    )
    about |= {name: count for name, count in tokens(result.usage).items() if name in about}
    message = chosen.message.model_copy(update={"additional_kwargs": {**about, METADATA_KEY: result.to_dict()}})
    usage: dict[str, Any] = dict(tokens(result.usage))
    if result.usage.cached_input or result.usage.cache_write:
        details = {"cached_tokens": result.usage.cached_input, "cache_write_tokens": result.usage.cache_write}
        usage["prompt_tokens_details"] = details
    if result.usage.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": result.usage.reasoning}
    return chosen.model_copy(
        update={
            "message": message,
            "raw": raw_of(chosen.raw, usage, model_name),
            "delta": delta,
            "additional_kwargs": {**noted, **tokens(result.usage)},
        }
    )


def completion_response(response: ChatResponse) -> CompletionResponse:
    """Return a chat response as that of a completion."""
    about = response.message.additional_kwargs
    metadata = {METADATA_KEY: about[METADATA_KEY]} if METADATA_KEY in about else {}
    return CompletionResponse(
        text=response.message.content or "",
        additional_kwargs={**response.additional_kwargs, **metadata},
        raw=response.raw,
        logprobs=response.logprobs,
        delta=response.delta,
    )


def as_chat(completion: CompletionResponse) -> ChatResponse:
    """Return a completion as a chat response."""
    return ChatResponse(
        message=ChatMessage(role=MessageRole.ASSISTANT, content=completion.text),
        raw=completion.raw,
        logprobs=completion.logprobs,
        delta=completion.delta,
        additional_kwargs=dict(completion.additional_kwargs),
    )


def choices_of(response: ChatResponse) -> Sequence[ChatResponse]:
    """Return each choice of an OpenAI reply as a response; LlamaIndex's own is the first alone."""
    return [
        ChatResponse(
            message=_message_of(choice),
            raw=response.raw.model_copy(update={"choices": [choice]}),  # type: ignore[union-attr]
            additional_kwargs=dict(response.additional_kwargs),
        )
        for choice in response.raw.choices  # type: ignore[union-attr]
    ]


def _message_of(choice: Any) -> ChatMessage:
    from llama_index.llms.openai.utils import from_openai_message

    if hasattr(choice, "message"):
        return from_openai_message(choice.message, modalities=["text"])
    return ChatMessage(role=MessageRole.ASSISTANT, content=choice.text)


class Raw(dict[str, Any]):
    """A reply as plain data, whose attributes are those of the object that the member's client made.

    ``raw["usage"]`` and ``raw.usage`` are the router's: what all samples were billed, ``None`` until that is known.
    It is copied and pickled as the plain dict it is.
    """

    __slots__ = ("_ours", "_reply")

    def __init__(self, data: Mapping[str, Any], reply: Any, ours: Iterable[str]) -> None:
        """Keep the data, and the object that attributes are read from but for what is ours."""
        super().__init__(data)
        self._reply, self._ours = reply, frozenset(ours)

    def __getattr__(self, name: str) -> Any:
        """Read an attribute of the member's object; of a reply that is a dict, a key."""
        if not name.startswith("_"):
            if name not in self._ours and hasattr(self._reply, name):
                return getattr(self._reply, name)
            if name in self:
                return self[name]
        raise AttributeError(f"the member's raw reply has no {name!r}")

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """Return the plain dict: a client's object may refuse to be pickled."""
        return dict, (dict(self),)


def raw_of(reply: Any, usage: Mapping[str, Any] | None, model_name: str | None = None) -> Raw:
    """Return a member's raw reply with the router's usage in the place of its own.

    Args:
        reply: What the member has in ``raw``.
        usage: What the whole call was billed; ``None`` while that is not known.
        model_name: The provider's name of the model, where the reply tells none.
    """
    try:
        data = plain(reply)
    except Exception:  # it holds itself, or what nobody can write out
        held = reply if isinstance(reply, Mapping) else {}
        data = {str(name): item for name, item in held.items() if isinstance(item, str | int | float | None)}
    data = data if isinstance(data, dict) else {"response": data}
    named = {} if model_name is None else {"model": model_name}
    bill = None if usage is None else Raw(usage, part(reply, "usage"), usage)
    return Raw({**named, **data, "usage": bill}, reply, ("usage",))


def part(raw: Any, name: str) -> Any:
    """Return a part of a raw reply, be it a dict or an object; ``None`` if it has none."""
    return raw.get(name) if isinstance(raw, (dict, Mapping)) else getattr(raw, name, None)


def plain(value: Any) -> Any:
    """Return a raw reply with its objects as dicts, so that it can be stored and pickled."""
    if isinstance(value, BaseModel):
        return value.model_dump(warnings=False)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
