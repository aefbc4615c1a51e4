"""LlamaIndex's providers: what a member does alone, it does in the pool."""

import pytest

pytest.importorskip("llama_index.core")

from bestroute import Price
from bestroute.types.settings import Settings
from llamaindex_bestroute import BestRouteLLM

from . import llamaindex_calls as calls
from .llamaindex_calls import Outcome
from .llamaindex_providers import LLAMAINDEX
from .scenes import ANSWER, BUSY, CALL, CUT, REFUSED, VALUE
from .stub import Stub

HERE = [provider for provider in LLAMAINDEX if provider.version]
WHOLE = ("chat", "achat", "complete", "acomplete")
STREAMS = ("stream_chat", "astream_chat", "stream_complete", "astream_complete")
WAYS = {name: getattr(calls, name) for name in (*WHOLE, *STREAMS)}

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


def once(provider, root):
    """A member that sends every request once, where its class can be told so."""
    can_be_told = "max_retries" in provider.cls().model_fields and "max_retries" not in provider.kwargs
    return provider.build(root, **({"max_retries": 0} if can_be_told else {}))


def pool_of(provider, stub, other, **more):
    return BestRouteLLM(
        models={"member": provider.build(stub.root), "other": once(provider, other.root)},
        prices={"member": Price(1, 2), "other": Price(10, 20)},
        router=lambda query: ("member", 1),
        settings=Settings(first_wait_s=0.01, **more),
    )


def both(provider, stub, other, call, *scenes):
    """The outcome of a call alone, and in a pool whose router asks this member."""
    other.play(ANSWER)
    stub.play(*scenes)
    alone = Outcome.of(call, once(provider, stub.root), stub)
    stub.play(*scenes)
    pooled = Outcome.of(call, pool_of(provider, stub, other, attempts=1), stub)
    assert other.requests == []
    return alone, pooled


def assert_same(alone, pooled):
    """All of it is the same; where the member tells no usage, the pool says what it estimated."""
    assert (pooled.error, alone.error) == (None, None)
    for part in ("content", "blocks", "tool_calls", "value", "bodies"):
        assert getattr(pooled, part) == getattr(alone, part), part
    if alone.raw is not None:
        assert alone.raw[0] <= pooled.raw[0]
        assert alone.raw[1] in (None, pooled.raw[1])
    if alone.usage is not None and alone.usage.output:
        assert pooled.usage == alone.usage


@pytest.mark.parametrize("way", WAYS)
@with_feature("stream")
def test_a_reply_is_the_members_own_and_so_is_the_request(provider, way, stub, other):
    alone, pooled = both(provider, stub, other, WAYS[way], ANSWER)
    assert alone.error is None
    assert_same(alone, pooled)


@pytest.mark.parametrize("way", WAYS)
@with_feature("usage")
def test_the_bill_is_what_the_provider_told(provider, way, stub, other):
    stub.play(ANSWER)
    llm = pool_of(provider, stub, other)
    WAYS[way](llm)
    (row,) = llm.ledger.rows()
    if way in STREAMS and "stream_usage" in provider.notes:
        assert row["estimated"]
    else:
        assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (*ANSWER.usage, False)


@pytest.mark.parametrize("call", [calls.tool_call, calls.streamed_tool_call], ids=lambda call: call.__name__)
@with_feature("tools")
def test_a_tool_call_is_the_members_own(provider, call, stub, other):
    alone, pooled = both(provider, stub, other, call, CALL)
    assert alone.tool_calls == [("multiply", {"a": 12, "b": 7})]
    assert_same(alone, pooled)


@with_feature("tools")
def test_a_tool_round_sends_the_same_conversation(provider, stub, other):
    alone, pooled = both(provider, stub, other, calls.tool_round, CALL, ANSWER)
    assert alone.error is None
    assert_same(alone, pooled)


@pytest.mark.parametrize("call", [calls.structured, calls.astructured], ids=lambda call: call.__name__)
@with_feature("structured")
def test_an_object_is_asked_for_in_the_members_way(provider, call, stub, other):
    alone, pooled = both(provider, stub, other, call, VALUE)
    assert alone.value == calls.Product(product=84, unit="pieces")
    assert_same(alone, pooled)


@with_feature("structured")
def test_a_streamed_object_comes_whole(provider, stub, other):
    stub.play(VALUE)
    assert calls.streamed_structured(pool_of(provider, stub, other)) == VALUE.value


@pytest.mark.parametrize("scene", [REFUSED, BUSY], ids=["400", "429"])
@pytest.mark.parametrize("way", WAYS)
@with_feature("stream")
def test_a_refusal_is_the_providers_own_error_and_is_asked_for_once(provider, way, scene, stub):
    stub.play(scene)
    alone = Outcome.of(WAYS[way], once(provider, stub.root), stub)
    llm = BestRouteLLM(
        models={"member": provider.build(stub.root)}, prices={"member": Price(1, 2)}, settings=Settings(attempts=1)
    )
    stub.play(scene)
    pooled = Outcome.of(WAYS[way], llm, stub)
    assert alone.error is not None
    assert pooled.error.__qualname__ == alone.error.__qualname__  # boto3 makes its classes anew for each client
    assert pooled.bodies == alone.bodies[:1]


@pytest.mark.parametrize("way", WAYS)
@with_feature("stream")
def test_a_member_that_is_busy_is_asked_again_and_answers(provider, way, stub, other):
    other.play(ANSWER)
    stub.play(BUSY, ANSWER)
    response = WAYS[way](pool_of(provider, stub, other))
    assert str(response).endswith(ANSWER.text)
    assert (len(stub.requests), len(other.requests)) == (2, 0)


@pytest.mark.parametrize("way", STREAMS)
@with_feature("cut")
def test_a_stream_that_was_cut_off_is_no_answer(provider, way, stub, other):
    other.play(ANSWER)
    stub.play(CUT)
    outcome = Outcome.of(WAYS[way], pool_of(provider, stub, other, attempts=1), stub)
    assert outcome.error is not None
