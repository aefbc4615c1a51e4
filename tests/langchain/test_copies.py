"""Requirements 7, 18 and 19: what a cache, a copy, a pickle and a configured field make of a router."""

import copy
import json
import pickle
from functools import partial
from pathlib import Path

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from bestroute import Candidate, ConfigError, Ledger, MajorityVote, Plan, Pool, Price, ThresholdPolicy
from bestroute.testing import FakeReward, FakeRouter
from langchain_bestroute import BestRouteChat
from langchain_bestroute.generator import ChatModelGenerator
from langchain_bestroute.members import fingerprint


def always_small(query):
    return "small", 1


def to(model, n):
    return lambda query: (model, n)


class Chosen:
    """A router with a state."""

    def __init__(self, model):
        self.model = model

    def __call__(self, query):
        return self.model, 1


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# Caches.


@pytest.mark.parametrize("bound", [False, True])
def test_equal_constructions_share_a_cached_answer(make, server, told, bound):
    set_llm_cache(InMemoryCache())
    answers = []
    for _ in range(2):
        chat = make(to("small", 2))
        answers.append((chat.bind_tools([add]) if bound else chat).invoke("hello there"))
    assert len(server.requests) == 2
    assert answers[0].text == answers[1].text
    assert told(answers[1]) == told(answers[0]), "a hit tells how the answer came about"


@pytest.mark.parametrize(
    "other",
    [
        {"router": to("small", 3)},
        {"router": to("large", 2)},
        {"router": Chosen("small")},
        {"reward_model": MajorityVote()},
        {"temperature": 0.5},
        {"max_tokens": 5},
        {"stop": ["x"]},
        {"reference": "small"},
        {"bills_input": "once"},
        {"prices": {"small": Price(3, 3), "large": Price(9, 9)}},
        {"max_n": 4},
    ],
)
def test_what_may_answer_differently_shares_no_key(make, other):
    chat = make(to("small", 2))
    different = make(**{"router": to("small", 2), **other})
    assert chat._get_llm_string() != different._get_llm_string()


def test_members_at_another_address_or_with_other_settings_share_no_key(make, openai_model):
    keys = set()
    for options in ({}, {"base_url": "http://127.0.0.1:1/v1"}, {"temperature": 0.1}, {"model": "small-2"}):
        member = ChatOpenAI(**{"model": "small-1", "base_url": "http://127.0.0.1:2/v1", "api_key": "k", **options})
        keys.add(make(models={"small": member})._get_llm_string())
    assert len(keys) == 4


def test_a_router_with_a_state_is_told_by_it(make):
    keys = [make(Chosen(model))._get_llm_string() for model in ("small", "large", "small")]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


def test_thresholds_of_one_trained_router_share_no_key(make):
    router = FakeRouter({("small", 1): 0.5, ("large", 1): 1.0}, [10, 10])
    keys = {make(router, threshold=t)._get_llm_string() for t in (0.4, 0.6)}
    keys.add(make(router, policy=ThresholdPolicy(0.4))._get_llm_string())
    assert len(keys) == 2


def test_shipped_votes_are_told_alike_by_what_they_are_made_with(make):
    votes = [MajorityVote, MajorityVote, partial(MajorityVote, normalise=str.lower)]
    keys = [make(to("small", 3), reward_model=vote())._get_llm_string() for vote in votes]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("function", [{"a": "small"}.get, "a".__add__], ids=["built in", "wrapper"])
def test_a_method_of_an_object_is_told_by_the_object(function):
    other = {"a": "large"}.get if function.__name__ == "get" else "b".__add__
    same = {"a": "small"}.get if function.__name__ == "get" else "a".__add__
    assert fingerprint(function) == fingerprint(same) != fingerprint(other)


@pytest.mark.parametrize(
    "code",
    [
        "[name for name in [{!r}] if q][0]",
        "(lambda: {!r})()",
        "[(lambda: {!r})() for _ in q]",
        "q in {{{!r}, 'b'}}",
    ],
)
def test_a_constant_inside_of_a_function_inside_tells_functions_apart(code):
    small, large, same = (eval(f"lambda q: {code.format(name)}") for name in ("small", "large", "small"))
    assert fingerprint(small) == fingerprint(same) != fingerprint(large)


def test_no_address_of_an_object_is_in_a_key(make):
    assert " at 0x" not in make(Chosen("small"), reward_model=FakeReward(len))._get_llm_string()


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        (to("small", 1), to("small", 1), True),
        (to("small", 1), to("small", 2), False),
        (lambda q: 1, lambda q: 1, True),
        (lambda q: 1, lambda q: 2, False),
        (lambda q: q.text, lambda q: q.system, False),
        (lambda q, n=1: n, lambda q, n=2: n, False),
        (Chosen("a").__call__, Chosen("b").__call__, False),
        (Chosen("a"), Chosen("a"), True),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({1, 2}, {2, 1}, True),
        (1, True, False),
        (iter([1]), iter([1]), False),  # what cannot be looked into is like nothing else
        (len, sum, False),
    ],
)
def test_a_fingerprint_tells_by_contents(one, other, are_same):
    assert (fingerprint(one) == fingerprint(other)) == are_same


