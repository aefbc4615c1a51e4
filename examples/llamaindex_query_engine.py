"""A LlamaIndex query engine with BestRouteLLM in the place of OpenAI.

Runs against any OpenAI-compatible endpoint: set OPENAI_API_BASE and OPENAI_API_KEY.
"""

from llama_index.core import Document, SummaryIndex
from llama_index.llms.openai import OpenAI

from bestroute import MajorityVote, Price, Query
from llamaindex_bestroute import BestRouteLLM

models = {"small": OpenAI(model="gpt-4o-mini"), "large": OpenAI(model="gpt-4o")}
prices = {"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)}  # USD per million tokens in, out


def route(query: Query) -> tuple[str, int]:
    """Stand in for the folder of a trained router: the question decides, what was retrieved comes apart from it."""
    return ("large", 1) if len(query.text) > 200 else ("small", 3)


llm = BestRouteLLM(models=models, prices=prices, router=route, reward_model=MajorityVote())
# before: llm = OpenAI(model="gpt-4o")

index = SummaryIndex.from_documents([Document(text="Mars is the red planet."), Document(text="Venus is bright.")])
response = index.as_query_engine(llm=llm).query("Which planet is red?")
print(response)

print(f"cost: {llm.ledger.cost_usd:.2g} USD for {llm.ledger.totals(by='model')}")
