"""Structured output: the request goes to each member in its own way, the reply is parsed here."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import (
    BaseCumulativeTransformOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    JsonOutputToolsParser,
    PydanticToolsParser,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import (
    convert_to_json_schema,
    convert_to_openai_function,
    convert_to_openai_tool,
)
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, Field, ValidationError

from bestroute._utils.text import brief
from bestroute.adapters.response_schemas import enforceable, is_closed, unwrapped
from bestroute.errors import ConfigError, named
from bestroute.selection import Demand, read_demand
from bestroute.selection.tool_calls import without_thoughts
from bestroute.types.query import Query
from langchain_bestroute import providers
from langchain_bestroute.tools import Carried, bound_call, source_of

Method = Literal["function_calling", "json_schema", "json_mode"]
METHODS = ("function_calling", "json_schema", "json_mode")
WANTED = "structured_output"
"""Name of the call parameter that carries the request to the members, as plain JSON."""
_REFERENCE = "#/$defs/"
_REFERENCES = re.compile(r'"#/\$defs/([^"]+)"')
NOTHING = Demand()


def wanted(schema: Any, method: str | None, strict: bool | None) -> dict[str, Any]:
    """Return the request as plain JSON, which carries the user's own schema.

    Args:
        schema: As the caller gave it; a dict may be wrapped as OpenAI's response format is.
        method: One of ``METHODS``; ``None`` is each member's own.
        strict: As the caller said.

    Raises:
        ConfigError: If the method is unknown, or one that needs a schema has none.
    """
    if method is not None and method not in METHODS:
        raise ConfigError(f"with_structured_output: method must be one of {named(METHODS)}, got {brief(method)}")
    if schema is None and method != "json_mode":
        raise ConfigError(f"with_structured_output: method {method or METHODS[1]!r} needs a schema, got None")
    inner, flag = unwrapped(schema)
    if strict is None and method != "json_mode":  # which enforces nothing
        strict = flag
    plain = None if schema is None else Carried(named_schema(inner), schema)
    return {"schema": plain, "method": method, "strict": strict, "is_class": is_model(schema)}


def is_model(schema: Any) -> bool:
    """Whether a schema is a pydantic class."""
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def member_call(
    member: BaseChatModel, wish: Mapping[str, Any], *, stream: bool = False
) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the model to call and the arguments by which it is made to answer in the wanted form.

    Args:
        member: The chat model.
        wish: As ``wanted`` returns it.
        stream: Whether the call is a stream.

    Raises:
        ConfigError: If the member's ``with_structured_output`` returns what cannot be called.
    """
    given, method, strict = source_of(wish["schema"]), wish["method"], wish["strict"]
    schema = unwrapped(given)[0]
    by_format = method in (None, "json_schema") and providers.is_of_openai(member)
    if not isinstance(schema, type) and wish.get("is_class") and by_format and strict is None:
        schema, strict = _as_enforced(schema)  # the class itself was lost on the way
    options = {name: value for name, value in (("method", method), ("strict", strict)) if value is not None}
    chain = member.with_structured_output(schema, **options)
    model, kwargs = bound_call(getattr(chain, "first", chain), member, "with_structured_output")
    kwargs.pop("ls_structured_output_format", None)
    if by_format and "response_format" in kwargs:
        if kwargs["response_format"] is schema and is_model(schema):
            by_langchain = stream and providers.uses_responses_api(model, kwargs)
            kwargs["response_format"] = _response_format(schema, by_langchain=by_langchain)
        elif schema is not given:  # in a response format already
            inner = given.get("json_schema", given)
            if "schema" in inner:
                kwargs["response_format"] = {"type": "json_schema", "json_schema": inner}
    return model, kwargs


def _as_enforced(schema: dict[str, Any]) -> tuple[dict[str, Any], bool | None]:
    """Return the schema of a class as OpenAI's integrations would have it enforced, if they would."""
    enforced = enforceable(schema)
    return (schema, None) if enforced is None else (enforced, True)


def _response_format(schema: Any, *, by_langchain: bool) -> dict[str, Any]:
    """Return what is sent for a class; one that OpenAI would refuse is asked for loosely.

    Handed the class, the client would parse the reply itself, and a reply that does not fit would be an error without
    its bill.

    Args:
        schema: The class.
        by_langchain: Whether ``langchain-openai`` writes the schema (in streams of the Responses API), and not OpenAI's
            client.
    """
    import openai

    parameters: Any = openai.pydantic_function_tool(schema)["function"]["parameters"]
    if not is_closed(parameters):
        function = convert_to_openai_function(schema, strict=False)
        function_schema = {"name": function["name"], "description": function.get("description", ""), "strict": False}
        return {"type": "json_schema", "json_schema": {**function_schema, "schema": function["parameters"]}}
    if by_langchain:
        function_schema = convert_to_openai_function(schema.model_json_schema(), strict=True)
        return {"type": "json_schema", "json_schema": {"schema": function_schema.pop("parameters"), **function_schema}}
    return {"type": "json_schema", "json_schema": {"schema": parameters, "name": schema.__name__, "strict": True}}


