"""``BestRouteDecision``: the pool behind LangChain's own router middleware."""

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

import langchain_bestroute
from bestroute import Candidate, ConfigError, MajorityVote, Plan, Prediction, QualityPolicy, Step

decisions = pytest.importorskip("langchain_core.decisions", reason="langchain-core has decision models from 1.8 on")

BestRouteDecision = langchain_bestroute.BestRouteDecision
CHOICE = {"model": decisions.Choice(instructions="Which?", criteria={"small": "cheap", "large": None})}
QUERY = "hi"
SMALL, LARGE = Plan.of(Candidate("small")), Plan.of(Candidate("large"))
CASCADE = Plan((Step("small", 2, accept=0.9), Step("large")))


class Predicts:
    """A router that predicts three plans: small, large and a cascade of both, which is the best."""

    plans = (SMALL, LARGE, CASCADE)

    def predict(self, queries):
        rows = len(queries)
        return Prediction(
            plans=self.plans,
            match_probability=np.tile([0.7, 1.0, 0.99], (rows, 1)),
            expected_quality=np.tile([0.5, 0.9, 0.95], (rows, 1)),
            expected_draws=np.tile([[1.0, 0.0], [1.0, 0.0], [1.0, 0.2]], (rows, 1, 1)),
            output_tokens=np.tile([10.0, 10.0], (rows, 1)),
        )


def answer(pool, state=QUERY, questions=CHOICE):
    return BestRouteDecision(chat=pool).invoke({"state": state, "questions": questions}).choices["model"]


@pytest.mark.parametrize(
    "state",
    [
        "long one",
        HumanMessage("long one"),
        [HumanMessage("hi"), AIMessage("x"), HumanMessage("long one")],
        [{"role": "user", "content": "long one"}],
        {"messages": [HumanMessage("long one")], "turn": 3},
    ],
)
async def test_the_router_decides_on_the_last_human_text_of_any_state(make, server, state):
    pool = make(lambda query: "large" if query.text == "long one" else "small")
    assert answer(pool).choice == "small"
    chosen = answer(pool, state)
    assert (chosen.choice, chosen.probabilities, chosen.confidence) == ("large", {"small": 0.0, "large": 1.0}, 1.0)
    response = await BestRouteDecision(chat=pool).ainvoke({"state": state, "questions": CHOICE})
    assert response.choices["model"] == chosen
    assert server.sent() == []


def test_confidence_is_the_chance_to_match_the_reference(make):
    pool = make(Predicts(), reward_model=MajorityVote(), threshold=0.6)
    assert (answer(pool).choice, answer(pool).confidence) == ("small", 0.7)
    pool = make(Predicts(), reward_model=MajorityVote(), threshold=0.8)
    assert (answer(pool).choice, answer(pool).confidence) == ("large", 1.0)


@pytest.mark.parametrize(("price", "model"), [(0.00001, "small"), (10.0, "large")])
def test_where_the_router_takes_a_cascade_the_same_policy_takes_a_single_draw(make, price, model):
    pool = make(Predicts(), reward_model=MajorityVote(), policy=QualityPolicy(price_usd=price))
    if price == 10.0:
        assert pool.route(QUERY).plan == CASCADE
    assert answer(pool).choice == model


def test_a_cascade_that_nothing_predicts_is_answered_by_what_it_ends_with(make):
    assert answer(make(lambda query: CASCADE, reward_model=MajorityVote())).choice == "large"


def test_only_labels_that_are_offered_are_chosen(make):
    small = {"model": decisions.Choice(instructions="Which?", criteria={"small": None})}
    assert answer(make(("large", 1)), questions=small).choice == "small"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (
            decisions.Choice(instructions="?", criteria={"smal": None}),
            "offers 'smal'; the pool has .* Did you mean 'small'",
        ),
        (decisions.Noul(instructions="Is it hard?"), "a Choice of pool names; question 'model' is a Noul"),
    ],
)
def test_what_is_no_choice_of_members_is_refused(make, question, words):
    with pytest.raises(ConfigError, match=words):
        answer(make(), questions={"model": question})


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.filterwarnings("ignore:.*in beta.*")
async def test_the_frameworks_own_router_middleware_is_the_pools(make, openai_model, server, is_async):
    middleware = pytest.importorskip("langchain.agents.middleware.model_router")
    from langchain.agents import create_agent

    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    pool = make(lambda query: "small" if "2" in query.text else "large")
    members = {"small": openai_model("small-mini"), "large": openai_model("large-max")}
    router = middleware.ModelRouterMiddleware(
        choices={name: middleware.ModelChoice(model=member, criteria=None) for name, member in members.items()},
        instructions="Which model?",
        classifier=BestRouteDecision(chat=pool),
    )
    agent = create_agent(openai_model("unused"), tools=[add], middleware=[router])
    for text, model in (('CALL add({"a": 2, "b": 3})', "small-mini"), ("hello", "large-max")):
        before = len(server.sent())
        ask = {"messages": [("user", text)]}
        out = await agent.ainvoke(ask) if is_async else agent.invoke(ask)
        assert {body["model"] for body in server.sent()[before:]} == {model}
        assert out["model_route"].choice == model.partition("-")[0]
    assert any(
        isinstance(m, ToolMessage)
        for m in agent.invoke({"messages": [("user", 'CALL add({"a": 2, "b": 3})')]})["messages"]
    )
