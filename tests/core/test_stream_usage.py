"""A stream that breaks off after it has told its usage is billed by that usage."""

from contextlib import suppress

import pytest

from bestroute import BestRoute, GenerationError, Pool, Price, Query, Settings
from bestroute.generators.openai import OpenAIGenerator
from bestroute.types.sample import Cancel, Delta, Sample
from bestroute.types.usage import Usage

USAGE = Usage(input=70, output=40, cached_input=20)


class Breaking:
    """Streams these pieces, then breaks."""

    native_n = False

    def __init__(self, *pieces):
        self.pieces = pieces

    def generate(self, query, n, *, params, cancel):
        raise NotImplementedError

    def stream(self, query, *, params, cancel):
        yield from self.pieces
        raise ConnectionError("the line is cut")

    async def astream(self, query, *, params, cancel):
        for piece in self.pieces:
            yield piece
        raise ConnectionError("the line is cut")


def engine_of(generator, **settings):
    pool = Pool(["small"], {"small": Price(1.0, 2.0)}, "small")
    return BestRoute(pool, {"small": generator}, settings=Settings(attempts=1, **settings))


async def read(engine, how):
    """Read a stream to its end, however it ends."""
    with suppress(GenerationError):
        if how == "stream":
            return list(engine.stream("how many?"))
        return [piece async for piece in engine.astream("how many?")]


@pytest.mark.parametrize("how", ["stream", "astream"])
@pytest.mark.parametrize("broken_stream", ["raise", "keep"])
async def test_a_broken_stream_is_billed_as_it_told(how, broken_stream):
    engine = engine_of(Breaking(Delta("some words"), Delta("", usage=USAGE)), broken_stream=broken_stream)
    await read(engine, how)
    (row,) = engine.ledger.rows()
    assert (row["input_tokens"], row["output_tokens"], row["cached_input_tokens"]) == (70, 40, 20)
    assert not row["estimated"]


async def test_text_that_came_after_the_usage_is_estimated_the_prompt_is_not():
    engine = engine_of(Breaking(Delta("", usage=Usage(70, 1)), Delta("one two three four")))
    await read(engine, "stream")
    (row,) = engine.ledger.rows()
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (70, 5, True)


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_a_stream_that_its_caller_leaves_is_billed_as_it_told(how):
    engine = engine_of(Breaking(Delta("some words", usage=USAGE), Delta(" and more", usage=USAGE), Sample("x")))
    if how == "stream":
        pieces = engine.stream("how many?")
        next(pieces)
        pieces.close()
    else:
        pieces = engine.astream("how many?")
        await anext(pieces)
        await pieces.aclose()
    (row,) = engine.ledger.rows()
    assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("cancelled", 70, 40)


async def test_a_piece_that_tells_only_the_usage_is_not_shown():
    engine = engine_of(Breaking(Delta("some words"), Delta("", usage=USAGE)), broken_stream="keep")
    shown = [piece for piece in engine.stream("how many?") if isinstance(piece, Delta)]
    assert [piece.text for piece in shown] == ["some words"]


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_openai_generator_passes_the_usage_on_as_it_comes(server, how):
    generator = OpenAIGenerator("small-mini", base_url=server.base_url, api_key="k")
    pieces = getattr(generator, how)(Query("hi there"), params={}, cancel=Cancel())
    found = list(pieces) if how == "stream" else [piece async for piece in pieces]
    assert found[-2].usage == found[-1].usage == Usage(server.usage["input"], server.usage["output"])
    await generator.aclose()
