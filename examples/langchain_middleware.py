"""An agent with eight tools whose every model call is routed by BestRouteMiddleware.

The agent stays as it was; the middleware puts the pool in the place of its model. The graph's state says what the
thread has cost. Runs against any OpenAI-compatible endpoint: set OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import math
from collections.abc import Callable

from langchain.agents import create_agent
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from bestroute import MajorityVote, Price
from langchain_bestroute import BestRouteChat, BestRouteMiddleware

ARITHMETIC: dict[str, Callable[[int, int], float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "raise_to_power": lambda a, b: a**b,
    "remainder": lambda a, b: a % b,
    "greatest_common_divisor": math.gcd,
    "least_common_multiple": math.lcm,
}


def tool_of(name: str) -> StructuredTool:
    """Return a tool for two integers."""

    def work(a: int, b: int) -> float:
        return ARITHMETIC[name](a, b)

    return StructuredTool.from_function(work, name=name, description=f"{name.replace('_', ' ')}, of two integers")


if __name__ == "__main__":
    pool = BestRouteChat(
        models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"},
        prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
        router=lambda query: ("small", 3) if len(query.text) < 100 else ("large", 1),
        reward_model=MajorityVote(),
    )
    agent = create_agent(
        "openai:gpt-4o",
        tools=list(map(tool_of, ARITHMETIC)),
        middleware=[BestRouteMiddleware(pool)],  # the one line
        checkpointer=InMemorySaver(),
    )
    thread = {"configurable": {"thread_id": "1"}}
    for question in ("Multiply 12 by 7.", "What is the remainder of 84 by 5?"):
        state = agent.invoke({"messages": [("user", question)]}, thread)  # type: ignore[arg-type]
        print(state["messages"][-1].text)
    calls = state["bestroute"]
    print(f"{calls['cost_usd']:.6f} USD for {calls['calls']} calls, {calls['samples']} samples: {calls['by_model']}")
