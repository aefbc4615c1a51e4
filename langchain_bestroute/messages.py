"""Between LangChain's messages and the core: what a query is and needs, what the reward reads, what a bill says.

A conversation may move between models. Providers sign, encrypt or number parts of what they say (reasoning blocks,
response and item ids) and refuse the parts of others, so these are left out, and ids made to fit. What counts as a
model's own is told by the message itself (``response_metadata["bestroute"]``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Real
from typing import Any, TypeVar, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from pydantic import PrivateAttr

from bestroute._utils.text import encodable_within, is_encodable
from bestroute.adapters.capabilities import Needs
from bestroute.adapters.tool_call_ids import portable_id
from bestroute.engine.result import Result
from bestroute.selection import Call, render_calls
from bestroute.types.content import content_tokens
from bestroute.types.query import Query
from bestroute.types.sample import Sample
from bestroute.types.token_logprobs import joined
from bestroute.types.usage import Usage, estimate_tokens, is_count, read_usage, whole_output
from langchain_bestroute.structured import WANTED

IMAGES = ("image", "image_url", "input_image")
"""Types of blocks that are images."""
_OF_OPENAI = {"cache_read": "cached_tokens", "audio": "audio_tokens", "reasoning": "reasoning_tokens"}
"""What OpenAI calls LangChain's details of a usage."""
USAGES = ("token_usage", "usage")
"""Where classes note a usage beside the message, in the provider's words."""
_CACHE_WRITES = ("_cache_creation", "_ephemeral_5m_input_tokens", "_ephemeral_1h_input_tokens")
"""Where ``langchain-anthropic`` tells the second or the third, the first is 0."""
_AUDIO = ("audio", "input_audio")
_FILES = ("file", "document", "input_file")
_WRITTEN = ("tools", "functions", "response_format", "system", WANTED)
"""Parameters of a call that stand in the prompt."""
METADATA_KEY = "bestroute"
_SAFE_ID = re.compile(r"[a-zA-Z0-9]{9}")
"""Call ids that every provider takes: Mistral's models take these alone, OpenAI at most 40 characters."""
_SENT = ("content", "name", "tool_calls", "invalid_tool_calls", "tool_call_id", "additional_kwargs")
"""Fields of messages that clients send."""
_SHARED_BLOCKS = ("text", "image", "audio", "video", "file")


class ChatQuery(Query):
    """A query of LangChain's messages, which are looked through once for what it needs, however many could answer."""

    @cached_property
    def needs(self) -> Needs:
        """What it needs of the model that answers it."""
        return needs_of(self)


def to_query(messages: Sequence[BaseMessage], params: Mapping[str, Any]) -> ChatQuery:
    """Return the query that messages hold: the last human text decides, the size of all of them counts."""
    last, system, tokens = None, list[str](), _tokens_of(params) if params else 0
    for message in messages:
        tokens += _tokens_of_message(message)
        if isinstance(message, HumanMessage):
            last = message
        elif isinstance(message, SystemMessage):
            system.append(message.text)
    return ChatQuery(
        text="" if last is None else text_of(last),
        messages=messages,
        tools=params.get("tools"),
        system="\n\n".join(system),
        input_tokens=tokens,
        params=params,
    )


def _tokens_of(params: Mapping[str, Any]) -> int:
    """Count what stands in the prompt besides the messages: tools and schemas."""
    written = [json.dumps(params[name], default=str) for name in _WRITTEN if params.get(name)]
    return sum(map(estimate_tokens, written))


def _tokens_of_message(message: BaseMessage) -> int:
    if isinstance(message.content, str):
        return estimate_tokens(reward_text(message))
    calls = _calls_in_words(message)
    return content_tokens(message.content) + (estimate_tokens(calls) if calls else 0)


def reward_text(message: BaseMessage) -> str:
    """Return what a reward model reads: the text, and tool calls written out."""
    if not (rendered := _calls_in_words(message)):
        return text_of(message)
    return f"{text}\n{rendered}" if (text := text_of(message)) else rendered


def _calls_in_words(message: BaseMessage) -> str:
    if not isinstance(message, AIMessage) or not message.tool_calls:
        return ""
    return render_calls(Call(call["name"], call["args"]) for call in message.tool_calls)