def test_a_fingerprint_reads_arrays():
    np = pytest.importorskip("numpy")
    assert fingerprint(np.arange(3)) == fingerprint(np.arange(3)) != fingerprint(np.arange(1, 4))
    assert fingerprint(np.zeros(4)) != fingerprint(np.zeros((2, 2)))


def test_a_fingerprint_of_what_contains_itself_ends():
    loop = Chosen("a")
    loop.model = loop
    assert fingerprint(loop)


# Copies.


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda c: c.model_copy(), lambda c: c.model_copy(deep=True)])
def test_copies_answer_alike_and_share_the_ledger(make, how):
    chat = make(to("small", 3))
    copied = how(chat)
    assert "q=0.95" in copied.invoke("x").text
    assert copied.ledger is chat.ledger
    assert copied._get_llm_string() == chat._get_llm_string()


def test_a_changed_copy_is_another_router(make, told):
    chat = make(to("small", 1))
    assert told(chat.model_copy(update={"router": to("large", 1)}).invoke("x"))["model"] == "large"
    assert told(chat.invoke("x"))["model"] == "small"
    warm = chat.model_copy(update={"temperature": 0.7})
    assert warm._get_llm_string() != chat._get_llm_string()
    assert warm.engine is chat.engine


def test_a_part_may_be_set_and_one_that_does_not_fit_changes_nothing(make, told):
    chat = make(to("small", 1))
    key, ledger = chat._get_llm_string(), chat.ledger
    chat.router = to("large", 2)
    assert told(chat.invoke("x"))["model"] == "large"
    assert chat._get_llm_string() != key
    assert chat.ledger is ledger
    before = chat.engine
    with pytest.raises(ConfigError, match="max_n"):
        chat.max_n = 0
    assert (chat.max_n, chat.engine) == (5, before)
    assert told(chat.invoke("x"))["n"] == 2


def test_configured_calls_share_one_budget(make):
    chat = make(to("small", 1), budget=1.0)
    chosen = chat.configurable_fields(temperature=ConfigurableField(id="heat"))
    for heat in (0.1, 0.2):
        chosen.with_config(configurable={"heat": heat}).invoke("x")
    assert chat.engine.budget.spent_usd == pytest.approx(chat.ledger.cost_usd)
    assert chat.model_copy(update={"max_n": 3}).engine.budget is chat.engine.budget


def picklable(**options):
    return BestRouteChat(
        **{
            "models": {
                "small": FakeListChatModel(responses=["small"]),
                "large": FakeListChatModel(responses=["large"]),
            },
            "prices": {"small": Price(1, 2), "large": Price(10, 20)},
            **options,
        }
    )


def test_a_pickle_keeps_the_router_and_its_policy():
    router = FakeRouter({("small", 1): 0.5, ("large", 1): 1.0}, [10, 10])
    for threshold, model in ((0.4, "small"), (0.6, "large")):
        chat = pickle.loads(pickle.dumps(picklable(router=router, threshold=threshold)))
        assert chat.invoke("x").text == model
        assert str(chat.engine.policy) == f"threshold {threshold}"
        assert len(chat.ledger.rows()) == 1


def test_a_pickle_keeps_a_function_by_name_and_a_ledger_by_its_file(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'bills.db'}")
    chat = pickle.loads(pickle.dumps(picklable(router=always_small, ledger=ledger)))
    assert chat.invoke("x").text == "small"
    assert len(ledger.rows()) == 1


@pytest.mark.parametrize("kind", [str, Path])
def test_a_ledger_may_be_given_by_its_path_and_is_one_for_all_copies(tmp_path, kind):
    chat = picklable(router=always_small, ledger=kind(tmp_path / "bills.db"))
    copy = chat.model_copy()
    assert copy.ledger is chat.ledger
    assert chat.invoke("x").text == copy.invoke("x").text == "small"
    chat.ledger.flush()
    assert len(Ledger(tmp_path / "bills.db").rows()) == 2


@pytest.mark.parametrize("router", [lambda query: ("small", 1), None])
def test_what_cannot_be_pickled_is_refused_and_the_live_object_unharmed(make, router):
    chat = make(router) if router is None else picklable(router=router)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(chat)
    assert chat.invoke("x").text


# Configured fields and alternatives.


