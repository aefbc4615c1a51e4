"""Requirement 16 and what a pool is made of: profiles, capabilities, model strings, bound members, prices."""

from dataclasses import fields

import openai
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from bestroute import ConfigError, OpenAIGenerator, Price, PriceError
from bestroute.adapters.capabilities import intersection
from bestroute.testing import FakeRouter


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Person(BaseModel):
    """A person."""

    name: str


IMAGE = HumanMessage(
    [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
)


# Profiles.


def test_a_pool_can_do_what_all_of_its_members_can(make, openai_model):
    small = {"max_input_tokens": 1000, "max_output_tokens": 50, "tool_calling": True, "image_inputs": True}
    large = {"max_input_tokens": 500, "max_output_tokens": 90, "tool_calling": True, "image_inputs": False}
    models = {
        "small": openai_model("s", profile=small),
        "large": openai_model("l", profile={**large, "audio_inputs": 1}),
    }
    assert make(models=models).profile == {
        "max_input_tokens": 500,
        "max_output_tokens": 50,
        "tool_calling": True,
        "image_inputs": False,
    }


def test_real_profiles_are_intersected(make, openai_model):
    models = {"small": openai_model("gpt-4o-mini"), "large": openai_model("gpt-4o")}
    profile = make(models=models).profile
    assert profile["tool_calling"] is True
    assert profile["max_input_tokens"] == min(m.profile["max_input_tokens"] for m in models.values())


def test_a_member_without_a_profile_leaves_the_pool_without_one(make, openai_model):
    models = {"small": openai_model("gpt-4o-mini"), "large": openai_model("nobody-knows")}
    assert make(models=models).profile is None
    assert make().profile is None


def test_an_explicit_profile_wins(make):
    assert make(profile={"max_input_tokens": 7}).profile == {"max_input_tokens": 7}


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        ([], None),
        ([None], None),
        ([{"tool_calling": True}, {}], None),
        ([{"max_input_tokens": 5}], {"max_input_tokens": 5}),
        ([{"a": True, "name": "x"}, {"a": True, "name": "y"}], {"a": True}),
        ([{"a": True}, {"b": True}], {}),
        ([{"levels": ["low", "high"]}, {"levels": ["high"]}], {"levels": ["high"]}),
        ([{"a": None}, {"a": True}], {}),
    ],
)
def test_an_intersection_claims_nothing_that_not_all_tell(profiles, expected):
    assert intersection(profiles) == expected


# Capabilities: a plan is valid only if its members can do what the query needs.


@pytest.fixture
def trained(make, openai_model):
    """A trained router that would always take the small member, whose profile is given."""

    def build(profile=None, small=None):
        router = FakeRouter({("small", 1): 0.99, ("large", 1): 1.0}, [10, 10])
        models = {"small": small or openai_model("small-mini", profile=profile), "large": openai_model("large-max")}
        return make(router, models=models, threshold=0.5)

    return build


@pytest.mark.parametrize(
    ("flag", "ask"),
    [
        ("tool_calling", lambda chat: chat.bind_tools([add]).invoke("x")),
        ("tool_choice", lambda chat: chat.bind_tools([add], tool_choice="any").invoke("x")),
        ("structured_output", lambda chat: _raw(chat.with_structured_output(Person, include_raw=True))),
        (
            "tool_calling",
            lambda chat: _raw(chat.with_structured_output(Person, method="function_calling", include_raw=True)),
        ),
        ("image_inputs", lambda chat: chat.invoke([IMAGE])),
    ],
)
def test_a_member_that_cannot_is_left_out_and_the_reason_kept(trained, told, flag, ask):
    assert told(ask(trained({flag: True})))["model"] == "small"
    assert told(ask(trained({flag: False})))["model"] == "large"


def _raw(chain):
    return chain.invoke("json 'x'")["raw"]


def test_a_prompt_must_fit_the_members_context(trained, told):
    chat = trained({"max_input_tokens": 100})
    assert told(chat.invoke("short"))["model"] == "small"
    assert told(chat.invoke("long " * 500))["model"] == "large"


def test_a_class_that_cannot_bind_tools_is_never_sent_any(trained, told):
    chat = trained(small=FakeListChatModel(responses=["x"]))
    assert told(chat.invoke("x"))["model"] == "small"
    assert told(chat.bind_tools([add]).invoke("x"))["model"] == "large"
    decision = chat.engine.route(_query_with_tools())
    assert decision.left_out == {"small": "it cannot call tools"}