def text_of(message: BaseMessage) -> str:
    """Return a message's text as a plain string; LangChain's own looks at it anew each time."""
    return message.content if type(message.content) is str else str(message.text)


def logprobs_in(message: BaseMessage) -> Mapping[str, Any]:
    """Return what holds the log-probabilities of a message: its metadata, else its blocks (the Responses API)."""
    about: Mapping[str, Any] = message.response_metadata
    is_told = about.get("logprobs") or about.get("logprobs_result") or about.get("completion_probabilities")
    if is_told or not isinstance(message.content, list):
        return about
    entries = [block.get("logprobs") for block in message.content if isinstance(block, dict) and block.get("text")]
    return joined(entries) if entries and all(entries) else about


def usage_of(message: BaseMessage) -> Usage | None:
    """Read a message's usage; ``None`` if the provider told none, or nothing that makes sense."""
    reported = getattr(message, "usage_metadata", None)
    if not isinstance(reported, (dict, Mapping)):  # a provider's own object, of a class that hands it on
        return read_usage(reported)
    input_details, output_details = (
        reported.get("input_token_details") or {},
        reported.get("output_token_details") or {},
    )
    counts: list[Any] = [
        reported.get("input_tokens"),
        reported.get("output_tokens"),
        _detail(input_details, "_cache_read"),
        _detail(input_details, *_CACHE_WRITES),
        _detail(output_details, "_reasoning"),
    ]
    if not all(map(is_count, counts)):
        return None
    prompt, output, cached, written, reasoning = map(int, counts)
    if not (input_details and output_details) and (found := _detailed(message, prompt, output)) is not None:
        cached, written = cached or found.cached_input, written or found.cache_write
        reasoning = reasoning or found.reasoning
    if reasoning:
        total = reported.get("total_tokens")
        output = whole_output(prompt, output, reasoning, total if is_count(total) else None)
    cached = min(cached, prompt)
    return Usage(prompt, output, cached, min(written, prompt - cached), min(reasoning, output))


def usage_of_reply(message: BaseMessage) -> Usage | None:
    """Read the usage of a whole reply: the message's own, else the provider's words, noted beside it."""
    usage = usage_of(message)
    if usage is not None and (usage.input or usage.output):
        return usage
    noted = (read_usage(message.response_metadata.get(name)) for name in USAGES)
    return next((one for one in noted if one is not None and (one.input or one.output)), usage)


def _detailed(message: BaseMessage, prompt: int, output: int) -> Usage | None:
    """Return the usage in the provider's words, where some classes leave its details; ``None`` if it is another."""
    usage = read_usage(message.response_metadata.get("token_usage"))
    is_same = usage is not None and usage.input == prompt and usage.output - usage.reasoning <= output <= usage.output
    return usage if is_same else None


def _detail(details: Mapping[str, Any], *ends: str) -> int | None:
    """Sum what is told under names with these ends: a service tier may stand before them (``priority_cache_read``)."""
    total = 0
    for key, count in details.items() if isinstance(details, (dict, Mapping)) else ():
        if count and f"_{key}".endswith(ends):
            if not is_count(count):
                return None
            total += count
    return total


def as_usage_metadata(usage: Usage) -> UsageMetadata:
    """Write a usage the way LangChain does."""
    metadata = UsageMetadata(input_tokens=usage.input, output_tokens=usage.output, total_tokens=usage.total)
    if usage.cached_input or usage.cache_write:
        metadata["input_token_details"] = {"cache_read": usage.cached_input, "cache_creation": usage.cache_write}
    if usage.reasoning:
        metadata["output_token_details"] = {"reasoning": usage.reasoning}
    return metadata


