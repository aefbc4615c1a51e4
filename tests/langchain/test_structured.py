"""Requirement 11: structured output, each method on the wire."""

import functools
import inspect
import json

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_openai")

from langchain_core.exceptions import OutputParserException
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from bestroute import ConfigError, Price
from bestroute.adapters.response_schemas import enforceable
from langchain_bestroute import BestRouteChat, structured


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class PersonDict(TypedDict):
    """A person."""

    name: str
    age: int


SCHEMA = {"title": "Person", "description": "A person.", "type": "object"}
SCHEMA |= {"properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}


def make(server, n=1, model="small-mini"):
    member = ChatOpenAI(model=model, base_url=server.base_url, api_key="k", max_retries=0)
    return BestRouteChat(
        models={"small": member},
        prices={"small": Price(1, 2)},
        router=lambda q: ("small", n),
        reward_model=lambda query, texts: [0.0] * len(texts),
    )


@pytest.mark.parametrize("schema", [Person, PersonDict, SCHEMA], ids=["pydantic", "typeddict", "json"])
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@pytest.mark.parametrize("n", [1, 2])
def test_every_kind_of_schema_comes_back_by_each_method(server, schema, method, n):
    chain = make(server, n).with_structured_output(schema, method=method)
    answer = chain.invoke("'Ann' is 7")
    assert (answer if isinstance(answer, dict) else answer.model_dump()) == {"name": "Ann", "age": 7}
    assert isinstance(answer, Person if schema is Person else dict)
    body = server.sent()[0]
    assert ("tools" in body) == (method == "function_calling")
    assert ("response_format" in body) == (method == "json_schema")


def test_json_mode_reaches_the_wire(server):
    answer = make(server).with_structured_output(None, method="json_mode").invoke("keys 'a' and 'b'")
    assert answer == {"a": "foo", "b": "foo"}
    assert server.sent()[0]["response_format"] == {"type": "json_object"}
    assert "tools" not in server.sent()[0]


def test_raw_replies_come_with_what_was_parsed_or_why_not(server):
    chain = make(server).with_structured_output(Person, include_raw=True)
    good = chain.invoke("'Ann' is 7")
    assert good["parsed"] == Person(name="Ann", age=7)
    assert good["raw"].response_metadata["bestroute"]["model"] == "small"
    assert good["parsing_error"] is None
    server.script("small-mini", ["no json"])
    bad = chain.invoke("'Ann' is 7")
    assert bad["parsed"] is None
    assert bad["parsing_error"] is not None


def added(chunks):
    return functools.reduce(lambda one, other: one + other, chunks)


@pytest.mark.parametrize("schema", [Person, SCHEMA], ids=["pydantic", "json"])
@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize(
    "reply",
    ["no json", '{"name": "Ann"}', {"tool": "Person", "args": '{"name": "Ann"}'}, {"tool": "Person", "args": '{"na'}],
    ids=["text", "a field is missing", "a call lacks a field", "a call is cut short"],
)
async def test_a_raw_stream_that_does_not_parse_does_as_the_plain_models(server, schema, method, reply):
    if isinstance(reply, dict) and method != "function_calling":
        reply = "[1"
    plain = ChatOpenAI(model="small-mini", base_url=server.base_url, api_key="k", max_retries=0)
    outcomes = []
    for chat in (plain, make(server)):
        server.script("small-mini", [reply] * 2)
        chain = chat.with_structured_output(schema, method=method, include_raw=True)
        try:
            streamed = [added(chain.stream("hi")), added([chunk async for chunk in chain.astream("hi")])]
        except ValueError:
            outcomes.append("raised")
        else:
            outcomes.append([{**each, "raw": type(each["raw"])} for each in streamed])
    assert outcomes[0] == outcomes[1]
    assert (outcomes[0] == "raised") == (schema is Person and method == "json_schema")


def test_a_refusal_is_raised_as_the_plain_model_raises_it():
    from langchain_core.messages import AIMessage
    from langchain_openai.chat_models.base import OpenAIRefusalError

    refused = AIMessage("", additional_kwargs={"refusal": "I will not"})
    with pytest.raises(OpenAIRefusalError, match="I will not"):
        structured.parser_of(Person, "json_schema").invoke(refused)


def test_strict_reaches_the_member(server):
    make(server).with_structured_output(Person, strict=True).invoke("'Ann' is 7")
    assert server.sent()[0]["response_format"]["json_schema"]["strict"] is True


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@pytest.mark.parametrize(("strict", "responses"), [(True, False), (True, True), (False, True)])
def test_strict_reaches_the_tools_beside_a_schema_too(server, responses, strict):
    alone = ChatOpenAI(
        model="small-mini", base_url=server.base_url, api_key="k", max_retries=0, use_responses_api=responses
    )
    for model in (alone, BestRouteChat(models={"small": alone}, prices={"small": Price(1, 2)})):
        model.with_structured_output(SCHEMA, tools=[multiply], strict=strict).invoke("'Ann' is 7")
    plain, pooled = server.sent("/responses") if responses else server.sent()
    assert pooled["tools"] == plain["tools"]


class Team(BaseModel):
    """A team."""

    lead: Person
    members: list[Person]
    motto: str | None = None


def enforced(server):
    told = server.sent()[-1]["response_format"]["json_schema"]
    return told["strict"], told["schema"]


def test_the_schema_of_a_class_is_enforced_as_the_plain_model_has_it_enforced(server):
    member = ChatOpenAI(model="small-mini", base_url=server.base_url, api_key="k")
    member.with_structured_output(Team).invoke("x")
    plain_strict, plain = enforced(server)
    make(server).with_structured_output(Team).invoke("x")
    strict, schema = enforced(server)
    assert strict is plain_strict is True
    assert schema["required"] == plain["required"] == ["lead", "members", "motto"]
    assert schema == plain
    assert "default" not in json.dumps(schema)


def test_a_class_made_of_openais_that_asks_in_its_own_way_decides_itself(server):
    asked = []

    class Other(ChatOpenAI):
        def with_structured_output(self, schema=None, **kwargs):
            asked.append(kwargs)
            return super().with_structured_output(schema, **kwargs)

    for kind in (Other, ChatOpenAI):
        member = kind(model="small-mini", base_url=server.base_url, api_key="k")
        chat = BestRouteChat(models={"small": member}, prices={"small": Price(1, 2)})
        chat.with_structured_output(Person).invoke("'Ann' is 7")
    assert asked == [{}]
    assert [b["response_format"]["json_schema"]["strict"] for b in server.sent()] == [True, True]


class Bag(BaseModel):
    """A bag of anything."""

    things: dict[str, int]


@pytest.mark.parametrize("schema", [Bag, SCHEMA, PersonDict], ids=["free object", "json", "typeddict"])
def test_a_schema_that_cannot_be_enforced_or_is_no_class_is_asked_for_loosely(server, schema):
    make(server).with_structured_output(schema, include_raw=True).invoke("x")
    strict, sent = enforced(server)
    assert strict is False
    if schema is Bag:
        assert sent["properties"]["things"]["additionalProperties"] == {"type": "integer"}


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"type": "object"},
        {"type": "array"},
        {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": True}]},
        {"type": "array", "items": {"type": "string", "minLength": 3}},
        {"allOf": [{"type": "string"}]},
    ],
)
def test_what_openai_would_refuse_is_not_enforceable(part):
    assert enforceable({"type": "object", "properties": {"part": part}}) is None


