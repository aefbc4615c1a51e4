"""Public names that changed are taken by their old name too, with a warning that says the new one."""

import copy
import inspect
import pickle
import warnings
from dataclasses import asdict, fields, replace

import pytest

from bestroute import BestRoute, ConfigError, QualityPolicy, Settings
from bestroute.engine.call_context import Options
from bestroute.engine.decision import Decision
from bestroute.testing import FakeGenerator

RENAMED = [
    (Settings, {}, "untold_output_tokens", "default_max_output_tokens", 100),
    (QualityPolicy, {"price_usd": 1.0}, "because", "reason", "as tuned"),
]


@pytest.fixture
def engine(pool):
    return BestRoute(pool, {model: FakeGenerator([model]) for model in pool.models})


@pytest.mark.parametrize(("cls", "others", "old", "new", "value"), RENAMED)
def test_a_field_is_taken_and_read_by_its_old_name(cls, others, old, new, value):
    with pytest.warns(DeprecationWarning, match=f"{old} is {new} now") as caught:
        made = cls(**others, **{old: value})
    assert caught[0].filename == __file__
    assert made == cls(**others, **{new: value})
    with pytest.warns(DeprecationWarning, match=f"{old} is {new} now"):
        assert getattr(made, old) == value


@pytest.mark.parametrize(("cls", "others", "old", "new", "value"), RENAMED)
def test_whoever_uses_the_new_name_is_not_warned(cls, others, old, new, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = replace(cls(**others), **{new: value})
        assert asdict(made)[new] == value
        assert old not in asdict(made)
        assert new in inspect.signature(cls).parameters


@pytest.mark.parametrize("call", ["run", "route"])
def test_a_wish_may_say_because(engine, call):
    with pytest.warns(DeprecationWarning, match="because= is reason= now") as caught:
        result = getattr(engine, call)("hi", model="small", because="a tool turn")
    assert caught[0].filename == __file__
    decision = result if call == "route" else result.decision
    assert (decision.model, decision.reason, decision.is_forced) == ("small", "a tool turn", False)


async def test_a_wish_may_say_because_in_async_calls(engine):
    for call in (engine.arun, engine.aroute):
        with pytest.warns(DeprecationWarning, match="because= is reason= now"):
            await call("hi", model="small", because="a tool turn")


def test_the_old_name_is_in_no_list_of_options(engine):
    with pytest.raises(ConfigError, match="reason") as caught:
        engine.run("hi", resaon="a typo")
    assert "because" not in str(caught.value)


def test_a_decision_keeps_the_names_of_its_fields():
    public = (
        "plan reason pool input_tokens prediction costs_usd column policy left_out is_forced reward_model warmth shadow"
    )
    assert set(public.split()) <= {field.name for field in fields(Decision)}


def test_the_options_of_a_call_can_be_copied_and_pickled():
    assert copy.deepcopy(Options()) == pickle.loads(pickle.dumps(Options())) == Options()