class BilledUsage(dict[str, Any]):
    """A usage that tells dollars, too, where LangSmith looks for them: ``input_cost``, ``output_cost``, ``total_cost``.

    LangChain adds usages up and takes whole numbers alone, so iteration and ``keys()`` show the tokens, and a usage
    with the same tokens is equal; ``[...]``, ``get``, ``items()`` and JSON tell all of it.

    Example:
        >>> usage = BilledUsage({"input_tokens": 1, "total_cost": 0.5})
        >>> list(usage), usage["total_cost"], usage == {"input_tokens": 1}
        (['input_tokens'], 0.5, True)
    """

    __hash__ = None

    def __iter__(self) -> Iterator[str]:
        """Iterate over what LangChain can add."""
        return iter([name for name in super().__iter__() if name not in COSTS])

    def keys(self) -> Any:
        """Return the names of what LangChain can add."""
        return [*self]

    def __eq__(self, other: object) -> bool:
        """Compare tokens."""
        return isinstance(other, Mapping) and _tokens(self) == _tokens(other)

    def __ne__(self, other: object) -> bool:
        """Compare tokens."""
        return not self == other


COSTS = ("input_cost", "output_cost", "total_cost")


def _tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in usage.items() if name not in COSTS}


def billed_usage(usage: UsageMetadata, result: Result) -> UsageMetadata:
    """Return the usage with what all samples were billed, in dollars."""
    prices = result.decision.pool.prices
    output = 0.0
    for sample in result.samples:
        if (used := sample.usage) is not None:
            output += prices[sample.model].output_usd(used)
    output = min(output, result.cost_usd)
    costs = {"input_cost": result.cost_usd - output, "output_cost": output, "total_cost": result.cost_usd}
    return cast(UsageMetadata, BilledUsage({**usage, **costs}))


AnyMessage = TypeVar("AnyMessage", bound=BaseMessage)


def with_billed_usage(message: AnyMessage) -> AnyMessage:
    """Return a message whose usage can be added up again, after a check of pydantic made a plain dict of it."""
    usage = getattr(message, "usage_metadata", None)
    if usage is None or "total_cost" not in usage or isinstance(usage, BilledUsage):
        return message
    return message.model_copy(update={"usage_metadata": BilledUsage(usage)})


class CallersUsage(dict[str, Any]):
    """A usage whose dollars are looked up by name and are no part of the dict.

    A check of pydantic, a checkpoint or a sum has the tokens alone, which is all that LangChain can add up.

    Example:
        >>> usage = CallersUsage({"input_tokens": 1}, {"total_cost": 0.5})
        >>> usage["total_cost"], "total_cost" in usage, dict(usage)
        (0.5, True, {'input_tokens': 1})
    """

    def __init__(self, tokens: Mapping[str, Any], dollars: Mapping[str, float]) -> None:
        """Keep both."""
        super().__init__(tokens)
        self.dollars = dict(dollars)

    def __missing__(self, name: str) -> float:
        """Look among the dollars."""
        return self.dollars[name]

    def __contains__(self, name: object) -> bool:
        """Look among the dollars, too."""
        return super().__contains__(name) or name in self.dollars

    def get(self, name: str, default: Any = None) -> Any:
        """Look among the dollars, too."""
        return super().get(name, self.dollars.get(name, default))


def for_caller(message: AnyMessage) -> AnyMessage:
    """Return a message as its caller gets it; handlers were given one whose usage has dollars as a part."""
    usage = getattr(message, "usage_metadata", None)
    if not isinstance(usage, dict) or not dict.__contains__(usage, "total_cost"):
        return message
    tokens = dict(usage.items())
    dollars = {name: tokens.pop(name) for name in COSTS if name in tokens}
    return message.model_copy(update={"usage_metadata": CallersUsage(tokens, dollars)})


class CutOff(AIMessage):
    """A reply that was cut off at its limit of length, as it stands in the error that the member raised for it."""

    _error: BaseException = PrivateAttr()

    @classmethod
    def of(cls, sample: Sample, error: BaseException) -> CutOff:
        """Make it from the sample that stands for the error."""
        message = cls(content=sample.text, response_metadata={"finish_reason": sample.finish_reason})
        if sample.usage is not None:
            message.usage_metadata = as_usage_metadata(sample.usage)
        message._error = error
        return message

    @property
    def error(self) -> BaseException:
        """What the member raised."""
        return self._error