def test_fields_may_be_configured_call_by_call(make, server, told):
    chat = make(to("small", 1)).configurable_fields(
        temperature=ConfigurableField(id="warmth"), router=ConfigurableField(id="router")
    )
    chat.invoke("x", config={"configurable": {"warmth": 0.25}})
    assert server.sent()[-1]["temperature"] == 0.25
    chat.invoke("x")
    assert "temperature" not in server.sent()[-1]
    message = chat.invoke("x", config={"configurable": {"router": to("large", 1)}})
    assert told(message)["model"] == "large"


def test_configured_calls_share_one_ledger(make):
    chat = make(to("small", 1))
    configured = chat.configurable_fields(temperature=ConfigurableField(id="warmth"))
    configured.invoke("x", config={"configurable": {"warmth": 0.25}})
    chat.invoke("y")
    assert len(chat.ledger.rows()) == 2


def test_alternatives(make, openai_model):
    chat = make(to("small", 1)).configurable_alternatives(
        ConfigurableField(id="llm"), default_key="routed", plain=openai_model("large-max")
    )
    assert "small-mini" in chat.invoke("x").text
    assert "large-max" in chat.invoke("x", config={"configurable": {"llm": "plain"}}).text


# Secrets.


@pytest.mark.filterwarnings("ignore:The method `BaseChatModel.dict` was deprecated")
def test_no_secret_anywhere_a_caller_may_print(make):
    chat = make(to("small", 1), api_key="sk-secret-of-the-router")
    shown = [
        repr(chat),
        str(chat),
        dumps(chat),
        json.dumps(chat.asdict(), default=str),
        json.dumps(chat.dict(), default=str),
        chat._get_llm_string(),
        repr(chat.bind_tools([add])),
        json.dumps(chat._serialized, default=str),
        chat.model_dump_json(),
        str(chat.model_dump()),
    ]
    assert "sk-secret" not in "".join(shown)


def test_a_secret_header_shows_nowhere_but_tells_routers_apart(make, openai_model):
    def sending(key):
        headers = {"Authorization": f"Bearer {key}"}
        models = {"small": openai_model("a", default_headers=headers), "large": openai_model("b")}
        return make(to("small", 1), models=models, model_kwargs={"extra_headers": headers, "seed": 3})

    chat = sending("sk-hidden-1")
    shown = repr(chat) + dumps(chat) + str(chat.asdict()) + chat._get_llm_string() + chat.model_dump_json()
    assert "sk-hidden" not in shown + str(chat.model_dump())
    assert chat._identifying_params["seed"] == 3
    assert (
        chat._get_llm_string() == sending("sk-hidden-1")._get_llm_string() != sending("sk-hidden-2")._get_llm_string()
    )


def test_a_dump_is_plain_json_that_names_the_parts(make):
    told = json.loads(make(to("small", 1), budget=2.0, temperature=0.5).model_dump_json())
    assert told["models"] == {
        "small": {"class": "ChatOpenAI", "model": "small-mini"},
        "large": {"class": "ChatOpenAI", "model": "large-max"},
    }
    assert told["ledger"] == "bestroute.Ledger"
    assert (told["budget"], told["temperature"], told["prices"]["small"]["output"]) == (2.0, 0.5, 2.0)


def test_a_key_under_another_name_is_not_sent_to_the_members(make):
    with pytest.raises(ConfigError, match="each member has its own key"):
        make(anthropic_api_key="sk-secret")


def test_it_is_not_serialised_as_code_that_could_be_loaded(make):
    assert BestRouteChat.is_lc_serializable() is False
    assert json.loads(dumps(make()))["type"] == "not_implemented"


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_histories_survive_a_checkpoint(make):
    message = make(to("small", 2)).invoke("x")
    again = loads(dumps([HumanMessage("x"), message]), allowed_objects="messages")
    assert isinstance(again[1], AIMessage)
    assert again[1].response_metadata == message.response_metadata


def test_a_set_of_constructors_values_that_another_thread_forgets_at_once_is_no_error(openai_model):
    class Forgetful(dict):
        def __setitem__(self, key, value):
            super().__setitem__(key, value)
            self.clear()  # as a thread that finds too many would

    member = ChatModelGenerator(openai_model("small-mini"), name="small", native_n=False)
    member._translated = Forgetful()
    assert member._configured(member.member, {"temperature": 0.5}, {"temperature": 0.5}).temperature == 0.5


def test_what_a_part_has_worked_out_since_does_not_change_its_digest():
    plan = Plan.of(Candidate("worked_out", 2))
    pool = Pool(("small", "large"), {"small": Price(1, 2), "large": Price(3, 4)}, "large")
    before = fingerprint([plan, pool])
    assert plan.is_scored
    assert plan.candidate == Candidate("worked_out", 2)
    assert pool.reference_plan == Plan.of(Candidate("large"))
    assert fingerprint([plan, pool]) == before
