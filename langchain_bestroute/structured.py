"""Structured output: the request goes to each member in its own way, the reply is parsed here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.output_parsers import (
    BaseCumulativeTransformOutputParser,
    BaseOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    JsonOutputToolsParser,
    PydanticToolsParser,
)
from langchain_core.outputs import Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from bestroute import ConfigError
from bestroute.errors import named
from langchain_bestroute import providers

Method = Literal["function_calling", "json_schema", "json_mode"]
METHODS = ("function_calling", "json_schema", "json_mode")
WANTED = "structured_output"
"""Name of the call parameter that carries the request to the members, as plain JSON."""
_TELLING = frozenset({"type", "anyOf", "enum", "const"})
_ENFORCEABLE = _TELLING | {
    *("title", "description", "properties", "required", "items", "pattern", "format", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"),
}
"""Words of JSON Schema that OpenAI enforces, where every object names its properties."""


def wanted(schema: Any, method: str, strict: bool | None) -> dict[str, Any]:
    """Return the request as plain JSON.

    Raises:
        ConfigError: If the method is unknown, or one that needs a schema has none.
    """
    if method not in METHODS:
        raise ConfigError(f"with_structured_output: method must be one of {named(METHODS)}, got {method!r}")
    if schema is None and method != "json_mode":
        raise ConfigError(f"with_structured_output: method {method!r} needs a schema, got None")
    plain = None if schema is None else _named_schema(schema)
    is_class = isinstance(schema, type) and is_basemodel_subclass(schema)
    return {"schema": plain, "method": method, "strict": strict, "is_class": is_class}


def _named_schema(schema: Any) -> dict[str, Any]:
    """Return a JSON schema with a title and a description, from which every member makes its own format."""
    function = convert_to_openai_tool(schema)["function"]
    plain = dict(convert_to_json_schema(schema))
    plain["title"] = function["name"]
    plain["description"] = function.get("description") or plain.get("description") or ""
    return plain


def member_kwargs(member: BaseChatModel, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call arguments by which this member is made to answer in the wanted form."""
    schema, strict = asked["schema"], asked["strict"]
    # OpenAI's integrations have the schema of a class enforced, that of a dict, which is what they are handed, not.
    if strict is None and asked.get("is_class") and asked["method"] == "json_schema" and providers.is_openai(member):
        strict = (enforced := enforceable(schema)) is not None or None
        schema = enforced or schema
    options = {} if strict is None else {"strict": strict}
    chain = member.with_structured_output(schema, method=asked["method"], **options)
    bound: Any = getattr(chain, "first", chain)
    return {name: value for name, value in bound.kwargs.items() if name != "ls_structured_output_format"}


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema without defaults, if OpenAI can enforce it; ``None`` if it holds what OpenAI would refuse.

    Example:
        >>> enforceable({"type": "object", "properties": {"age": {"type": "integer", "default": 3}}})
        {'type': 'object', 'properties': {'age': {'type': 'integer'}}}
        >>> enforceable({"type": "object"}) is None  # of any properties
        True

    Source:
        OpenAI's guide on structured outputs, "Supported schemas".
    """
    kept = {key: value for key, value in schema.items() if key != "default"}
    if kept.pop("additionalProperties", False) is not False or not kept.keys() <= _ENFORCEABLE:
        return None
    parts = [*kept.get("properties", {}).values(), *kept.get("anyOf", [])]
    kind = kept.get("type")
    if kind == "object" and "properties" not in kept:
        return None
    if kind == "array":
        parts.append(kept.get("items", {}))
    if not kept.keys() & _TELLING or any(enforceable(part) is None for part in parts):
        return None
    if "properties" in kept:
        kept["properties"] = {name: enforceable(part) for name, part in kept["properties"].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [enforceable(part) for part in kept["anyOf"]]
    if "items" in kept:
        kept["items"] = enforceable(kept["items"])
    return kept


class ReplyParser(BaseCumulativeTransformOutputParser[Any]):
    """Reads an object from a text, or from a tool call of a member that was asked for JSON and has only tools."""

    by_text: JsonOutputParser
    by_call: JsonOutputToolsParser
    name: str
    """Of the schema, where it travels as a tool."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Read a reply, or what has come of it so far."""
        message = getattr(result[0], "message", None)
        if refusal := getattr(message, "additional_kwargs", {}).get("refusal"):
            raise _refusal(refusal)
        called = {call["name"] for call in getattr(message, "tool_calls", None) or ()}
        if called and self.name not in called:
            return None  # it called a tool offered beside the schema, and there is nothing to parse yet
        parser: BaseOutputParser[Any] = self.by_call if called else self.by_text
        return parser.parse_result(result, partial=partial)

    def parse(self, text: str) -> Any:
        """Read a text."""
        return self.by_text.parse(text)


def _refusal(said: str) -> Exception:
    """Return the error that ``ChatOpenAI`` raises for a refusal, where it is in use."""
    openai = sys.modules.get("langchain_openai.chat_models.base")
    return OutputParserException(said) if openai is None else openai.OpenAIRefusalError(said)


def parser_of(schema: Any, method: str) -> Runnable[Any, Any]:
    """Return what turns a member's message into the object the user asked for."""
    is_model = isinstance(schema, type) and is_basemodel_subclass(schema)
    by_text = PydanticOutputParser(pydantic_object=schema) if is_model else JsonOutputParser()
    if schema is None:
        return by_text
    by_call: JsonOutputToolsParser = (
        PydanticToolsParser(tools=[schema], first_tool_only=True)
        if is_model
        else JsonOutputKeyToolsParser(key_name=convert_to_openai_tool(schema)["function"]["name"], first_tool_only=True)
    )
    if method == "function_calling":
        return by_call
    return ReplyParser(by_text=by_text, by_call=by_call, name=convert_to_openai_tool(schema)["function"]["name"])


def with_raw(
    chat: Runnable[LanguageModelInput, Any], parser: Runnable[Any, Any]
) -> Runnable[LanguageModelInput, dict[str, Any]]:
    """Return the message beside what was parsed; a reply that does not parse is told, not raised."""
    parse = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=chat) | parse.with_fallbacks([failed], exception_key="parsing_error")
