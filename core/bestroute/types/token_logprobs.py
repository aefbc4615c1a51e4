"""Log-probabilities of tokens as members tell them, in any of their shapes, read into the signals of a sample. Pure.

Every token that a member lists counts, one that ends the answer or opens a thought among them: it is a part of what
was drawn. OpenAI and llama.cpp leave the end out of the list, vLLM has it in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from bestroute._utils.amounts import is_number
from bestroute.errors.facts import field
from bestroute.types.signals import Signals
from bestroute.types.usage import Usage

_PLACES = ("logprobs", "logprobs_result", "logprobsResult", "completion_probabilities", "token_likelihoods", "details")
"""Where a reply, a choice of it or what a framework notes of it has them, the first that is filled: OpenAI and those
who speak its protocol (vLLM, llama.cpp, Ollama, Fireworks, Together), Gemini, llama.cpp's own protocol, Cohere, TGI."""
_MEANS = ("avg_logprobs", "avgLogprobs")
"""Where Gemini tells the mean alone; 0 is what it writes where it has none."""
_NAMES = frozenset((*_PLACES, *_MEANS))
_ALL_BUT_THE_END = 1
"""So many tokens are billed and not listed where the end is not."""
_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})
"""How vocabularies write white space."""


class _Tokens(NamedTuple):
    logprobs: Sequence[Any]
    spelled: Callable[[], str]
    """Their texts on end; put together only where somebody asks, since that takes longer than all else."""


def signals_of(
    reply: Any,
    *,
    text: str,
    usage: Usage | None = None,
    has_calls: bool = False,
    is_greedy: bool = False,
    tools: str | None = None,
) -> Signals:
    """Return the signals of an answer from what its reply, or a framework's notes of it, tells.

    A sum is known only where every token has a log-probability: those listed spell the text, or, where they cannot be
    compared with it (a tool call has none), they are as many as were billed. What is missing is unknown, never sure.

    Args:
        reply: A choice of a reply, or metadata: a mapping or an object.
        text: Of the answer.
        usage: What it was billed for.
        has_calls: Whether the answer calls tools, so that its text is not all of it.
        is_greedy: Whether it was drawn at temperature 0.
        tools: How tools were offered.

    Example:
        >>> told = {"logprobs": {"content": [{"token": "8", "logprob": -0.25}, {"token": "4", "logprob": -0.5}]}}
        >>> signals_of(told, text="84").sum_logprob
        -0.75
        >>> signals_of(told, text="84 apples", usage=Usage(9, 4)).sum_logprob is None
        True
    """
    billed = None if usage is None or usage.estimated else max(0, usage.output - usage.reasoning)
    mode = "greedy" if is_greedy else "sampled"
    if isinstance(reply, dict) and not any([reply[name] is not None for name in _NAMES.intersection(reply)]):
        return Signals(tokens=billed, mode=mode, tools=tools)
    tokens = read_tokens(reply, text)
    if tokens is None:
        return _of_mean(reply, billed, mode, tools)
    logprobs, count = tokens.logprobs, len(tokens.logprobs)
    if billed is not None and count >= billed - (_ALL_BUT_THE_END if has_calls else 0):
        is_whole = True
    else:
        is_whole = not has_calls and _spells(tokens.spelled(), text)
    if is_whole:
        return Signals.from_logprobs(logprobs, mode=mode, tools=tools)
    if billed is not None:
        return Signals.from_logprobs(logprobs, tokens=max(billed, count + 1), mode=mode, tools=tools)
    known = Signals.from_logprobs(logprobs, mode=mode, tools=tools)
    return replace(known, sum_logprob=None, logprob_share=None, tokens=None)


def read_tokens(reply: Any, text: str = "") -> _Tokens | None:
    """Return the tokens that a reply lists; ``None`` if it lists none.

    Args:
        reply: What has them in one of the known places.
        text: Of the answer: of alternatives without a sign which was drawn, it is what continues it.
    """
    for place in _PLACES:
        if content := field(reply, place):
            for shape in _SHAPES:
                if (tokens := shape(content, text)) is not None:
                    return tokens
    return None


def lists_logprobs(reply: Any) -> bool:
    """Whether a reply has log-probabilities, or their mean, in one of the known places."""
    return any(field(reply, place) for place in (*_PLACES, *_MEANS))


def joined(pieces: Sequence[Any]) -> dict[str, Any]:
    """Return what the pieces of a stream tell, as the whole reply would tell it.

    Args:
        pieces: What each of them has in the place of ``logprobs``.
    """
    entries = [entry for piece in pieces for entry in _entries(piece)]
    return {"logprobs": {"content": entries}} if entries else {}


def _entries(reported: Any) -> Sequence[Any]:
    content = reported if isinstance(reported, list) else field(reported, "content")
    return content if isinstance(content, list) else ()


def _of_mean(reply: Any, billed: int | None, mode: str, tools: str | None) -> Signals:
    mean = next((value for name in _MEANS if (value := field(reply, name)) is not None), None)
    if not is_number(mean) or not (math.isfinite(mean) and mean < 0):
        return Signals(tokens=billed, mode=mode, tools=tools)
    if not billed:
        return Signals(mean_logprob=float(mean), mode=mode, tools=tools)
    return Signals(mean * billed, float(mean), None, 1.0, billed, mode, tools)


