"""A second mode of a member: tools are described in its prompt, and tool calls are parsed from its text."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from bestroute._utils.closing import closed
from bestroute._utils.public import name_home
from bestroute.errors import ConfigError
from bestroute.selection import Call, Demand, judge, read_demand, render_calls
from bestroute.selection.call_forms import calls_in, calls_of
from bestroute.selection.tool_calls import without_thoughts
from bestroute.types.bases import GeneratorBase, completed
from bestroute.types.draw_params import DrawParams
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Delta, Sample
from bestroute.types.signals import Signals

ABOUT_TOOLS = ("tools", "tool_choice", "tool_required", "parallel_tool_calls", "allow_parallel_tool_calls", "strict")
"""Call parameters that do not apply to a request without tools."""
_FENCED = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)
_LONGEST = 100_000
_OPENS = re.compile(r"[\[{]")
_BETWEEN = re.compile(r"(?:[\s,;]|</?[\w-][\w|-]*>|<\|[^|<>]*\|>|```[\w-]*|\[[A-Z_]+\])*")
"""Text allowed between two calls, which has no content."""
_MOST_PIECES = 200
_NAMED = re.compile(r"""["'](?:name|function|tool|tool_name|action)["']\s*:\s*["']([^"'\n]{1,200})["']""")
_KEYS = re.compile(r"""["']([^"'\n]{1,200})["']\s*:\s*\{""")
"""Keys that name the function of a call, in JSON or nearly so."""


class Wording(Protocol):
    """Conversion of a framework's messages to and from text without tools."""

    def ask(self, query: Query, rules: str) -> Query:
        """Return the query with instructions, and with tools and tool turns converted to text."""
        ...

    def reply(self, sample: Sample, calls: Sequence[tuple[str, Call]]) -> Any:
        """Return the framework's message of a reply with these calls, each with its id."""
        ...


class PlainWording:
    """Conversion for OpenAI's dicts, or for queries without messages."""

    def ask(self, query: Query, rules: str) -> Query:
        """Prepend the instructions to the system prompt."""
        if not query.messages:
            return replace(query, system=f"{rules}\n\n{query.system}".strip())
        return replace(query, messages=[{"role": "system", "content": rules}, *map(_in_words, query.messages)])

    def reply(self, sample: Sample, calls: Sequence[tuple[str, Call]]) -> Any:
        """Return an assistant message as a dict."""
        tool_calls = [
            {
                "id": id_,
                "type": "function",
                "function": {"name": c.name, "arguments": json.dumps(dict(c.arguments or {}))},
            }
            for id_, c in calls
        ]
        return {"role": "assistant", "content": None, "tool_calls": tool_calls}


class ToolsInPrompt(GeneratorBase):
    """A member that is asked for tool calls by instructions in its prompt, as a separate member.

    The tools of a query are described in the prompt, and JSON in the reply is parsed as calls; a text without calls
    stays a text. If both modes of a cheap model make the same call, it is right far more often than either alone.
    Replies to queries with tools are not streamed. For queries without tools both modes are the same, and count as one
    member.

    Args:
        member: A ``bestroute.Generator``; in a pool of ``BestRouteChat`` or ``BestRouteLLM`` one of its models.
        wording: Conversion of messages; set by the adapters.

    Example:
        >>> from bestroute.testing import FakeGenerator
        >>> small = ToolsInPrompt(FakeGenerator(['[{"name": "now", "arguments": {}}]']))
        >>> tools = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
        >>> small.generate(Query("What time is it?", tools=tools), 1, params={}, cancel=Cancel())[0].text
        'now({})'
    """

    tools_mode = "prompt"

    def __init__(self, member: Any, *, wording: Wording | None = None) -> None:
        """Store the member; nothing is called."""
        self.member = member
        self.wording = wording or PlainWording()
        inner = completed(member, GeneratorBase) if callable(getattr(member, "generate", None)) else None
        self._generator = inner if inner is not None and hasattr(member, "native_n") else None
        self.native_n = self._generator is not None and self._generator.native_n

    @property
    def generator(self) -> GeneratorBase:
        """The member as a generator.

        Raises:
            ConfigError: If it is a framework's model, which only that framework's router can call.
        """
        if self._generator is None:
            raise ConfigError(
                f"ToolsInPrompt: {type(self.member).__name__} is no bestroute.Generator; name it among the models of a "
                "BestRouteChat or BestRouteLLM"
            )
        return self._generator

    @property
    def max_output_tokens(self) -> int | None:  # type: ignore[override]
        """The member's limit."""
        return self.generator.max_output_tokens

    @property
    def model_name(self) -> str | None:  # type: ignore[override]
        """The member's model name."""
        return self.generator.model_name or self.generator.model

    def takes_greedy(self, query: Query) -> bool:
        """Return the member's answer."""
        return self.generator.takes_greedy(query)

    def lacks(self, query: Query) -> str | None:
        """Return the member's answer for the query without tools."""
        return self.generator.lacks(replace(query, tools=None) if query.tools and query.text.strip() else query)

    def without_retries(self) -> ToolsInPrompt:
        """Return the same mode of the member without retries."""
        return ToolsInPrompt(self.generator.without_retries(), wording=self.wording)

    def close(self) -> None:
        """Close the member's connections."""
        self.generator.close()

    async def aclose(self) -> None:
        """Close the member's connections, including those of this event loop."""
        await self.generator.aclose()

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples."""
        if not query.tools:
            return self.generator.generate(query, n, params=params, cancel=cancel)
        wish, rest = self._in_prompt(query, params)
        return [self._read(s, query, params) for s in self.generator.generate(wish, n, params=rest, cancel=cancel)]

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the event loop."""
        if not query.tools:
            return await self.generator.agenerate(query, n, params=params, cancel=cancel)
        wish, rest = self._in_prompt(query, params)
        drawn = await self.generator.agenerate(wish, n, params=rest, cancel=cancel)
        return [self._read(sample, query, params) for sample in drawn]

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the member's pieces; with tools, only the whole sample."""
        if query.tools:
            yield from self.generate(query, 1, params=params, cancel=cancel)
        else:
            yield from self.generator.stream(query, params=params, cancel=cancel)

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the member's pieces without blocking the event loop; with tools, only the whole sample."""
        if query.tools:
            for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
                yield sample
        else:
            async with closed(self.generator.astream(query, params=params, cancel=cancel)) as pieces:
                async for piece in pieces:
                    yield piece

    def _in_prompt(self, query: Query, params: Mapping[str, Any]) -> tuple[Query, Mapping[str, Any]]:
        """Return the query and parameters for the member, without tools."""
        demand = read_demand(query.tools, _choice(params))
        wish = self.wording.ask(query, instructions(query.tools or (), demand))
        kept = {name: value for name, value in query.params.items() if name not in ABOUT_TOOLS}
        return replace(wish, tools=None, params=kept), _without(params)

    def _read(self, sample: Sample, query: Query, params: Mapping[str, Any]) -> Sample:
        """Return a sample with the tool calls of its text, and their flaw, if any."""
        if sample.error is not None:
            return sample
        demand = read_demand(query.tools, _choice(params))
        calls = read_calls(sample.text, demand) if demand.tools else None
        signals = replace(sample.signals or Signals(), tools="prompt")
        if calls:
            named = [(f"call_{uuid.uuid4().hex[:24]}", call) for call in calls]
            payload, text = self.wording.reply(sample, named), render_calls(calls)
            reason = "tool_calls" if sample.finish_reason == "stop" else sample.finish_reason
            sample = replace(sample, payload=payload, text=text, finish_reason=reason)
        elif tries_to_call(sample.text, demand):
            return replace(sample, signals=signals, form=None, flaw="its call of a tool cannot be read")
        return judge(replace(sample, signals=signals, form=None, flaw=None), calls or [], demand)


def instructions(tools: Sequence[Any], demand: Demand) -> str:
    """Return the instructions on available tools and the format of calls."""
    functions = [tool.get("function", tool) for tool in tools if isinstance(tool, Mapping)]
    keys = ("name", "description", "parameters", "input_schema")
    offered = [
        {name: f[name] for name in keys if name in f} for f in functions if isinstance(f, Mapping) and "name" in f
    ]
    if demand.tool is not None:
        rule = f"You must call the function {demand.tool!r}."
    elif demand.must_call:
        rule = "You must call at least one of them."
    else:
        rule = "If none of them fits what is asked, or an argument that is required is not known, answer in plain text."
    return (
        "These functions are on offer, each with a JSON schema of its arguments:\n"
        + "\n".join(json.dumps(one, ensure_ascii=False, default=str) for one in offered)
        + '\n\nTo call functions answer with a JSON list alone, like [{"name": "f", "arguments": {"x": 1}}]: no other '
        "words, one entry for each call, and no argument that the request does not give or need. " + rule
    )


def read_calls(text: str, demand: Demand) -> list[Call] | None:
    r"""Parse the tool calls of a reply; ``None`` if it has none, or calls unavailable functions.

    Example:
        >>> read_calls('Sure: ```json\n[{"name": "now", "arguments": {}}]\n```', Demand({"now": {}}))
        [Call(name='now', arguments={})]
    """
    text = without_thoughts(text).strip()[:_LONGEST]
    if calls := calls_in(text):
        return calls
    first, last = min((i for i in (text.find("["), text.find("{")) if i >= 0), default=-1), max(map(text.rfind, "]}"))
    inside = [text[first : last + 1]] if 0 <= first < last else []
    readings = (_in_pieces(text, demand), *map(calls_in, (*_FENCED.findall(text), *inside)))
    return next((calls for calls in readings if calls and all(call.name in demand.tools for call in calls)), None)


def _in_pieces(text: str, demand: Demand) -> list[Call]:
    """Return the calls of consecutive JSON values in a text.

    There are none if there is text between two, or if the rest of the text attempts a call as well.
    """
    calls, first, end, at = list[Call](), 0, 0, 0
    for _ in range(_MOST_PIECES):
        if (found := _OPENS.search(text, at)) is None:
            return [] if tries_to_call(text[:first] + text[end:], demand) else calls
        begin = found.start()
        try:
            value, at = json.JSONDecoder().raw_decode(text, begin)
        except (ValueError, RecursionError):
            at = begin + 1
            continue
        if made := calls_of(value):
            if calls and not _BETWEEN.fullmatch(text, end, begin):
                return []
            calls, first, end = [*calls, *made], first if calls else begin, at
    return []


def tries_to_call(text: str, demand: Demand) -> bool:
    """Return whether a reply without calls attempts to call an available function.

    Example:
        >>> [tries_to_call(t, Demand({"now": {}})) for t in ('{"name": "now", "arguments": {', "It is now (noon).")]
        [True, False]
    """
    text = without_thoughts(text).strip()[:_LONGEST]
    named = {match[1] for match in _NAMED.finditer(text)}
    keys = {match[1] for match in _KEYS.finditer(text)} if text[:1] in ("{", "[", "`") else set()
    lines = {line.partition("(")[0] for line in (line.strip(" `") for line in text.splitlines()) if line[-1:] == ")"}
    return not demand.tools.keys().isdisjoint(named | keys | lines)


def _choice(params: Mapping[str, Any]) -> Any:
    return params.get("tool_choice") or ("required" if params.get("tool_required") else None)


def _without(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return parameters without those about tools; the engine's own requests are kept."""
    kept = {name: value for name, value in params.items() if name not in ABOUT_TOOLS}
    if isinstance(params, DrawParams):
        return DrawParams(kept, greedy=params.greedy, logprobs=params.logprobs)
    return kept


def _in_words(message: Any) -> Any:
    """Return an OpenAI message with tool turns as text."""
    if not isinstance(message, Mapping):
        return message
    if message.get("role") == "tool":
        return {"role": "user", "content": f"The function returned: {message.get('content')}"}
    if calls := message.get("tool_calls"):
        made = [call.get("function", call) for call in calls]
        requested = [{"name": c.get("name"), "arguments": _parsed(c.get("arguments"))} for c in made]
        return {"role": "assistant", "content": json.dumps(requested, default=str)}
    return message


def _parsed(arguments: Any) -> Any:
    return Call.parse("", arguments).arguments if isinstance(arguments, str) else arguments


name_home("bestroute", globals(), ["ToolsInPrompt"])
