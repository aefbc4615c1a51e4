"""LangChain's providers: what a member does alone, it does in the pool."""

import pytest

pytest.importorskip("langchain_core")

from bestroute import Price
from bestroute.types.settings import Settings
from langchain_bestroute import BestRouteChat

from . import langchain_calls as calls
from .langchain_calls import Outcome
from .providers import LANGCHAIN
from .scenes import ANSWER, BUSY, CALL, CUT, REFUSED, VALUE
from .stub import Stub

HERE = [provider for provider in LANGCHAIN if provider.is_installed]
DOLLARS = ("input_cost", "output_cost", "total_cost")
"""What a pool's usage tells beside the member's own."""
WAYS = {"invoke": calls.invoke, "ainvoke": calls.ainvoke, "stream": calls.stream, "astream": calls.astream}

pytestmark = pytest.mark.filterwarnings("ignore")


def with_feature(feature):
    return pytest.mark.parametrize(
        "provider", [p for p in HERE if feature in p.features], ids=lambda provider: provider.name.replace(" ", "-")
    )


@pytest.fixture(scope="module")
def stub():
    with Stub() as stub:
        yield stub


@pytest.fixture(scope="module")
def other():
    """Where the pool's second member would answer; nobody is to ask it."""
    with Stub() as stub:
        yield stub


def once(provider, root, **more):
    """A member that sends every request once, where its class can be told so."""
    retries = {"max_retries": 0} if "max_retries" in provider.cls().model_fields else {}
    return provider.build(root, **retries, **more)


def pool_of(provider, stub, other, **more):
    members = {"member": provider.build(stub.root)}
    if other is not None:
        members["other"] = once(provider, other.root)
    return BestRouteChat(
        models=members,
        prices={name: Price(1, 2) for name in members},
        reference="member",
        router=lambda query: ("member", 1),
        settings=Settings(first_wait_s=0.01, **more),
    )


def both(provider, stub, other, call, *scenes):
    """The outcome of a call alone, and in a pool whose router asks this member."""
    if other is not None:
        other.play(ANSWER)
    stub.play(*scenes)
    alone = Outcome.of(lambda: call(once(provider, stub.root)), stub)
    stub.play(*scenes)
    pooled = Outcome.of(lambda: call(pool_of(provider, stub, other, attempts=1)), stub)
    return alone, pooled


@pytest.mark.parametrize("way", WAYS)
@with_feature("stream")
def test_a_reply_is_the_members_own_and_so_is_the_request(provider, way, stub, other):
    alone, pooled = both(provider, stub, other, WAYS[way], ANSWER)
    assert alone.error is None
    assert_same(alone, pooled)
    assert other.requests == []


def assert_same(alone, pooled):
    """All of it is the same. A class that leaves it to the server whether a stream tells its usage is told to ask."""
    for part in ("error", "content", "tool_calls", "additional", "value", "id"):
        assert getattr(pooled, part) == getattr(alone, part), part
    assert_same_requests(pooled.bodies, alone.bodies)
    if alone.metadata is not None:
        assert pooled.metadata == {**pooled.metadata, **alone.metadata}
        assert pooled.metadata.keys() - alone.metadata.keys() <= {"model_name", "token_usage"}
    if alone.usage is not None:
        assert {name: count for name, count in pooled.usage.items() if name not in DOLLARS} == alone.usage


def assert_same_requests(pooled, alone):
    assert len(pooled) == len(alone)
    for (path, sent), (own_path, own) in zip(pooled, alone, strict=True):
        asks = {} if "stream_options" in own else {"stream_options"}
        assert (path, {k: v for k, v in sent.items() if k not in asks}) == (own_path, own)


@pytest.mark.parametrize("call", [calls.tool_call, calls.streamed_tool_call], ids=lambda call: call.__name__)
@with_feature("tools")
def test_a_tool_call_is_the_members_own(provider, call, stub, other):
    alone, pooled = both(provider, stub, other, call, CALL)
    assert alone.tool_calls[0]["name"] == "multiply"
    assert_same(alone, pooled)


@with_feature("tools")
def test_a_tool_round_sends_the_same_conversation(provider, stub, other):
    alone, pooled = both(provider, stub, other, calls.tool_round, CALL, ANSWER)
    assert alone.error is None
    assert_same(alone, pooled)


@pytest.mark.parametrize("call", [calls.structured, calls.by_tool], ids=lambda call: call.__name__)
@with_feature("structured")
def test_structured_output_is_asked_for_in_the_members_way(provider, call, stub, other):
    alone, pooled = both(provider, stub, other, call, VALUE)
    assert alone.value == calls.Product(product=84, unit="pieces")
    assert_same(alone, pooled)


@pytest.mark.parametrize("scene", [REFUSED, BUSY], ids=["400", "429"])
@pytest.mark.parametrize("way", WAYS)
@with_feature("stream")
def test_a_refusal_is_the_providers_own_error_and_is_asked_for_once(provider, way, scene, stub):
    alone, pooled = both(provider, stub, None, WAYS[way], scene)
    assert alone.error is not None
    assert pooled.error == alone.error
    assert_same_requests(pooled.bodies, alone.bodies[:1])


@pytest.mark.parametrize("way", WAYS)
@with_feature("stream")
def test_a_member_that_is_busy_is_asked_again_and_answers(provider, way, stub, other):
    other.play(ANSWER)
    stub.play(BUSY, ANSWER)
    message = WAYS[way](pool_of(provider, stub, other))
    assert message.text == ANSWER.text
    assert (len(stub.requests), len(other.requests)) == (2, 0)


@pytest.mark.parametrize("way", ["stream", "astream"])
@with_feature("cut")
def test_a_stream_that_was_cut_off_is_no_answer(provider, way, stub):
    _, pooled = both(provider, stub, None, WAYS[way], CUT)
    assert pooled.error is not None
