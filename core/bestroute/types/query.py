"""What is asked, as the router, the generators and the reward model see it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bestroute._utils.amounts import is_number
from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from bestroute.types.usage import estimate_tokens, is_count

_HOLDERS = ("content", "text", "blocks", "tool_calls", "function", "arguments", "args", "input", "tool_kwargs")
"""Where messages of frameworks keep what they say."""
_DEEPEST = 12
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
"""Call parameters that limit the length of a sample, in the words of several providers."""


@dataclass(frozen=True)
class Query:
    """One query.

    Args:
        text: The last human text, the part that decides; may be ``""`` when ``messages`` is given.
        messages: The framework's own message objects, passed through untouched.
        tools: The tools on offer, in the framework's own form.
        system: The system prompt.
        context: What retrieval added; its size counts, its words do not decide.
        input_tokens: Length of the whole prompt; ``None`` where it is not known.
        params: Call parameters for the generators (temperature, stop, ...).

    Raises:
        ConfigError: If there is neither text nor messages.
    """

    text: str
    messages: Sequence[Any] | None = None
    tools: Sequence[Any] | None = None
    system: str = ""
    context: str = ""
    input_tokens: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what has nothing to answer."""
        if not isinstance(self.text, str):
            raise ConfigError(f"Query: text must be a string, got {type(self.text).__name__}")
        if not self.text.strip() and not self.messages:
            raise ConfigError("Query: the text is empty; pass a question, or messages that hold one")
        if self.input_tokens is not None and type(self.input_tokens) is not int:
            object.__setattr__(self, "input_tokens", _whole(self.input_tokens))
        if self.input_tokens is not None and not is_count(self.input_tokens):
            raise ConfigError(f"Query: input_tokens must be a count, >= 0, got {brief(self.input_tokens)}")

    @cached_property
    def prompt_tokens(self) -> int:
        """Length of the prompt in tokens: as told, else estimated from system, context and text."""
        if self.input_tokens is not None:
            return self.input_tokens
        return sum(estimate_tokens(part) for part in (self.system, self.context, self.text) if part) or 1

    @property
    def opening(self) -> str:
        """What the conversation began with: its first message that is not the system's, else the text."""
        first = next((m for m in self.messages or () if role_of(m) not in ("system", "developer")), None)
        return "\n".join(_texts([first], {})) or self.text

    def texts(self) -> Iterator[str]:
        """Yield every text of it, earlier turns and arguments of tool calls among them."""
        yield from filter(None, (self.text, self.system, self.context))
        yield from _texts(list(self.messages or ()), {})


def _whole(tokens: Any) -> Any:
    """Return an estimate that is no whole number rounded up; what is none at all as it is."""
    return math.ceil(tokens) if is_number(tokens) and math.isfinite(tokens) else tokens


def as_query(query: Query | str) -> Query:
    """Return the query itself, or the text as one."""
    return query if isinstance(query, Query) else Query(query)


def role_of(message: Any) -> str:
    """Return who speaks in a framework's message, in the framework's word; ``""`` where it does not tell.

    Example:
        >>> role_of({"role": "user", "content": "hi"})
        'user'
    """
    if isinstance(message, Mapping):
        role = message.get("role")
    else:
        role = getattr(message, "type", None) or getattr(message, "role", None)
    return str(getattr(role, "value", role or ""))


def _texts(value: Any, visited: dict[int, Any], depth: int = _DEEPEST) -> Iterator[str]:
    """Yield the texts of a framework's messages, arguments of tool calls among them, or of parts of one."""
    if isinstance(value, str):
        yield value
        return
    if not depth or id(value) in visited:
        return
    visited[id(value)] = value
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    else:
        inner = [part for name in _HOLDERS if (part := getattr(value, name, None)) is not None]
    for part in inner:
        yield from _texts(part, visited, depth - 1)
