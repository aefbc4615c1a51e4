"""What adapters of frameworks share: an engine from fields, members of any kind, options of a call."""

from types import SimpleNamespace

import pytest

from bestroute import Budget, ConfigError, GeneratorBase, Ledger, Price, Settings, ToolsInPrompt
from bestroute.adapters.call_options import STICKY, take_options
from bestroute.adapters.description import described, provider_name
from bestroute.adapters.engine_builder import build_engine
from bestroute.adapters.engine_fields import ENGINE_FIELDS, EngineFields, change_field
from bestroute.adapters.framework import Framework
from bestroute.adapters.known_prices import complete_prices
from bestroute.adapters.plain_member import PlainMember
from bestroute.testing import FakeGenerator


class Model:
    def __init__(self, name):
        self.name = name


class Theirs(Framework):
    model_word, accepted = "thing", "a thing, or its name"

    def is_model(self, member):
        return isinstance(member, Model)

    def as_object(self, name, member):
        return Model(member) if isinstance(member, str) else member

    def generator(self, name, model, *, native_n):
        generator = FakeGenerator([model.name])
        generator.native_n = native_n
        return generator

    def plain_messages(self, name, messages):
        return [{"role": "user", "content": f"{name}: {message}"} for message in messages]


PRICES = {"small": Price(1, 2), "large": Price(10, 20)}


def build(**fields):
    fields = {"models": {"small": Model("s"), "large": Model("l")}, "prices": PRICES, **fields}
    noted = {}
    return build_engine(EngineFields(**fields), Theirs(), settled=(), note=noted.__setitem__), noted


def test_an_engine_is_built_from_the_fields_and_what_was_left_to_defaults_is_noted():
    built, noted = build(budget=2.0)
    assert built.engine.run("hi").text == "l", "the dearest is the reference"
    assert (noted["reference"], noted["ledger"], noted["budget"]) == (
        "large",
        built.engine.ledger,
        built.engine.budget,
    )


def test_what_the_caller_gave_is_not_noted_again():
    ledger, budget = Ledger(), Budget(3.0)
    built, noted = build(ledger=ledger, budget=budget, reference="small")
    assert built.engine.ledger is ledger
    assert built.engine.budget is budget
    assert noted.keys() <= {"prices"}


def test_a_name_becomes_a_model_and_a_plain_generator_is_a_member_too():
    built, _ = build(models={"small": "named", "large": FakeGenerator(["plain"])})
    assert built.members["small"].name == "named"
    assert isinstance(built.engine.generators["large"], PlainMember)
    assert built.engine.run("hi", model="small").text == "named"
    assert built.engine.run("hi", model="large").text == "plain"


def test_a_model_whose_tools_stand_in_its_prompt_is_a_member_of_its_own():
    members = {"small": ToolsInPrompt("named"), "large": Model("l")}
    built, _ = build(models=members)
    assert built.members["small"].member.name == "named"
    assert built.engine.generators["small"].tools_mode == "prompt"
    assert built.engine.run("hi", model="small").text == "named"


def test_what_is_no_member_is_refused_in_the_words_of_the_framework():
    with pytest.raises(ConfigError, match=r"'small' must be a thing, or its name or a bestroute.Generator, got int"):
        build(models={"small": 5, "large": Model("l")}, prices={})
    with pytest.raises(ConfigError, match="needs at least one thing, got none"):
        build(models={})


def test_a_pool_that_bills_the_prompt_once_asks_for_choices_of_one_call():
    built, _ = build(bills_input={"small": "once"})
    assert [built.engine.generators[name].native_n for name in ("small", "large")] == [True, False]


def test_routers_over_the_same_members_share_what_is_known_of_them():
    models, ledger, settings = {"small": Model("s"), "large": Model("l")}, Ledger(), Settings()
    one, other, third = (
        build(models=models, ledger=ledger, settings=settings, **more)[0]
        for more in ({}, {"reference": "small"}, {"bills_input": "once"})
    )
    assert one.engine.breakers is other.engine.breakers
    assert one.engine.generators["small"] is other.engine.generators["small"]
    assert one.engine.generators["small"] is not third.engine.generators["small"], "it is asked in another way"


def test_the_callers_price_wins_and_only_models_are_looked_up():
    class Listed(Theirs):
        def listing(self, model):
            raise AssertionError("nobody needs it")

    members = {"small": Model("s"), "large": FakeGenerator(["x"])}
    assert complete_prices({"small": Price(1, 2)}, members, Listed()) == {"small": Price(1, 2)}


class Holder:
    """As far as ``change_field`` looks at a pydantic model."""

    def __init__(self, **fields):
        self.__dict__.update(fields)
        self.__pydantic_fields_set__ = set(fields)
        self.__pydantic_private__ = {"_engine": object()}


@pytest.mark.parametrize("name", ["max_n", "timeout"])
def test_a_change_that_does_not_fit_leaves_every_field_as_it_was(name):
    holder = Holder(max_n=5, prices=PRICES, timeout=3)

    def build():
        holder.prices = {}
        raise ConfigError("it does not fit")

    with pytest.raises(ConfigError, match="does not fit"):
        change_field(holder, name, lambda: setattr(holder, name, 0), build, others=["timeout"])
    assert (holder.max_n, holder.prices, holder.timeout) == (5, PRICES, 3)


def test_a_field_that_is_not_the_engines_is_set_and_nothing_is_built():
    holder = Holder(stop=None)
    change_field(holder, "stop", lambda: setattr(holder, "stop", ["x"]), lambda: pytest.fail("nothing is to be built"))
    assert holder.stop == ["x"]


def test_an_order_wins_over_the_turn_and_a_turn_of_another_pool_is_none():
    names = ["small", "large"]
    assert take_options({}, owner="small", models=names) == {"model": "small", "reason": STICKY}
    assert take_options({"model": "large"}, owner="small", models=names) == {"model": "large"}
    assert take_options({"n": 2}, owner="other", models=names) == {"n": 2}


def test_fields_are_read_by_their_names():
    given = SimpleNamespace(**{name: name for name in ENGINE_FIELDS})
    assert EngineFields.of(given).reward_model == "reward_model"


def test_what_is_told_of_a_pool_holds_no_object():
    told = described({"small": Model("s"), "more": [len, Budget(2.0)]}, lambda part: getattr(part, "name", None))
    assert told == {"small": "s", "more": ["builtins.len", 2.0]}


class Bare(GeneratorBase):
    pass


class Called(GeneratorBase):
    model = "gpt-4o-mini"


@pytest.mark.parametrize(("member", "name"), [(Bare(), "small"), (Called(), "gpt-4o-mini"), (object(), "small")])
def test_a_member_without_a_providers_name_is_called_as_the_pool_does(member, name):
    assert provider_name(member, "small") == name