def _query_with_tools():
    from bestroute import Query

    return Query("x", tools=[{"type": "function", "function": {"name": "add", "parameters": {}}}])


def test_a_router_function_that_chooses_an_unable_member_is_told_so(make, openai_model):
    chat = make(("small", 1), models={"small": FakeListChatModel(responses=["x"])}, prices={"small": Price(1, 1)})
    with pytest.raises(ConfigError, match="the router chose 'small', but it cannot call tools"):
        chat.bind_tools([add]).invoke("x")


# Strings and bound members.


def test_model_strings_become_members(make, server, monkeypatch, told):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    chat = make(("small", 2), models={"small": "openai:small-mini", "large": "openai:large-max"})
    message = chat.invoke("x")
    assert message.response_metadata["model_name"] == "small-mini"
    assert told(message)["n"] == 2


def test_settings_for_strings_reach_them(make, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    there = "http://127.0.0.1:1/v1"
    chat = make(models={"small": "openai:small-mini"}, api_key="sk-1", timeout=7.0, base_url=there)
    member = chat.engine.generators["small"].member
    assert (member.request_timeout, member.openai_api_base) == (7.0, there)
    assert member.openai_api_key.get_secret_value() == "sk-1"


def test_a_bound_member_keeps_its_arguments(make, openai_model, server):
    models = {"small": openai_model("small-mini").bind(temperature=0.4, seed=3)}
    chat = make(("small", 1), models=models)
    chat.invoke("x")
    chat.invoke("x", temperature=0.9)
    assert [(b["temperature"], b["seed"]) for b in server.sent()] == [(0.4, 3), (0.9, 3)]
    with pytest.raises(ConfigError, match="'small' has tools bound; bind them to the BestRouteChat"):
        make(models={"small": openai_model("x").bind_tools([add])})


def test_a_plain_generator_streams_is_asked_once_and_never_given_tools(make, server, told):
    member = OpenAIGenerator("small-mini", base_url=server.base_url, api_key="k", max_retries=3)
    chat = make(("small", 1), models={"small": member}, prices={"small": Price(1, 1)}, max_retries=0)
    assert len([c for c in chat.stream("one two three") if c.text]) >= 5
    server.script("small-mini", [{"status": 503}])
    with pytest.raises(openai.InternalServerError):
        chat.invoke("x")
    assert len(server.requests) == 2
    with pytest.raises(ConfigError, match="it is a plain generator, .* and the query needs tools"):
        chat.bind_tools([add]).invoke("x")


# Prices.


def test_prices_of_providers_own_models_are_known_by_exact_name(make):
    pytest.importorskip("genai_prices")
    models = {"small": ChatOpenAI(model="gpt-4o-mini", api_key="k"), "large": ChatOpenAI(model="gpt-4o", api_key="k")}
    chat = make(models=models, prices={})
    assert chat.prices["small"] == Price(0.15, 0.6, cached_input=0.075)
    assert chat.reference == "large"
    own = make(models=models, prices={"small": Price(1, 1)})
    assert own.prices["small"] == Price(1, 1)


@pytest.mark.parametrize(
    "member",
    [
        ChatOpenAI(model="gpt-4o-mini-of-mine", api_key="k"),
        ChatOpenAI(model="gpt-4o-mini", api_key="k", base_url="http://127.0.0.1:1/v1"),
        FakeListChatModel(responses=["x"]),
    ],
)
def test_any_other_missing_price_is_an_error_that_names_the_member(make, member):
    with pytest.raises(PriceError, match="no price for 'small'"):
        make(models={"small": member}, prices={})


@pytest.mark.parametrize(
    "wrap", [lambda m: m.with_fallbacks([m]), lambda m: m.with_retry()], ids=["fallbacks", "retry"]
)
def test_a_member_is_a_chat_model_itself_and_what_wraps_it_goes_around_the_router(make, openai_model, wrap):
    with pytest.raises(ConfigError, match="'small' must be a chat model itself, got Runnable.* go around"):
        make(models={"small": wrap(openai_model("a")), "large": openai_model("b")})


def test_the_engines_fields_and_their_defaults_are_those_that_adapters_share():
    from bestroute.adapters.engine_fields import EngineFields
    from langchain_bestroute import BestRouteChat

    for shared in fields(EngineFields):
        own = BestRouteChat.model_fields[shared.name]
        if shared.name not in ("models", "prices"):
            assert own.default == shared.default, shared.name