def with_parsed(message: AIMessage, wish: Mapping[str, Any] | None, kwargs: Mapping[str, Any]) -> AIMessage:
    """Return a message with the object that OpenAI's integrations put into ``additional_kwargs["parsed"]``.

    Args:
        message: What came.
        wish: The structured output that was asked for.
        kwargs: How the member was asked.
    """
    schema: Any = None if wish is None else source_of(wish["schema"])
    by_format = (kwargs.get("response_format") or {}).get("type") == "json_schema" if wish is not None else False
    if not by_format or not is_model(schema) or message.tool_calls or message.additional_kwargs.get("parsed"):
        return message
    try:
        parsed = schema.model_validate_json(message.text)
    except ValueError:  # whoever reads the reply says what is wrong with it
        return message
    return message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, "parsed": parsed}})


class _AfterThoughts:
    """Reads what follows the thoughts of a reasoning model, where its server leaves them in the text."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Read a reply, or what has come of it so far."""
        answer = Generation(text=without_thoughts(result[0].text))
        return super().parse_result([answer], partial=partial)  # type: ignore[misc]


class _JsonParser(_AfterThoughts, JsonOutputParser):
    """Reads any JSON."""


class _ObjectParser(_AfterThoughts, PydanticOutputParser[Any]):
    """Reads an object of a class."""


class ReplyParser(BaseCumulativeTransformOutputParser[Any]):
    """Reads an object from a text, or from a tool call: some members' classes know one way, whichever is asked for."""

    by_text: JsonOutputParser
    by_call: JsonOutputToolsParser
    name: str
    """Of the schema, where it travels as a tool."""
    wants_call: bool = False
    """Whether a tool call is asked for: then a text that is no such object is nothing, as for members alone."""
    may_be_text: bool = False
    """Whether some member answers in text where a tool call is asked for."""
    is_strict: bool = False
    """Whether a stream that ends with what is no such object raises, as ``ChatOpenAI`` does for a class."""
    is_validated: Callable[[BaseMessage], bool] | None = Field(default=None, repr=False)
    """Whether a message is of a member that raises pydantic's own error for what is no object of the class."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Read a reply, or what has come of it so far."""
        if self.wants_call:
            return self._in_call(result, partial=partial)
        message = getattr(result[0], "message", None)
        if refusal := _refusal_in(message):
            raise _refusal(refusal)
        called = {call["name"] for call in getattr(message, "tool_calls", None) or ()}
        if called and self.name not in called:
            return None  # it called a tool offered beside the schema, and there is nothing to parse yet
        if called:
            return self.by_call.parse_result(result, partial=partial)
        try:
            return self.by_text.parse_result(result, partial=partial)
        except OutputParserException as error:
            self._validate(message, error)
            raise

    def _validate(self, message: Any, error: OutputParserException) -> None:
        """Raise what the member alone raises for a reply that is no object of the class, where that is another error.

        Raises:
            ValidationError: Pydantic's, as OpenAI's client leaves it.
        """
        if not self.is_strict or self.is_validated is None or not isinstance(message, AIMessage):
            return
        if not message.text or not self.is_validated(message):
            return
        try:
            self.OutputType.model_validate_json(without_thoughts(message.text))
        except ValidationError as own:
            raise own from error

    def _in_call(self, result: list[Generation], *, partial: bool) -> Any:
        called = self.by_call.parse_result(result, partial=partial)
        if not self.may_be_text or getattr(getattr(result[0], "message", None), "tool_calls", None):
            return called
        try:
            return self.by_text.parse_result(result, partial=partial)
        except OutputParserException:
            return None

    def parse(self, text: str) -> Any:
        """Read a text."""
        return self.by_text.parse(text)

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:
        pieces: list[str | BaseMessage] = []
        yield from super()._transform(_noted(input, pieces))
        self._check(pieces)

    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        pieces: list[str | BaseMessage] = []
        async for parsed in super()._atransform(_anoted(input, pieces)):
            yield parsed
        self._check(pieces)

    def _check(self, pieces: Sequence[str | BaseMessage]) -> None:
        """Read the whole of a stream, of which every part may have been too short to be wrong."""
        chunks = [piece for piece in pieces if isinstance(piece, AIMessageChunk)]
        if self.is_strict and chunks:
            self.parse_result([ChatGeneration(message=chunks[0] + chunks[1:] if chunks[1:] else chunks[0])])

    @property
    def OutputType(self) -> Any:
        """What is read, for ``get_output_jsonschema``."""
        return self.by_text.OutputType


def _noted(pieces: Iterator[Any], into: list[Any]) -> Iterator[Any]:
    for piece in pieces:
        into.append(piece)
        yield piece


