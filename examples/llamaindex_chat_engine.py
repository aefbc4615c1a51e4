"""A LlamaIndex chat engine over documents with BestRouteLLM in the place of OpenAI, streaming.

Runs against any OpenAI-compatible endpoint: set OPENAI_API_BASE and OPENAI_API_KEY.
"""

from llama_index.core import Document, SummaryIndex
from llama_index.llms.openai import OpenAI

from bestroute import MajorityVote, Price, Query
from llamaindex_bestroute import BestRouteLLM

models = {"small": OpenAI(model="gpt-4o-mini"), "large": OpenAI(model="gpt-4o")}
prices = {"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)}  # USD per million tokens in, out


def route(query: Query) -> tuple[str, int]:
    """Stand in for the folder of a trained router: one sample streams, of several only the winner is shown."""
    return ("small", 1) if len(query.text) < 40 else ("small", 3)


llm = BestRouteLLM(models=models, prices=prices, router=route, reward_model=MajorityVote())
# before: llm = OpenAI(model="gpt-4o")

index = SummaryIndex.from_documents([Document(text="Mars is the red planet."), Document(text="Venus is bright.")])
chat = index.as_chat_engine("context", llm=llm)
for question in ("Which planet is red?", "And which of them is the bright one, would you say?"):
    for token in chat.stream_chat(question).response_gen:
        print(token, end="", flush=True)
    print()

print(f"cost: {llm.ledger.cost_usd:.2g} USD for {llm.ledger.totals(by='model')}")
