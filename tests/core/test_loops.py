"""What belongs to an event loop is closed in it."""

import asyncio
import copy
import gc
import pickle
import warnings

import pytest

from bestroute import OpenAIGenerator, Query
from bestroute._utils.loops import PerLoop, at_loop_end
from bestroute.types.sample import Cancel

closed_in = []


async def close(thing):
    closed_in.append((thing, asyncio.get_running_loop()))


@pytest.fixture(autouse=True)
def _nothing_closed():
    closed_in.clear()


def test_what_waits_for_the_end_of_a_loop_is_closed_in_it():
    held = []

    async def run():
        held.append(at_loop_end(lambda: close("connection")))
        await asyncio.sleep(0)
        assert closed_in == []
        return asyncio.get_running_loop()

    loop = asyncio.run(run())
    assert closed_in == [("connection", loop)]


async def test_what_nobody_holds_any_more_is_closed_before_the_end():
    at_loop_end(lambda: close("connection"))
    gc.collect()
    while not closed_in:
        await asyncio.sleep(0)
    assert closed_in == [("connection", asyncio.get_running_loop())]


def test_each_loop_has_its_own_and_closes_it():
    per_loop, made = PerLoop(close), iter(range(9))

    async def run():
        first = per_loop.get(lambda: next(made))
        assert per_loop.get(lambda: next(made)) == first
        return first

    assert [asyncio.run(run()), asyncio.run(run())] == [0, 1]
    assert [thing for thing, _ in closed_in] == [0, 1]
    assert len({loop for _, loop in closed_in}) == 2


async def test_after_it_was_closed_a_new_one_is_made():
    per_loop = PerLoop(close)
    await per_loop.aclose()
    assert per_loop.get(lambda: "first") == "first"
    await per_loop.aclose()
    assert closed_in == [("first", asyncio.get_running_loop())]
    assert per_loop.get(lambda: "second") == "second"
    await per_loop.aclose()


async def test_a_copy_holds_nothing_yet():
    per_loop = PerLoop(close)
    per_loop.get(lambda: "first")
    for other in (copy.deepcopy(per_loop), pickle.loads(pickle.dumps(per_loop))):
        assert other.get(lambda: "second") == "second"
        await other.aclose()
    assert per_loop.get(lambda: "third") == "first"
    await per_loop.aclose()


@pytest.mark.parametrize("loops", [1, 3])
def test_a_generator_leaves_no_connection_open_when_its_loop_ends(server, loops, no_garbage):
    generator = OpenAIGenerator("small-mini", base_url=server.base_url, api_key="k")
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(loops):
            draw = generator.agenerate(Query("hi"), 1, params={}, cancel=Cancel())
            assert asyncio.run(draw)[0].text
        del generator, draw
        gc.collect()
    assert [str(warning.message) for warning in noted if warning.category is ResourceWarning] == []
