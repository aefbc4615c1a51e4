"""Tokens of a sample, and how one call's bill is divided among its choices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from bestroute._utils.text import brief
from bestroute.errors import ConfigError

_CHARS_PER_TOKEN = 4.0
IMAGE_TOKENS = 1600
"""What an image in a prompt counts for: as much as the largest at the providers that count by size (Anthropic 1,568,
OpenAI's high detail 1,445 and below)."""
_COUNTS = ("input", "output", "cached_input", "cache_write", "reasoning")
_MOST = 10**9
"""Tokens of one call; who tells more has told nothing."""


@dataclass(frozen=True)
class Usage:
    """What one sample was billed for, in tokens.

    ``cached_input``, ``cache_write`` are parts of ``input``; ``reasoning`` is a part of ``output``.
    ``estimated`` says that the provider told nothing usable and we counted ourselves.
    """

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False

    def __post_init__(self) -> None:
        """Refuse what counts nothing: a bill of NaN would spoil every sum after it."""
        counts = (self.input, self.output, self.cached_input, self.cache_write, self.reasoning)
        for count in counts:
            if (type(count) is not int and not hasattr(count, "__index__")) or count < 0:
                name = next(name for name, other in zip(_COUNTS, counts, strict=True) if other is count)
                raise ConfigError(f"usage: {name} tokens must be a whole number >= 0, got {brief(count)}")

    @property
    def total(self) -> int:
        """Input and output tokens together."""
        return self.input + self.output

    def __add__(self, other: Usage) -> Usage:
        """Add token by token; estimated if either is."""
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cached_input + other.cached_input,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
            self.estimated or other.estimated,
        )


def sum_usage(usages: Sequence[Usage | None]) -> Usage:
    """Add what was billed over samples; a missing part counts nothing and marks the sum as estimated."""
    if len(usages) == 1 and type(usages[0]) is Usage:
        return usages[0]
    return sum((Usage(estimated=True) if part is None else part for part in usages), Usage())


def read_usage(reported: Any) -> Usage | None:
    """Read what a provider says a call used, an object or a mapping, in the words of any of these.

    OpenAI's chat completions and Responses (cached and reasoning tokens inside the counts), xAI's (reasoning beside
    the output), DeepSeek's (``prompt_cache_hit_tokens``), Anthropic's messages (cached tokens beside the input),
    Gemini's (``..._token_count``; thoughts beside the candidates).

    Args:
        reported: The ``usage`` part of a reply.

    Returns:
        The usage, or ``None`` if it is missing or makes no sense: then it is to be estimated.

    Example:
        >>> read_usage({"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 10}).input
        15
    """
    if reported is None:
        return None
    output = _count(reported, "completion_tokens", "output_tokens", "candidates_token_count")
    prompt = _count(reported, "prompt_tokens", "input_tokens", "prompt_token_count")
    read, written = (_count(reported, f"cache_{part}_input_tokens") for part in ("read", "creation"))
    if prompt is not None and (read or written):
        prompt += (read or 0) + (written or 0)
    details = (_part(reported, "prompt_tokens_details"), _part(reported, "input_tokens_details"))
    hit = _count(reported, "cached_content_token_count", "prompt_cache_hit_tokens")
    cached = read or hit or _first(details, "cached_tokens")
    details = (_part(reported, "completion_tokens_details"), _part(reported, "output_tokens_details"))
    thoughts = _count(reported, "thoughts_token_count")
    reasoning = thoughts or _first(details, "reasoning_tokens")
    if thoughts is not None:
        output = (output or 0) + thoughts
    if prompt is None or output is None or min(prompt, output, cached, reasoning, written or 0) < 0:
        return None
    if thoughts is None and reasoning:
        output = whole_output(prompt, output, reasoning, _count(reported, "total_tokens"))
    prompt += _count(reported, "tool_use_prompt_token_count") or 0
    return Usage(prompt, output, min(cached, prompt), min(written or 0, prompt), min(reasoning, output))


def whole_output(prompt: int, output: int, reasoning: int, total: int | None) -> int:
    """Return the output that is billed: some servers count reasoning beside it, as their total shows.

    Example:
        >>> whole_output(100, 50, 30, 150), whole_output(100, 20, 30, 150)
        (50, 50)
    """
    return output + reasoning if total == prompt + output + reasoning else output