def _spells(written: str, text: str) -> bool:
    """Whether what tokens spell is all of a text; there may be more of it, such as its end."""
    if not (wanted := text.strip()):
        return False
    return wanted in written or wanted in written.translate(_SPACES)


# Shapes. Each is read from a part of a reply, or is not that part's.


def _chat(holder: Any, text: str) -> _Tokens | None:
    """Chat completions: ``{"content": [{"token", "logprob", "bytes"}]}``."""
    return _listed(field(holder, "content"), text)


def _listed(entries: Any, text: str) -> _Tokens | None:
    """Ollama, Responses, Vertex, TGI, llama.cpp: ``[{"token", "logprob"}]``, in their words."""
    if not isinstance(entries, list | tuple) or not entries or isinstance(entries[0], list | tuple | str | int | float):
        return None
    try:
        if isinstance(entries[0], Mapping):
            logprobs = [entry["logprob"] for entry in entries]
        else:
            logprobs = [entry.logprob for entry in entries]
    except (KeyError, AttributeError, TypeError):
        logprobs = [_logprob_in_words(entry) for entry in entries]
    return _Tokens(logprobs, partial(_spelled, entries))


def _spelled(entries: Sequence[Any]) -> str:
    try:
        if isinstance(entries[0], Mapping):
            written = "".join([entry["token"] for entry in entries])
        else:
            written = "".join([entry.token for entry in entries])
        if "\ufffd" not in written and "\\x" not in written:  # parts of characters
            return written
    except (KeyError, AttributeError, TypeError):
        pass
    return "".join(_texts_in_words(entries))


def _gemini(holder: Any, text: str) -> _Tokens | None:
    """Gemini: ``{"chosen_candidates": [{"token", "log_probability"}]}``."""
    return _listed(field(holder, "chosen_candidates") or field(holder, "chosenCandidates"), text)


def _generation(holder: Any, text: str) -> _Tokens | None:
    """TGI: ``{"tokens": [{"text", "logprob"}]}``."""
    return _listed(field(holder, "tokens"), text)


def _completion(holder: Any, text: str) -> _Tokens | None:
    """Completions: ``{"tokens": ["8", "4"], "token_logprobs": [-0.1, -0.2]}``."""
    texts, logprobs = field(holder, "tokens"), field(holder, "token_logprobs")
    if not isinstance(logprobs, list | tuple) or not logprobs:
        return None
    is_aligned = isinstance(texts, list | tuple) and len(texts) == len(logprobs)
    return _Tokens(logprobs, lambda: "".join(map(str, texts)) if is_aligned else "")


def _alternatives(entries: Any, text: str) -> _Tokens | None:
    """LlamaIndex: a list of alternatives for each token; the drawn one is what continues the text."""
    if not isinstance(entries, list | tuple) or not entries or not isinstance(entries[0], list | tuple):
        return None
    texts, logprobs = zip(*_drawn(entries, text), strict=True)
    return _Tokens(logprobs, lambda: "".join(texts))


_SHAPES: tuple[Callable[[Any, str], _Tokens | None], ...] = (
    *(_chat, _listed, _gemini, _generation, _completion, _alternatives),
)


def _drawn(alternatives: Sequence[Any], text: str) -> Iterator[tuple[str, Any]]:
    """Yield the drawn token of each list; of several that go on with the text, the least likely."""
    at = 0
    for entries in alternatives:
        tokens = _in_words(entries) if isinstance(entries, list | tuple) else []
        if len(tokens) > 1:
            tokens = [token for token in tokens if token[0] and text.startswith(token[0], at)]
        drawn, logprob = min(tokens, key=_likelihood, default=("", None))
        at += len(drawn)
        yield drawn, logprob


def _likelihood(token: tuple[str, Any]) -> float:
    return token[1] if is_number(token[1]) else -math.inf


_TEXTS = ("token", "text", "tok_str", "content")
_LOGPROBS = ("logprob", "log_probability", "logProbability", "logprobs")


def _in_words(entries: Sequence[Any]) -> list[tuple[str, Any]]:
    """Read entries in whatever words."""
    return list(zip(_texts_in_words(entries), map(_logprob_in_words, entries), strict=True))


def _logprob_in_words(entry: Any) -> Any:
    logprob = next((value for name in _LOGPROBS if (value := field(entry, name)) is not None), None)
    return logprob[0] if isinstance(logprob, list) and len(logprob) == 1 else logprob


def _texts_in_words(entries: Sequence[Any]) -> list[str]:
    """Read texts in whatever words; of characters that several tokens make, the bytes."""
    texts = []
    for entry in entries:
        word = next((value for name in _TEXTS if isinstance(value := field(entry, name), str)), "")
        given = field(entry, "bytes")
        texts.append(bytes(given) if _are_bytes(given) else word.encode("utf-8", "surrogatepass"))
    return list(_characters(texts))


def _are_bytes(given: Any) -> bool:
    return isinstance(given, list | tuple) and bool(given) and all(isinstance(b, int) and 0 <= b < 256 for b in given)


def _characters(pieces: Sequence[bytes]) -> Iterator[str]:
    """Decode pieces of UTF-8; a character that ends in a later piece is that one's."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return (decoder.decode(piece) for piece in pieces)
