"""Structured extraction in LlamaIndex with BestRouteLLM in the place of OpenAI.

Samples that do not fit the class are out before any reward. Runs against any OpenAI-compatible endpoint: set
OPENAI_API_BASE and OPENAI_API_KEY.
"""

from llama_index.core import PromptTemplate
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel

from bestroute import MajorityVote, Price
from llamaindex_bestroute import BestRouteLLM

models = {"small": OpenAI(model="gpt-4o-mini"), "large": OpenAI(model="gpt-4o")}
prices = {"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)}  # USD per million tokens in, out

llm = BestRouteLLM(models=models, prices=prices, router=lambda query: ("small", 3), reward_model=MajorityVote())
# before: llm = OpenAI(model="gpt-4o")


class Person(BaseModel):
    """A person that a text speaks of."""

    name: str
    age: int


person = llm.structured_predict(Person, PromptTemplate("Who is it? {text}"), text="'Ann Lee' turned 34 in May.")
print(person)

print(f"cost: {llm.ledger.cost_usd:.2g} USD for {llm.ledger.totals(by='model')}")
