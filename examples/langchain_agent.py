"""An agent with two tools: best of three for every step, broken tool calls never win."""

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.tools import tool

from bestroute import MajorityVote, Price
from langchain_bestroute import BestRouteChat


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def solve(model: BaseChatModel, question: str) -> list[BaseMessage]:
    """Let an agent answer a question; return all its messages."""
    agent = create_agent(model, tools=[add, multiply], system_prompt="Use the tools for every sum and product.")
    messages: list[BaseMessage] = agent.invoke({"messages": [("user", question)]})["messages"]
    return messages


if __name__ == "__main__":
    # before: model = ChatOpenAI(model="gpt-4o")
    model = BestRouteChat(
        models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"},
        prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
        router=lambda query: ("small", 3),
        reward_model=MajorityVote(),
    )
    for message in solve(model, "Add 2 and 3, then multiply the sum by 7."):
        message.pretty_print()
    print(f"{model.ledger.cost_usd:.6f} USD")
