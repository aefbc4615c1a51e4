"""Connections that we open for an event loop are closed when it ends; those of the member stay as they are."""

import asyncio
import gc
import warnings

import pytest

from llamaindex_bestroute.generator import LLMGenerator


@pytest.mark.parametrize("way", ["achat", "astream_chat"])
def test_no_connection_is_left_open_when_a_loop_ends(make, user, way, no_garbage):
    async def ask(llm):
        answer = await getattr(llm, way)(user("hi"))
        return [piece async for piece in answer][-1] if way == "astream_chat" else answer

    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", ResourceWarning)
        warnings.filterwarnings("ignore", "<aiosqlite")  # LlamaIndex's memories of other tests
        llm = make()
        for _ in range(2):
            assert asyncio.run(ask(llm)).message.content
        del llm
        gc.collect()
    assert [str(warning.message) for warning in noted if warning.category is ResourceWarning] == []


def test_a_loop_that_ended_is_not_held(like):
    member = LLMGenerator("a", like("small-mini"), native_n=False)

    async def copied():
        return member.async_member

    assert asyncio.run(copied()) is not asyncio.run(copied())
    assert len(member._copies) == 1


async def test_connections_that_the_member_opened_itself_stay_open(like, make, user):
    member = like("small-mini")
    await member.achat(user("hi"))
    llm = make(models={"small": member, "large": like("large-max")})
    await llm.achat(user("hi"))
    del llm
    gc.collect()
    await asyncio.sleep(0.01)
    assert not member._get_aclient().is_closed()
    await member._get_aclient().close()