def completed_usage(usage: Usage | None, prompt_tokens: int, text: str, *, has_reply: bool = False) -> Usage:
    """Return what a sample is billed: as told, but an estimate where nothing was told, or 0 tokens for a text.

    Args:
        usage: As the provider told it; ``None`` if it told none, or none that makes sense.
        prompt_tokens: Tokens of the prompt as far as we know; 0 where the bill of another choice holds it.
        text: What was answered.
        has_reply: Whether something was answered besides text, a tool call for example.

    Example:
        >>> completed_usage(Usage(0, 5), 9, "five words and no more").input
        9
        >>> completed_usage(Usage(9, 0), 9, "").estimated
        False
    """
    if usage is None:
        return Usage(prompt_tokens, estimate_tokens(text), estimated=True)
    prompt = usage.input or prompt_tokens
    output = usage.output or (estimate_tokens(text) if text.strip() or has_reply else 0)
    if (prompt, output) == (usage.input, usage.output):
        return usage
    return replace(usage, input=prompt, output=output, estimated=True)


def _part(reported: Any, name: str) -> Any:
    return reported.get(name) if isinstance(reported, Mapping) else getattr(reported, name, None)


def _count(reported: Any, *names: str) -> int | None:
    """Return the first of these counts that is told; what is told and no number, or beyond any, is none."""
    count = next((value for name in names if (value := _part(reported, name)) is not None), None)
    return int(count) if isinstance(count, Integral) and not isinstance(count, bool) and count <= _MOST else None


def is_count(value: Any) -> bool:
    """Whether what a provider tells can be a number of tokens."""
    if type(value) is int:
        return 0 <= value <= _MOST
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) <= _MOST


def _first(usages: Sequence[Any], name: str) -> int:
    return next((count for part in usages if part is not None and (count := _count(part, name))), 0)


def estimate_tokens(text: str) -> int:
    """Count tokens roughly, offline, as tokenizers give them: at least one per word and per text.

    By a character's bytes in UTF-8: four ASCII characters are a token, two of other alphabets' (2 bytes), one of
    Chinese, Japanese, Korean and the like (3 bytes); an emoji (4 bytes) is two tokens.

    Example:
        >>> estimate_tokens("twelve words"), estimate_tokens("十二个字"), estimate_tokens("🙂")
        (3, 4, 2)
    """
    words = max(1, len(text.split()))
    if text.isascii():
        return max(words, math.ceil(len(text) / _CHARS_PER_TOKEN))
    codes = np.array([text]).view(np.uint32)  # encoding counts as well, but lone surrogates cost it a second a text
    beyond_1, beyond_2, of_4 = (int(np.count_nonzero(codes >= first)) for first in (0x80, 0x800, 0x10000))
    of_1, of_2, of_3 = len(text) - beyond_1, beyond_1 - beyond_2, beyond_2 - of_4
    return max(words, math.ceil(of_1 / _CHARS_PER_TOKEN + of_2 / 2 + of_3 + 2 * of_4))


def divide_usage(
    reported: Usage,
    texts: Sequence[str],
    truncated_at: Sequence[int | None] | None = None,
) -> tuple[Usage, ...]:
    """Divide the bill of one call that returned ``len(texts)`` choices among them.

    The prompt goes to the first choice (it was billed once), output tokens are shared in proportion to the
    length of the texts, and the parts add up to the report exactly. A report is not trusted blindly: some
    servers tell the tokens of one choice out of n. When the reported output is below what the choices must
    hold (a token a word; ``max_tokens`` for a choice that was cut), the output is estimated from the texts
    and marked so.

    Args:
        reported: The call's usage as the server told it.
        texts: The text of each choice, in the server's order.
        truncated_at: For each choice the number of tokens at which it was cut, ``None`` if it ended itself.

    Returns:
        One usage per choice.

    Example:
        >>> [u.output for u in divide_usage(Usage(10, 6), ["one two", "two one"])]
        [3, 3]
        >>> divide_usage(Usage(10, 2), ["a b", "c d", "e f"])[2]
        Usage(input=0, output=2, cached_input=0, cache_write=0, reasoning=0, estimated=True)
    """
    if len(texts) == 1:
        return (reported,)
    cuts = truncated_at or [None] * len(texts)
    least = [cut or max(1, len(text.split())) for text, cut in zip(texts, cuts, strict=True)]
    if reported.output < sum(least):
        outputs = [cut or estimate_tokens(text) for text, cut in zip(texts, cuts, strict=True)]
        total = replace(reported, output=sum(outputs), estimated=True)
    else:
        outputs = _apportion(reported.output, [cut or estimate_tokens(t) for t, cut in zip(texts, cuts, strict=True)])
        total = reported
    reasoning = _apportion(total.reasoning, outputs)
    return tuple(
        Usage(
            input=total.input if i == 0 else 0,
            output=outputs[i],
            cached_input=total.cached_input if i == 0 else 0,
            cache_write=total.cache_write if i == 0 else 0,
            reasoning=reasoning[i],
            estimated=total.estimated,
        )
        for i in range(len(texts))
    )


def _apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Share ``total`` in proportion to ``weights``, whole numbers that add up to it (largest remainder)."""
    weight = sum(weights) or 1
    shares = [total * w // weight for w in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % weight), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares
