"""A LlamaIndex agent with tools with BestRouteLLM in the place of OpenAI.

Each step draws three samples; calls that are broken are out, then agreement decides. A tool's result goes back to the
model that called it. Runs against any OpenAI-compatible endpoint: set OPENAI_API_BASE and OPENAI_API_KEY.
"""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI

from bestroute import MajorityVote, Price
from llamaindex_bestroute import BestRouteLLM

models = {"small": OpenAI(model="gpt-4o-mini"), "large": OpenAI(model="gpt-4o")}
prices = {"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)}  # USD per million tokens in, out

llm = BestRouteLLM(models=models, prices=prices, router=lambda query: ("small", 3), reward_model=MajorityVote())
# before: llm = OpenAI(model="gpt-4o")


def multiply(a: int, b: int) -> int:
    """Multiply two integers."""
    return a * b


async def main() -> None:
    """Ask the agent."""
    agent = FunctionAgent(tools=[multiply], llm=llm)
    print(await agent.run("Multiply 12 by 7."))


asyncio.run(main())

print(f"cost: {llm.ledger.cost_usd:.2g} USD for {llm.ledger.totals(by='model')}")
