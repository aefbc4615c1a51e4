"""The default of the adapter: what the engine plans without router and reward model."""

from bestroute import Price
from bestroute.testing import FakeGenerator
from bestroute.types.usage import Usage
from langchain_bestroute import BestRouteChat

NUMBER = "What is 12 * 7? Answer with only the number."


def chat(**options) -> BestRouteChat:
    answers = {"small": "84", "mid": "**84**", "large": "84"}
    members = {name: FakeGenerator([text], usage=Usage(10, 2)) for name, text in answers.items()}
    prices = {"small": Price(1, 1), "mid": Price(2, 2), "large": Price(50, 50)}
    return BestRouteChat(models=members, prices=prices, **options)


def test_two_members_that_agree_answer_a_number_and_it_costs_less_than_the_reference():
    about = chat().invoke(NUMBER).response_metadata["bestroute"]
    assert [s["model"] for s in about["samples"]] == ["small", "mid"]
    assert about["cost_usd"] < about["reference_cost_usd"]
    assert about["reason"].startswith("no router: the query asks for a number")


def test_open_text_and_the_old_behaviour_ask_the_reference_alone():
    for reply in (chat().invoke("Write a poem."), chat(default="reference").invoke(NUMBER)):
        assert [s["model"] for s in reply.response_metadata["bestroute"]["samples"]] == ["large"]


def test_copies_share_what_is_learnt_and_a_change_of_the_default_holds():
    it = chat()
    other = it.model_copy(update={"max_n": 3})
    assert other._engine._decider.day_one is it._engine._decider.day_one
    it.default = "reference"
    assert [s["model"] for s in it.invoke(NUMBER).response_metadata["bestroute"]["samples"]] == ["large"]
