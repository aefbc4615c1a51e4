"""RAG: what a prompt asks, and the material that retrieval put in for it.

A router is to judge the question; the material's size counts, its words do not. Three things tell them apart, the
surest first: the names under which LlamaIndex fills its templates (``query_str``, ``context_str``, ...), whatever
the template's language; the stock templates themselves, read backwards, where only the filled text is left; and
layout (``bestroute.adapters.retrieval_context``).
"""

from __future__ import annotations

import functools
import string
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine import condense_plus_context
from llama_index.core.chat_engine import context as context_engine
from llama_index.core.prompts import (
    BasePromptTemplate,
    ChatPromptTemplate,
    PromptTemplate,
    chat_prompts,
    default_prompts,
)

from bestroute.adapters.retrieval_context import split_context

QUESTIONS = ("query_str", "query", "question", "query_bundle")
"""Names under which LlamaIndex's components fill in a question."""
MATERIALS = ("context_str", "context_msg", "context_list", "context_messages", "context", "chat_history", "text")
"""Names under which they fill in material."""
_SHORTEST_START = 12
"""Characters a stock template must begin with to be told by them."""


class RagQuestion(NamedTuple):
    """What a prompt asks, and about what."""

    question: str
    context: str = ""


class AskedMessages(list[ChatMessage]):
    """Messages that remember where they came from."""

    rag: RagQuestion | None = None
    """What their template was filled with."""
    is_formatted: bool | None = None
    """Of a completion: whether its prompt is already in the form the model expects; ``None`` of a chat."""
    structure: Any = None
    """Of a structured prediction: the ``Structure`` that is asked for."""


class AskedPrompt(str):
    """A completion's prompt that remembers what its template was filled with."""

    __slots__ = ("rag",)
    rag: RagQuestion | None


def mark_messages(messages: Sequence[ChatMessage], rag: RagQuestion | None) -> AskedMessages:
    """Return messages that remember what was filled into their template."""
    marked = AskedMessages(messages)
    marked.rag = rag
    return marked


def mark_prompt(prompt: str, rag: RagQuestion | None) -> AskedPrompt:
    """Return a prompt that remembers what was filled into its template."""
    marked = AskedPrompt(prompt)
    marked.rag = rag
    return marked


def filled_in(prompt: BasePromptTemplate, arguments: Mapping[str, Any]) -> RagQuestion | None:
    """Return what a template is filled with, ``None`` if no material is among it.

    Where it is filled with no question, ``question`` is ``""``: the template's own words ask, about the context.
    """
    given = {**getattr(prompt, "kwargs", {}), **arguments}
    question = next((text for name in QUESTIONS if (text := _text(given.get(name)).strip())), "")
    names = MATERIALS if question else tuple(name for name in MATERIALS if name.startswith("context"))
    if not any(_text(given.get(name)) for name in names):
        return None
    texts = [_text(value) for name, value in given.items() if (name not in QUESTIONS if question else name in names)]
    return RagQuestion(question, "\n\n".join(part for part in texts if part))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, ChatMessage):
        return value.content or ""
    if isinstance(value, list | tuple):
        return "\n".join(text for part in value if (text := _text(part)))
    return str(getattr(value, "query_str", ""))


def read_back(text: str) -> RagQuestion:
    """Tell the question in a filled prompt from its material: by the stock templates, else by layout."""
    stripped = text.strip()
    for template in stock_templates() if stripped else ():
        if spans := template.match(stripped):
            values = {name: stripped[start:end] for name, (start, end) in spans.items()}
            question = next((values[name].strip() for name in QUESTIONS if values.get(name)), None)
            material = "\n\n".join(v.strip() for name, v in values.items() if v and name not in QUESTIONS)
            if question is None:
                question = _without(stripped, [span for name, span in spans.items() if values[name]])
            return RagQuestion(question, material)
    return RagQuestion(*split_context(text))


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in sorted(spans, reverse=True):
        text = text[:start].rstrip() + "\n" + text[end:].lstrip()
    return text.strip()


class StockTemplate(NamedTuple):
    """A template that can be read backwards."""

    literals: tuple[str, ...]
    """What stands before, between and behind its fields."""
    fields: tuple[str, ...]
    """One fewer than literals, unless the last literal is empty: then the last field goes on to the end."""

    @classmethod
    def of(cls, text: str) -> StockTemplate:
        """Read a template of LlamaIndex."""
        literals, fields = [""], list[str]()
        for literal, name, _, _ in string.Formatter().parse(text.strip()):
            literals[-1] += literal
            if name:
                fields.append(name)
                literals.append("")
        return cls(tuple(literals), tuple(fields))

    def match(self, text: str) -> dict[str, tuple[int, int]] | None:
        """Return where each field's value stands in a text, ``None`` if the template does not begin it.

        Material reaches as far as it can, since it may hold anything, even the template; a question ends as soon as
        it can. Each literal is looked for at most twice, from the end and from the start, so time is linear.
        """
        if not text.startswith(self.literals[0]):
            return None
        latest = [len(text)] * len(self.literals)
        for i in range(len(self.literals) - 1, 0, -1):
            if self.literals[i] or i < len(self.literals) - 1:
                latest[i] = text.rfind(self.literals[i], 0, latest[i + 1] if i + 1 < len(latest) else len(text))
            if latest[i] < 0:
                return None
        spans: dict[str, tuple[int, int]] = {}
        start = len(self.literals[0])
        for name, literal, last in zip(self.fields, self.literals[1:], latest[1:], strict=True):
            goes_on = name in MATERIALS or not literal
            end = last if goes_on else text.find(literal, start, last + len(literal))
            if end < start:
                return None
            spans[name] = (start, end)
            start = end + len(literal)
        return spans


@functools.cache
def stock_templates() -> tuple[StockTemplate, ...]:
    """Return the stock templates that take material, the longest first."""
    templates = {text for module in (default_prompts, chat_prompts) for text in _templates(module)}
    for engine in (context_engine, condense_plus_context):
        templates |= {value for name, value in vars(engine).copy().items() if name.endswith("TEMPLATE")}
    usable = [t for t in templates if _fields(t) & set(MATERIALS) and len(t.strip().split("{")[0]) >= _SHORTEST_START]
    return tuple(StockTemplate.of(t) for t in sorted(usable, key=lambda t: (-len(t), t)))


def _templates(module: ModuleType) -> Iterator[str]:
    for value in vars(module).copy().values():
        if isinstance(value, PromptTemplate):
            yield value.template
        elif isinstance(value, ChatPromptTemplate):
            yield from (m.content or "" for m in value.message_templates if m.role in _PROMPTING)


_PROMPTING = (MessageRole.USER, MessageRole.SYSTEM)


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}
