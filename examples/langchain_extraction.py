"""Structured extraction: replies that break the schema never win; the cheap model is kept where its draws agree."""

from langchain_core.language_models import BaseChatModel
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, Field

from bestroute import MajorityVote, Plan, Price, Step
from langchain_bestroute import BestRouteChat


class Person(BaseModel):
    """Somebody a text tells of."""

    name: str
    age: int = Field(description="in years")


def extract(model: BaseChatModel, text: str) -> Person:
    """Read a person out of a text."""
    prompt = ChatPromptTemplate.from_messages([("system", "Extract the person."), ("human", "{text}")])
    chain = prompt | model.with_structured_output(Person)
    return Person.model_validate(chain.invoke({"text": text}))


if __name__ == "__main__":
    # before: model = ChatOpenAI(model="gpt-4o")
    model = BestRouteChat(
        models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"},
        prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
        router=lambda query: Plan((Step("small", 3, accept=0.8), Step("large"))),
        reward_model=MajorityVote(),
    )
    print(extract(model, "'Ann' turned 7 last week."))
    print(f"{model.ledger.cost_usd:.6f} USD")
