"""Requirement 30: structured prediction, whole, streamed, async, through ``as_structured_llm`` and a query engine."""

import threading

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, VectorStoreIndex
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field, field_serializer

from llamaindex_bestroute.structured import Structure

PROMPT = PromptTemplate("please make something of 'abc' and {n}")  # names no tool: an "auto" choice would not call


class Joke(BaseModel):
    """A joke."""

    setup: str
    age: int


class Quip(BaseModel):
    """A quip."""

    setup: str = Field(pattern="^a")
    age: int


WANTED = Joke(setup="abc", age=42)


@pytest.mark.parametrize("n", [1, 3])
async def test_structured_predict_in_four_ways(make, server, n):
    llm = make(("small", n))
    assert llm.structured_predict(Joke, PROMPT, n=42) == WANTED
    assert await llm.astructured_predict(Joke, PROMPT, n=42) == WANTED
    streamed = list(llm.stream_structured_predict(Joke, PROMPT, n=42))
    assert (streamed[-1].setup, streamed[-1].age) == ("abc", 42)
    streamed = [o async for o in await llm.astream_structured_predict(Joke, PROMPT, n=42)]
    assert (streamed[-1].setup, streamed[-1].age) == ("abc", 42)
    if n == 1:
        assert len(streamed) > 2
    assert {body["tool_choice"] if isinstance(body["tool_choice"], str) else "named" for body in server.sent()} == {
        "required"
    }


@pytest.mark.parametrize("n", [1, 3])
async def test_as_structured_llm(make, user, n):
    llm = make(("small", n)).as_structured_llm(Joke)
    messages = user("say 'abc' 42")
    assert llm.chat(messages).raw == WANTED
    assert (await llm.achat(messages)).raw == WANTED
    assert Joke.model_validate_json(llm.complete("say 'abc' 42").text) == WANTED
    assert Joke.model_validate_json((await llm.acomplete("say 'abc' 42")).text) == WANTED
    assert list(llm.stream_chat(messages))[-1].raw.age == 42
    assert [r async for r in await llm.astream_chat(messages)][-1].raw.age == 42


def test_a_structured_query_engine(make):
    index = VectorStoreIndex.from_documents([Document(text="Mars 42.")], embed_model=MockEmbedding(embed_dim=8))
    engine = index.as_query_engine(llm=make(("small", 2)).as_structured_llm(Joke))
    assert engine.query("say 'abc'").response.age == 42
    engine = index.as_query_engine(llm=make(("small", 2)), output_cls=Joke, response_mode="tree_summarize")
    assert engine.query("say 'abc'").response.age == 42


def test_an_answer_that_breaks_the_class_loses_against_one_that_does_not(make, server):
    call = {"tool": "Quip", "args": {"setup": "abc", "age": 42}}
    server.script("small-mini", [{"tool": "Quip", "args": {"setup": "xyz", "age": 42}}, "words", call])
    llm = make(("small", 3), reward_model=lambda q, texts: [1.0] * len(texts), bills_input="once")
    assert llm.structured_predict(Quip, PROMPT, n=42) == Quip(setup="abc", age=42)


def test_members_without_tools_are_asked_in_words(make, like, server):
    server.script("small-mini", ['{"setup": "abc", "age": 42}'])
    llm = make(models={"small": like("small-mini", is_function_calling_model=False)})
    assert llm.structured_predict(Joke, PROMPT, n=42) == WANTED
    assert "tools" not in server.sent()[0]
    server.script("small-mini", ['{"setup": "abc", "age": 42}'])
    assert make(pydantic_program_mode=PydanticProgramMode.LLM).structured_predict(Joke, PROMPT, n=42) == WANTED


def test_the_callers_arguments_are_not_changed_and_reach_the_members(make, server):
    arguments = {"temperature": 0.7, "tool_required": True, "model": "large"}
    before = dict(arguments)
    make().structured_predict(Joke, PROMPT, arguments, n=42)
    assert arguments == before
    assert server.sent()[0]["temperature"] == 0.7
    assert server.sent()[0]["model"] == "large-max"


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("how", ["sync", "async", "async stream"])
async def test_a_large_object_is_read_off_the_loop_in_async_calls(make, monkeypatch, n, how):
    readers = []
    monkeypatch.setattr("bestroute.selection.checks.IN_PLACE", 0)
    read = Structure.sample
    monkeypatch.setattr(Structure, "sample", lambda *of: readers.append(threading.current_thread().name) or read(*of))
    llm = make(("small", n))
    if how == "sync":
        assert llm.structured_predict(Joke, PROMPT, n=42) == WANTED
    elif how == "async":
        assert await llm.astructured_predict(Joke, PROMPT, n=42) == WANTED
    else:
        assert [o async for o in await llm.astream_structured_predict(Joke, PROMPT, n=42)][-1].age == 42
    assert len(readers) == n
    assert {name == "bestroute-judge" for name in readers} == {how != "sync"}


class Written(BaseModel):
    """An object whose text is written in a way of its own."""

    setup: str
    age: int

    @field_serializer("setup")
    def _refuse(self, setup):
        raise ValueError("it is not to be written")


@pytest.mark.parametrize(("cls", "setup"), [(Joke, "half \ud83d"), (Written, "abc")])
@pytest.mark.parametrize("n", [1, 2])
def test_an_object_that_cannot_be_written_as_json_is_the_answer_all_the_same(make, server, cls, setup, n):
    server.script("small-mini", [{"tool": cls.__name__, "args": {"setup": setup, "age": 42}}] * n)
    router = make(("small", n))
    assert router.structured_predict(cls, PromptTemplate("say {n}"), n=42).age == 42
    assert router.ledger.cost_usd > 0
    assert [row["status"] for row in router.ledger.rows()] == ["ok"] * n
