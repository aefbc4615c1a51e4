import asyncio
import threading

import pytest

from bestroute import Cancel, Query, Sample
from bestroute.adapters.plain_member import PlainMember, is_generator
from bestroute.testing import FakeGenerator

QUERY = Query("hi", messages=["hi"])
HOW = {"params": {}, "cancel": Cancel()}


class Whole:
    """A generator that can neither wait nor stream."""

    native_n = False
    model = "whole-1"

    def __init__(self):
        self.seen = []

    def generate(self, query, n, *, params, cancel):
        self.seen.append(query.messages)
        return [Sample("whole")] * n


def member(generator):
    return PlainMember("small", generator, lambda messages: [{"role": "user", "content": m} for m in messages])


async def test_it_hands_on_plain_messages_in_every_way():
    generator = Whole()
    plain = member(generator)
    assert [s.text for s in plain.generate(QUERY, 2, **HOW)] == ["whole", "whole"]
    assert [s.text for s in await plain.agenerate(QUERY, 1, **HOW)] == ["whole"]
    assert [p.text for p in plain.stream(QUERY, **HOW)] == ["whole"]
    assert [p.text async for p in plain.astream(QUERY, **HOW)] == ["whole"]
    assert generator.seen == [[{"role": "user", "content": "hi"}]] * 4
    assert plain.model_name == "whole-1"


async def test_a_generator_that_streams_streams():
    plain = member(FakeGenerator(["a b"]))
    assert [p.text for p in plain.stream(QUERY, **HOW)] == ["a ", "b ", "a b"]
    assert [p.text async for p in plain.astream(QUERY, **HOW)] == ["a ", "b ", "a b"]
    assert plain.model_name == "small"


def test_waiting_does_not_block_the_loop():
    is_asked, went_on = threading.Event(), threading.Event()

    class Slow(Whole):
        def generate(self, query, n, *, params, cancel):
            is_asked.set()
            assert went_on.wait(60), "the loop stood still"
            return super().generate(query, n, params=params, cancel=cancel)

    async def run():
        task = asyncio.create_task(member(Slow()).agenerate(QUERY, 1, **HOW))
        while not is_asked.is_set():
            await asyncio.sleep(0)
        went_on.set()
        return await task

    assert asyncio.run(run())[0].text == "whole"


def test_it_answers_in_text_alone():
    assert member(Whole()).lacks(QUERY) is None
    lacks = member(Whole()).lacks(Query("hi", tools=[{}]))
    assert lacks == "it is a plain generator, which answers in text alone, and the query needs tools"


def test_what_the_engine_asks_of_a_generator_is_handed_on():
    class Retrying(Whole):
        max_output_tokens = 7

        def without_retries(self):
            return FakeGenerator(["once"])

    assert member(Retrying()).max_output_tokens == 7
    assert member(Retrying()).without_retries().generate(QUERY, 1, **HOW)[0].text == "once"
    assert member(Whole()).max_output_tokens is None
    plain = member(Whole())
    assert plain.without_retries() is plain


@pytest.mark.parametrize(("thing", "expected"), [(Whole(), True), (FakeGenerator([]), True), ("x", False), (1, False)])
def test_what_a_generator_is(thing, expected):
    assert is_generator(thing) is expected