async def _anoted(pieces: AsyncIterator[Any], into: list[Any]) -> AsyncIterator[Any]:
    async for piece in pieces:
        into.append(piece)
        yield piece


def _refusal_in(message: Any) -> str | None:
    """Return what a model said in place of the object, where its provider marks that."""
    if refusal := getattr(message, "additional_kwargs", {}).get("refusal"):
        return str(refusal)
    blocks = message.content if isinstance(getattr(message, "content", None), list) else ()
    inner = [block.get("value", block) for block in blocks if isinstance(block, dict)]
    return next((str(b["refusal"]) for b in inner if isinstance(b, dict) and b.get("refusal")), None)


def _refusal(refusal: str) -> Exception:
    """Return the error that ``ChatOpenAI`` raises for a refusal, where it is in use."""
    openai = sys.modules.get("langchain_openai.chat_models.base")
    return OutputParserException(refusal) if openai is None else openai.OpenAIRefusalError(refusal)


def answers_in_text(member: BaseChatModel, wish: Mapping[str, Any]) -> bool:
    """Whether a member's class asks for JSON text where a tool call is wished for."""
    if wish["method"] != "function_calling":
        return False
    try:
        return "tools" not in member_call(member, wish)[1]
    except Exception:  # it says so itself when it is called
        return False


def parser_of(
    schema: Any,
    method: str | None,
    *,
    may_be_text: bool = False,
    is_validated: Callable[[BaseMessage], bool] | None = None,
) -> Runnable[Any, Any]:
    """Return what turns a member's message into the object the user asked for; see ``ReplyParser``."""
    by_text = _ObjectParser(pydantic_object=schema) if is_model(schema) else _JsonParser()
    if schema is None:
        return by_text
    by_call: JsonOutputToolsParser = (
        PydanticToolsParser(tools=[schema], first_tool_only=True)
        if is_model(schema)
        else JsonOutputKeyToolsParser(key_name=convert_to_openai_tool(schema)["function"]["name"], first_tool_only=True)
    )
    return ReplyParser(
        by_text=by_text,
        by_call=by_call,
        name=convert_to_openai_tool(schema)["function"]["name"],
        wants_call=method == "function_calling",
        may_be_text=may_be_text,
        is_strict=is_model(schema) and method in (None, "json_schema"),
        is_validated=is_validated,
    )


def with_raw(
    chat: Runnable[LanguageModelInput, Any], parser: Runnable[Any, Any]
) -> Runnable[LanguageModelInput, dict[str, Any]]:
    """Return the message beside what was parsed; a reply that does not parse is told, not raised, but in streams."""
    parse = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=chat) | parse.with_fallbacks([failed], exception_key="parsing_error")


def named_schema(schema: Any) -> dict[str, Any]:
    """Return a JSON schema with a title and a description, from which every member makes its own format."""
    function = convert_to_openai_tool(schema)["function"]
    plain = dict(convert_to_json_schema(schema))
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        json_schema = schema.model_json_schema()
        if definitions := _recursive(
            json_schema
        ):  # LangChain writes references out, and leaves those that never end blank
            root = definitions.get(str(json_schema.get("$ref", "")).removeprefix(_REFERENCE), json_schema)
            plain = {**root, "$defs": definitions}
    plain["title"] = function["name"]
    plain["description"] = function.get("description") or plain.get("description") or ""
    return plain


def _recursive(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema's definitions if one of them contains itself, else none."""
    definitions: dict[str, Any] = schema.get("$defs", {})
    seen_from = {name: set(_REFERENCES.findall(json.dumps(part))) for name, part in definitions.items()}
    for _ in definitions:
        seen_from = {n: reached.union(*(seen_from.get(s, set()) for s in reached)) for n, reached in seen_from.items()}
    return definitions if any(name in reached for name, reached in seen_from.items()) else {}


def demand_of(query: Query, *, by_tool: bool = False) -> Demand:
    """Return what a query's samples are checked against.

    Args:
        query: The query.
        by_tool: The member was asked for its structured output by a tool, whatever the caller's method.
    """
    wish, reply_format = query.params.get(WANTED), query.params.get("response_format")
    if not query.tools and wish is None and reply_format is None:
        return NOTHING
    if wish is not None and by_tool:
        tool = {"type": "function", "name": wish["schema"]["title"], "parameters": wish["schema"]}
        return read_demand([tool], tool["name"])
    schema = wish["schema"] if wish is not None else _schema_in(reply_format)
    is_json = wish is not None or reply_format is not None
    return read_demand(query.tools, query.params.get("tool_choice"), is_json=is_json, schema=schema)


def _schema_in(reply_format: Any) -> Mapping[str, Any] | None:
    if isinstance(reply_format, Mapping):
        inner = reply_format.get("json_schema", reply_format)
        return inner.get("schema") if isinstance(inner, Mapping) else None
    return None if reply_format is None else convert_to_json_schema(reply_format)
