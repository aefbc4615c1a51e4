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
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from bestroute import ConfigError
from bestroute.errors import named
from langchain_bestroute import providers
from langchain_bestroute.schemas import enforceable, named_schema

Method = Literal["function_calling", "json_schema", "json_mode"]
METHODS = ("function_calling", "json_schema", "json_mode")
WANTED = "structured_output"
"""Name of the call parameter that carries the request to the members, as plain JSON."""


def wanted(schema: Any, method: str, strict: bool | None) -> dict[str, Any]:
    """Return the request as plain JSON.

    Raises:
        ConfigError: If the method is unknown, or one that needs a schema has none.
    """
    if method not in METHODS:
        raise ConfigError(f"with_structured_output: method must be one of {named(METHODS)}, got {method!r}")
    if schema is None and method != "json_mode":
        raise ConfigError(f"with_structured_output: method {method!r} needs a schema, got None")
    plain = None if schema is None else named_schema(schema)
    is_class = isinstance(schema, type) and is_basemodel_subclass(schema)
    return {"schema": plain, "method": method, "strict": strict, "is_class": is_class}


def member_kwargs(member: BaseChatModel, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call arguments by which this member is made to answer in the wanted form."""
    schema, strict = asked["schema"], asked["strict"]
    # OpenAI's integrations have the schema of a class enforced, that of a dict, which is what they are handed, not.
    if (
        strict is None
        and asked.get("is_class")
        and asked["method"] == "json_schema"
        and providers.enforces_classes(member)
    ):
        strict = (enforced := enforceable(schema)) is not None or None
        schema = enforced or schema
    options = {} if strict is None else {"strict": strict}
    chain = member.with_structured_output(schema, method=asked["method"], **options)
    bound: Any = getattr(chain, "first", chain)
    return {name: value for name, value in bound.kwargs.items() if name != "ls_structured_output_format"}


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