INNER = {key: SCHEMA[key] for key in ("type", "properties", "required")}


@pytest.mark.parametrize(
    "schema",
    [
        {"name": "Person", "strict": True, "schema": INNER},
        {"type": "json_schema", "json_schema": {"name": "Person", "strict": True, "schema": INNER}},
        {"name": "Person", "strict": True, "parameters": INNER},
    ],
    ids=["json schema", "response format", "function"],
)
def test_a_schema_may_come_in_the_forms_that_openai_has(server, schema):
    assert make(server).with_structured_output(schema).invoke("'Ann' is 7") == {"name": "Ann", "age": 7}
    strict, sent = enforced(server)
    assert strict is True
    assert sent["properties"] == INNER["properties"]
    assert server.sent()[0]["response_format"]["json_schema"]["name"] == "Person"
    loosely = make(server).with_structured_output(schema, method="json_mode")
    assert loosely.invoke("keys 'name' and 'age'") == {"name": "foo", "age": "foo"}


class Node(BaseModel):
    """A tree."""

    value: int
    children: list["Node"] = []


def test_a_class_that_contains_itself_is_sent_with_its_references(server):
    broken, whole = '{"value": 1, "children": [3]}', '{"value": 2, "children": [{"value": 4}]}'
    server.script("small-mini", [broken, whole])
    assert make(server, 2).with_structured_output(Node).invoke("x") == Node(value=2, children=[Node(value=4)])
    strict, sent = enforced(server)
    assert strict is True
    assert sent["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert sent["$defs"]["Node"]["required"] == ["value", "children"]
    assert sent["$defs"]["Node"]["additionalProperties"] is False


def test_the_request_is_plain_json_until_a_member_is_called(server):
    chain = make(server).with_structured_output(Person)
    json.dumps(chain.first.kwargs)
    assert server.requests == []


@pytest.mark.parametrize(
    ("schema", "method", "sentence"),
    [
        (Person, "yaml", "method must be one of 'function_calling', 'json_schema', 'json_mode', got 'yaml'"),
        (None, "json_schema", "method 'json_schema' needs a schema"),
    ],
)
def test_an_unknown_method_and_a_missing_schema_are_refused(server, schema, method, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make(server).with_structured_output(schema, method=method)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("reply", ['{"name": ', "{}", "[1]", "no object at all"])
async def test_a_stream_that_ends_without_the_object_says_so(server, reply, n, is_async):
    server.script("small-mini", [reply] * 9)
    alone = ChatOpenAI(model="small-mini", base_url=server.base_url, api_key="k", max_retries=0)
    for model in (alone, make(server, n)):
        chain = model.with_structured_output(Person)
        with pytest.raises(ValueError, match="Person|no object|expected ident"):
            _ = [part async for part in chain.astream("hi")] if is_async else list(chain.stream("hi"))


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_reply_that_is_no_object_of_the_class_raises_the_error_that_openais_class_raises(server, n, how):
    server.script("small-mini", ['{"name": 3}'] * 9)
    alone = ChatOpenAI(model="small-mini", base_url=server.base_url, api_key="k", max_retries=0)
    for model in (alone, make(server, n)):
        chain = model.with_structured_output(Person)
        with pytest.raises(ValidationError, match="Input should be a valid string"):
            await all_of(getattr(chain, how)("hi"))


async def all_of(reply):
    """Await a reply, use up a stream."""
    if inspect.isawaitable(reply):
        return await reply
    return [part async for part in reply] if hasattr(reply, "__aiter__") else list(reply)


def test_the_error_of_another_class_stays_its_own(server):
    anthropic = pytest.importorskip("langchain_anthropic")
    server.script("small-mini", ['{"name": 3}'] * 2)
    alone = anthropic.ChatAnthropic(model="small-mini", base_url=server.root_url, api_key="k", max_retries=0)
    for model in (alone, BestRouteChat(models={"small": alone}, prices={"small": Price(1, 2)}, max_retries=0)):
        with pytest.raises(OutputParserException):
            model.with_structured_output(Person, method="json_schema").invoke("hi")


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # of langchain-openai's own
@pytest.mark.parametrize("responses", [False, True])
async def test_the_object_of_a_class_is_in_a_streams_message_too(server, responses):
    alone = ChatOpenAI(
        model="small-mini", base_url=server.base_url, api_key="k", max_retries=0, use_responses_api=responses
    )
    pool = BestRouteChat(models={"small": alone}, prices={"small": Price(1, 2)})
    chain = pool.with_structured_output(Person, include_raw=True)
    for streamed in (added(chain.stream("'Ann' is 7")), added([part async for part in chain.astream("'Ann' is 7")])):
        assert streamed["raw"].additional_kwargs["parsed"] == Person(name="Ann", age=7)


class InWords(ChatOpenAI):
    """A class that answers in JSON text whichever method is asked for, and drops a reasoning model's thoughts."""

    def with_structured_output(self, schema=None, *, method=None, include_raw=False, **kwargs):
        return super().with_structured_output(schema, method="json_mode")


@pytest.mark.parametrize("schema", [Person, PersonDict, SCHEMA], ids=["pydantic", "typeddict", "json"])
@pytest.mark.parametrize("method", [None, "function_calling", "json_mode"])
@pytest.mark.parametrize("thoughts", ["", "<think>{a person?}</think>\n", "a person, so\n</think>"])
def test_a_reply_is_read_in_the_form_that_the_members_class_asks_for(server, schema, method, thoughts):
    member = InWords(model="small-mini", base_url=server.base_url, api_key="k")
    chat = BestRouteChat(models={"small": member}, prices={"small": Price(1, 2)})
    server.script("small-mini", [thoughts + '{"name": "Ann", "age": 7}'] * 2)
    chain = chat.with_structured_output(schema, method=method, include_raw=True)
    streamed = [part["parsed"] for part in chain.stream("Ann is 7") if "parsed" in part][-1]
    reply = chain.invoke("Ann is 7")
    assert reply["raw"].response_metadata["bestroute"]["flaws"] == [None]
    for answer in (reply["parsed"], streamed):
        assert (answer if isinstance(answer, dict) else answer.model_dump()) == {"name": "Ann", "age": 7}


def test_words_in_place_of_a_tool_call_are_no_object_as_for_the_member_alone(server):
    server.script("small-mini", ["no call at all"] * 2)
    alone = ChatOpenAI(model="small-mini", base_url=server.base_url, api_key="k", max_retries=0)
    for model in (alone, make(server)):
        assert model.with_structured_output(Person, method="function_calling").invoke("Ann is 7") is None
