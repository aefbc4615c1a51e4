"""Connections to members: one for each request under way, used again, found as fast however many there are."""

import asyncio

import pytest

from bestroute.server.connection_stack import ConnectionStack, stacked_client


class Transport:
    """A connection that answers when it is let."""

    made = 0

    def __init__(self, may_answer):
        Transport.made += 1
        self.may_answer, self.is_closed = may_answer, False

    async def handle_async_request(self, request):
        await self.may_answer.wait()
        if request == "broken":
            raise ConnectionError
        return f"reply to {request}"

    async def aclose(self):
        self.is_closed = True


@pytest.fixture
def stack():
    may_answer = asyncio.Event()
    made = []

    def make():
        made.append(Transport(may_answer))
        return made[-1]

    stack = ConnectionStack(make)
    stack.may_answer, stack.made = may_answer, made
    return stack


async def test_requests_under_way_have_a_connection_each_and_later_ones_use_them_again(stack):
    tasks = [asyncio.ensure_future(stack.ask(i)) for i in range(3)]
    await asyncio.sleep(0)
    stack.may_answer.set()
    replies = [await task for task in tasks]
    assert [reply for reply, _ in replies] == ["reply to 0", "reply to 1", "reply to 2"]
    assert len(stack.made) == 3
    for _, done in replies:
        await done()
        await done()  # once is enough
    _, done = await stack.ask(3)
    await done()
    assert len(stack.made) == 3


async def test_a_connection_that_failed_or_was_given_up_is_free_again(stack):
    task = asyncio.ensure_future(stack.ask("cancelled"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stack.may_answer.set()
    with pytest.raises(ConnectionError):
        await stack.ask("broken")
    _, done = await stack.ask("fine")
    await done()
    assert len(stack.made) == 1


async def test_after_a_burst_only_some_stay_open_and_at_the_end_none(stack):
    stack.may_answer.set()
    replies = [await stack.ask(i) for i in range(200)]
    for _, done in replies:
        await done()
    assert sum(not transport.is_closed for transport in stack.made) == 128
    await stack.aclose()
    assert all(transport.is_closed for transport in stack.made)


async def test_a_connection_whose_reply_cannot_be_closed_in_peace_is_free_again(monkeypatch):
    openai = pytest.importorskip("openai")
    httpx = pytest.importorskip(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.split(".")[0])
    made = []

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self):
            yield b"some"

        async def aclose(self):
            raise asyncio.CancelledError

    class Transport(httpx.AsyncBaseTransport):
        def __init__(self, **options):
            made.append(self)

        async def handle_async_request(self, request):
            return httpx.Response(200, stream=Body())

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Transport)
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    client = stacked_client(openai)
    made.clear()
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            await client.get("http://member/")
    assert len(made) == 1
    await client.aclose()


def test_many_requests_after_each_other_open_one_connection(serve, own_server, pool_of):
    served = serve(pool=pool_of(own_server.base_url))
    for _ in range(5):
        assert served.chat().status_code == 200
    assert own_server.accepted == 1


def test_a_proxy_of_the_environment_is_asked(monkeypatch):
    openai = pytest.importorskip("openai")
    from bestroute.server.connection_stack import stacked_client

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert stacked_client(openai) is None
