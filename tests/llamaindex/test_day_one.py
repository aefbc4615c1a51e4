"""The default of the adapter: what the engine plans without router and reward model."""

from bestroute import Ledger, Price
from bestroute.testing import FakeGenerator
from bestroute.types.usage import Usage
from llamaindex_bestroute import BestRouteLLM

NUMBER = "What is 12 * 7? Answer with only the number."


def llm(**options) -> BestRouteLLM:
    answers = {"small": "84", "mid": "**84**", "large": "84"}
    members = {name: FakeGenerator([text], usage=Usage(10, 2)) for name, text in answers.items()}
    prices = {"small": Price(1, 1), "mid": Price(2, 2), "large": Price(50, 50)}
    return BestRouteLLM(models=members, prices=prices, **options)


def test_two_members_that_agree_answer_a_number_and_it_costs_less_than_the_reference():
    about = llm().complete(NUMBER).additional_kwargs["bestroute"]
    assert [s["model"] for s in about["samples"]] == ["small", "mid"]
    assert about["cost_usd"] < about["reference_cost_usd"]
    assert about["reason"].startswith("no router: the query asks for a number")


def test_open_text_and_the_old_behaviour_ask_the_reference_alone():
    for reply in (llm().complete("Write a poem."), llm(default="reference").complete(NUMBER)):
        assert [s["model"] for s in reply.additional_kwargs["bestroute"]["samples"]] == ["large"]


def test_copies_share_what_is_learnt_and_a_change_of_the_default_holds():
    it = llm()
    other = it.model_copy(update={"max_n": 3})
    assert other._engine._decider.day_one is it._engine._decider.day_one
    it.default = "reference"
    assert [s["model"] for s in it.complete(NUMBER).additional_kwargs["bestroute"]["samples"]] == ["large"]


def test_the_ledger_may_be_given_by_its_path_and_is_one_for_all_copies(tmp_path):
    model = llm(ledger=str(tmp_path / "bills.db"))
    copy = model.model_copy()
    assert copy.ledger is model.ledger
    for each in (model, copy):
        each.complete("Write a poem.")
    model.ledger.flush()
    assert len(Ledger(tmp_path / "bills.db").rows()) == 2
