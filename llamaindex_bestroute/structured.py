"""Structured prediction: a query that asks for an object, which each member gives in its own way.

A member's own ``structured_predict`` knows what its provider guarantees: a strict ``response_format``, Ollama's
``format``, a tool that must be called, or else words. So it is that method which is called, on a copy whose chats
and completions are ours.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms import LLM
from llama_index.core.output_parsers.pydantic import PydanticOutputParser
from llama_index.core.prompts import BasePromptTemplate
from pydantic import BaseModel

from bestroute.selection.agreement import CUT
from bestroute.selection.tool_calls import canonical
from bestroute.types.sample import Sample
from llamaindex_bestroute.members import variant
from llamaindex_bestroute.messages import METADATA_KEY
from llamaindex_bestroute.responses import StructuredResponse

_OF_THE_ROUTER = ("system_prompt", "query_wrapper_prompt", "output_parser", "pydantic_program_mode")
"""Settings by which LlamaIndex makes a prompt of a template; the router's win where it was given any."""


@dataclass(frozen=True)
class Outcome:
    """What a member read from a reply."""

    parsed: Any = None
    """The object; of a stream, as far as it came."""
    error: Exception | None = None
    """What the member raised instead."""


@dataclass(frozen=True)
class Structure:
    """What object is asked for, and by which prompt.

    Args:
        output_cls: Its class.
        prompt: The template.
        prompt_args: What fills it.
        settings: The router's own settings for prompts.
    """

    output_cls: type[BaseModel]
    prompt: BasePromptTemplate
    prompt_args: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, router: LLM, output_cls: type[BaseModel], prompt: BasePromptTemplate, prompt_args: Mapping[str, Any]
    ) -> Structure:
        """Return what a call of the router asks for."""
        settings = {name: getattr(router, name) for name in _OF_THE_ROUTER if name in router.model_fields_set}
        return cls(output_cls, prompt, prompt_args, settings)

    @property
    def written(self) -> str:
        """The schema as it stands in the prompt; empty of a class that has none."""
        try:
            return json.dumps(self.output_cls.model_json_schema())
        except Exception:  # the member says so
            return ""

    def arguments(self, llm_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a member's method; members change what they are handed, so each has its own."""
        named = {"output_cls": self.output_cls, "prompt": self.prompt.model_copy(), "llm_kwargs": dict(llm_kwargs)}
        return {**self.prompt_args, **named}

    def member(self, member: LLM, methods: Mapping[str, Any]) -> LLM:
        """Return a copy of a member whose named methods are these, which LlamaIndex's programs call.

        Its programs make a tool be called, but not where they stream; here they do.
        """
        copied = variant(member, self.settings).model_copy()
        object.__setattr__(copied, "__pydantic_private__", member.__pydantic_private__)
        copied.__dict__.update(methods)
        for name in ("stream_chat_with_tools", "astream_chat_with_tools"):
            if (method := getattr(copied, name, None)) is not None:
                copied.__dict__[name] = functools.partial(method, tool_required=True)
        return copied

    def in_words(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return the conversation with the schema in words, for what has no method of its own."""
        return list(PydanticOutputParser(self.output_cls).format_messages(list(messages)))

    def holding(self, sample: Sample, outcome: Outcome) -> Sample:
        """Return a sample whose response holds the object, which is looked at no further."""
        response = sample.payload
        if response is None:  # the member does not show it
            response = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=sample.text))
        fields = {**dict(response), "parsed": outcome.parsed, "error": outcome.error}
        return replace(sample, payload=StructuredResponse(**fields))

    def sample(self, sample: Sample, outcome: Outcome) -> Sample:
        """Return a sample of the object; where the member could not read one it has a flaw."""
        parsed, error = outcome.parsed, outcome.error
        is_object = isinstance(parsed, BaseModel)
        content, form = _written(parsed) if is_object else (sample.text, None)
        payload = self.holding(replace(sample, text=content), outcome).payload
        flaw = None
        if not is_object or error is not None:
            is_cut = sample.finish_reason in CUT
            flaw = "it was cut short" if is_cut else f"it holds no {self.output_cls.__name__}"
        return Sample(
            text=content,
            payload=payload,
            usage=sample.usage,
            finish_reason=sample.finish_reason,
            latency_s=sample.latency_s,
            flaw=flaw,
            form=None if flaw else form,
        )


def _written(parsed: BaseModel) -> tuple[str, str | None]:
    """Return an object as JSON, and in the form in which it competes; ``None`` if it has none.

    What pydantic does not write, half characters or what a serializer of the class's own refuses, is written in
    Python's way: the object was read, and paid for.
    """
    with suppress(Exception):
        return parsed.model_dump_json(), canonical(parsed.model_dump(mode="json"))
    with suppress(Exception):
        values = parsed.model_dump()
        return json.dumps(values, default=str), canonical(values)
    with suppress(Exception):
        return str(parsed), None
    return type(parsed).__name__, None


def object_of(response: ChatResponse, output_cls: type[BaseModel]) -> Any:
    """Return the object that a response holds.

    Raises:
        Exception: What the member raised where it holds none.
    """
    if not isinstance(response, StructuredResponse):  # of what was asked in words
        return PydanticOutputParser(output_cls).parse(response.message.content or "")
    if response.error is not None:
        raise response.error
    if not isinstance(response.parsed, BaseModel):
        raise TypeError(f"expected a {output_cls.__name__}, got {type(response.parsed).__name__}")
    return response.parsed


def objects_in(response: ChatResponse, output_cls: type[BaseModel]) -> Iterator[Any]:
    """Yield the object of a stream's piece, as far as it is there.

    Raises:
        Exception: What the member raised where the finished answer holds none.
    """
    if isinstance(response, StructuredResponse):
        if response.error is not None:
            raise response.error
        if response.parsed is not None:
            yield response.parsed
    elif len(response.message.additional_kwargs.get(METADATA_KEY, {})) > 1:  # the finished answer, in words
        yield object_of(response, output_cls)
