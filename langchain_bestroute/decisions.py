"""``BestRouteDecision``: the pool's decision as a decision model of LangChain, so that its router can be ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.messages.utils import convert_to_messages
from pydantic import ConfigDict

from bestroute.engine.decision import Decision
from bestroute.errors import ConfigError, did_you_mean, named
from bestroute.types.arrays import FloatArray
from bestroute.types.plans import Candidate, Plan
from bestroute.types.query import Query
from langchain_bestroute.chat_models import BestRouteChat
from langchain_bestroute.messages import to_query

try:
    from langchain_core.decisions import BaseDecisionModel, Choice, ChoiceAnswer, ClassifierResponse
except ImportError as error:
    raise ImportError(
        "BestRouteDecision needs a langchain-core that has decision models (langchain_core.decisions): pip install "
        "--upgrade langchain-core; BestRouteChat.route decides with any version"
    ) from error


class BestRouteDecision(BaseDecisionModel):  # type: ignore[misc,unused-ignore]  # older versions have none
    """Answers which member of a pool is to take a query; no model is called for it.

    A question is a ``Choice`` whose labels are pool names, some or all: what the labels are said to be good for is not
    read, since the router has learnt it. The answer is one model for one draw. Where the router would take a plan of
    several steps, it is the best plan of one draw by the same policy, or, where no router predicts, the model that the
    plan ends with. ``confidence`` is the predicted chance that the model is as good as the reference; 1 where nothing
    is predicted, and for the reference.

    Example::

        pool = BestRouteChat(models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"}, router="router/")
        router = ModelRouterMiddleware(
            choices={
                "small": ModelChoice(model="openai:gpt-4o-mini", criteria="cheap"),
                "large": ModelChoice(model="openai:gpt-4o", criteria="dear"),
            },
            instructions="Which model?",
            classifier=BestRouteDecision(chat=pool),
        )
        agent = create_agent("openai:gpt-4o", middleware=[router])
    """

    chat: BestRouteChat
    """The pool, with its router and policy."""
    model: str = "bestroute"
    """What traces call the decider."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _provider(self) -> str:
        return "bestroute"

    def _classify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        query = query_of(state)
        routed = {name: self.chat.engine.route(query, allow=self._labels(name, q)) for name, q in questions.items()}
        return self._response(routed, questions)

    async def _aclassify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        query = query_of(state)
        routed = {
            name: await self.chat.engine.aroute(query, allow=self._labels(name, q)) for name, q in questions.items()
        }
        return self._response(routed, questions)

    def _response(self, routed: Mapping[str, Decision], questions: Mapping[str, Any]) -> ClassifierResponse:
        answers = {name: _answer(routed[name], list(question.criteria)) for name, question in questions.items()}
        return ClassifierResponse(model=self.model, answers=answers)

    def _labels(self, name: str, question: Any) -> list[str]:
        """Return the pool names a question offers.

        Raises:
            ConfigError: If it is another kind of question, or offers what is not in the pool.
        """
        if not isinstance(question, Choice):
            raise ConfigError(
                f"BestRouteDecision answers which model is to be taken, a Choice of pool names; question {name!r} is a "
                f"{type(question).__name__}"
            )
        models = self.chat.engine.pool.models
        for label in question.criteria:
            if label not in models:
                raise ConfigError(
                    f"question {name!r} offers {label!r}; the pool has {named(models)}.{did_you_mean(label, models)}"
                )
        return list(question.criteria)


def query_of(state: Any) -> Query:
    """Return the query in a decision model's state: a text, a message, messages, or a mapping that has ``messages``."""
    if isinstance(state, Mapping) and "messages" in state:
        state = state["messages"]
    if isinstance(state, BaseMessage):
        state = [state]
    if isinstance(state, Sequence) and not isinstance(state, str):
        return to_query(convert_to_messages(list(state)), {})
    return to_query([HumanMessage(state if isinstance(state, str) else str(state))], {})


def _answer(decision: Decision, labels: Sequence[str]) -> ChoiceAnswer:
    model, confidence = single_draw(decision)
    probabilities = {label: float(label == model) for label in labels}
    return ChoiceAnswer(type="choice", choice=model, probabilities=probabilities, confidence=confidence)


def single_draw(decision: Decision) -> tuple[str, float]:
    """Return the model that is to draw once in a decision's place, and the chance that it is as good as the reference.

    Example:
        >>> from bestroute import BestRoute, Pool, Price, Step, Verifier
        >>> pool = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large")
        >>> plan = Plan((Step("small", 2, accept=0.9), Step("large", 1)))
        >>> single_draw(Decision(plan, "a cascade", pool, 10))
        ('large', 1.0)
    """
    prediction, policy, pool = decision.prediction, decision.policy, decision.pool
    if prediction is None or decision.costs_usd is None:
        steps = decision.plan.steps
        return steps[-1].model, 1.0
    if len(decision.plan.steps) > 1 and policy is not None:
        single = [i for i, p in enumerate(prediction.plans) if p == Plan.of(Candidate(p.steps[0].model))]
        if pool.reference_plan in (prediction.plans[i] for i in single):
            costs: FloatArray = decision.costs_usd[single]
            column = single[int(policy.choose(prediction.take(single), costs[None, :], pool)[0])]
            return _with_confidence(decision, prediction.plans[column].steps[0].model)
    return _with_confidence(decision, decision.plan.steps[-1].model)


def _with_confidence(decision: Decision, model: str) -> tuple[str, float]:
    """Return a model and the chance that one draw of it matches the reference."""
    prediction, plan = decision.prediction, Plan.of(Candidate(model))
    if model == decision.pool.reference or prediction is None or plan not in prediction.plans:
        return model, 1.0
    return model, float(prediction.match_probability[0, prediction.plans.index(plan)])