def summed_usage(result: Result) -> UsageMetadata:
    """Say what all samples together were billed, with the providers' own details where they add up to it."""
    billed = as_usage_metadata(result.usage)
    if result.usage.estimated or any(s.error is not None for s in result.samples):
        return billed
    total: UsageMetadata | None = None
    for usage in filter(None, [_sound_usage(s.sample.payload) for s in result.samples]):
        total = usage if total is None else add_usage(total, usage)
    counts = ("input_tokens", "output_tokens")
    return total if total is not None and all(total.get(c) == billed.get(c) for c in counts) else billed


def _sound_usage(payload: Any) -> UsageMetadata | None:
    """Return a message's usage without what LangChain cannot add up; ``None`` where it lacks what belongs to one."""
    reported = getattr(payload, "usage_metadata", None)
    names = ("input_tokens", "output_tokens", "total_tokens")
    if not isinstance(reported, (dict, Mapping)) or not all([is_count(reported.get(name)) for name in names]):
        return None
    usage: dict[str, Any] = {name: int(reported[name]) for name in names}
    for part in ("input_token_details", "output_token_details"):
        if isinstance(details := reported.get(part), (dict, Mapping)):
            usage[part] = _counts(details)
    return cast(UsageMetadata, usage)


def _counts(details: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the counts among details, as deep as they go."""
    counts: dict[Any, Any] = {}
    for name, part in details.items():
        if is_count(part):
            counts[str(name)] = int(part)
        elif isinstance(part, Mapping):
            counts[str(name)] = _counts(part)
    return counts


def winner(result: Result, model_name: str) -> AIMessage:
    """Return the chosen sample's message with the bill of all samples and how it came about."""
    message = result.payload if isinstance(result.payload, AIMessage) else AIMessage(result.text)
    about = {"model_name": model_name, **message.response_metadata, METADATA_KEY: result.to_dict()}
    usage = summed_usage(result)
    if len(result.samples) > 1 and "token_usage" in about:
        about["token_usage"] = token_usage(usage)
    return message.model_copy(update={"usage_metadata": billed_usage(usage, result), "response_metadata": about})


def token_usage(metadata: UsageMetadata) -> dict[str, Any]:
    """Say a usage in the words of OpenAI, where older callbacks look for it."""
    usage: dict[str, Any] = {
        "prompt_tokens": metadata["input_tokens"],
        "completion_tokens": metadata["output_tokens"],
        "total_tokens": metadata["total_tokens"],
    }
    for part, details in (("prompt", "input_token_details"), ("completion", "output_token_details")):
        counts: Mapping[str, Any] | None = metadata.get(details)  # type: ignore[assignment]
        if counts and (named := {_OF_OPENAI[key]: count for key, count in counts.items() if key in _OF_OPENAI}):
            usage[f"{part}_tokens_details"] = named
    return usage


def summed_counts(usages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add token usages, name by name; of what is no number the last is kept.

    Example:
        >>> summed_counts([{"total": 3, "details": {"audio": 1}}, {"total": 4, "details": {"audio": 2}, "tier": "a"}])
        {'total': 7, 'details': {'audio': 3}, 'tier': 'a'}
    """
    total: dict[str, Any] = {}
    for usage in usages:
        for name, count in usage.items():
            before = total.get(name)
            if before is None and type(count) is int:  # nearly all; the questions below take longer than the rest
                total[name] = count
            elif isinstance(count, (dict, Mapping)):
                total[name] = summed_counts([before, count] if isinstance(before, Mapping) else [count])
            elif isinstance(count, Real) and not isinstance(count, bool):
                total[name] = count + (before if isinstance(before, Real) else 0)
            else:
                total[name] = (before or 0) if count is None else count
    return total


def turn_owner(messages: Sequence[BaseMessage]) -> str | None:
    """Return the pool name of the model whose tool calls the last messages answer, if they do.

    Read from the messages alone, so that it survives checkpoints and other processes.
    """
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return writer_of(message) if message.tool_calls else None
        if not isinstance(message, ToolMessage):
            return None
    return None


def needs_of(query: Query) -> Needs:
    """Return what a query needs of the model that answers it."""
    wanted, choice = query.params.get(WANTED), query.params.get("tool_choice")
    kinds = _kinds_in(query.messages or ())
    if wanted is None and not query.tools and not kinds:
        return Needs(tokens=query.prompt_tokens)
    by_call = wanted is not None and wanted["method"] == "function_calling"
    return Needs(
        tools=bool(query.tools) or by_call,
        tool_choice=by_call or (bool(query.tools) and choice not in (None, "auto", "none")),
        structured_output=wanted is not None and wanted["method"] in (None, "json_schema"),
        images=not kinds.isdisjoint(IMAGES),
        audio=not kinds.isdisjoint(_AUDIO),
        files=not kinds.isdisjoint(_FILES),
        tokens=query.prompt_tokens,
    )


def _kinds_in(messages: Sequence[BaseMessage]) -> set[str]:
    """Return the types of all content blocks that the user or a tool sent."""
    return {
        str(block.get("type"))
        for message in messages
        if not isinstance(message, AIMessage) and isinstance(message.content, list)
        for block in message.content
        if isinstance(block, dict)
    }


def writer_of(message: BaseMessage) -> str | None:
    """Return the pool name of the model that wrote a message; ``None`` if no router says so."""
    metadata = message.response_metadata.get(METADATA_KEY)
    return metadata.get("model") if isinstance(metadata, dict) else None


def prepared(messages: Sequence[BaseMessage], model: str) -> list[BaseMessage]:
    """Return a conversation as one member may be sent it.

    Args:
        messages: The conversation; it is not changed.
        model: Pool name of the member.

    Returns:
        Its own messages, and those of which no router tells the writer, untouched, if they can be sent. Messages of
        other members without private state: text and media stay, reasoning, provider's ids and ``additional_kwargs``
        go. Ids of their tool calls that the member could refuse are replaced, in the calls and in the results alike.
    """
    messages = [_encodable(message) for message in messages]
    if all(_is_own(message, model) for message in messages):
        return messages
    ready: list[BaseMessage] = []
    taken: set[str] = set()
    new_ids: dict[str, str] = {}
    for place, message in enumerate(messages):
        if isinstance(message, AIMessage):
            is_own = _is_own(message, model)
            calls = [call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls) if call["id"]]
            new_ids = {} if is_own else {id_: portable_id(id_, place) for id_ in calls if _must_change(id_, taken)}
            taken |= {new_ids.get(id_, id_) for id_ in calls}
            ready.append(message if is_own else _stripped(message, new_ids))
        elif isinstance(message, ToolMessage) and message.tool_call_id in new_ids:
            ready.append(message.model_copy(update={"tool_call_id": new_ids[message.tool_call_id]}))
        else:
            ready.append(message)
    return ready


def _encodable(message: BaseMessage) -> BaseMessage:
    """Return a message that can be sent: lone surrogates, which no client encodes, as their escapes."""
    held = message.__dict__
    broken = {name: value for name in _SENT if (value := held.get(name)) and not is_encodable(value)}
    return message.model_copy(update=encodable_within(broken)) if broken else message


def _is_own(message: BaseMessage, model: str) -> bool:
    return not isinstance(message, AIMessage) or writer_of(message) in (None, model)


def _must_change(id_: str, taken: set[str]) -> bool:
    return id_ in taken or not _SAFE_ID.fullmatch(id_)


def _stripped(message: AIMessage, new_ids: Mapping[str, str]) -> AIMessage:
    """Return what any model may read of another's message."""
    return AIMessage(
        content=_shared_content(message),  # type: ignore[arg-type]
        name=message.name,
        tool_calls=[_renamed(call, new_ids) for call in message.tool_calls],
        invalid_tool_calls=[_renamed(call, new_ids) for call in message.invalid_tool_calls],
        response_metadata={METADATA_KEY: message.response_metadata[METADATA_KEY]},
    )


def _shared_content(message: AIMessage) -> str | list[dict[str, Any]]:
    """Return text alone as a string, the form every provider takes; with media as LangChain's standard blocks."""
    if isinstance(message.content, str):
        return message.content
    blocks = [dict(block) for block in message.content_blocks if block["type"] in _SHARED_BLOCKS]
    if all(block["type"] == "text" for block in blocks):
        return message.text
    return [{"type": "text", "text": b["text"]} if b["type"] == "text" else b for b in blocks]


def _renamed(call: Any, new_ids: Mapping[str, str]) -> Any:
    return {**call, "id": new_ids.get(call["id"] or "", call["id"])}
