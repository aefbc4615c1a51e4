"""Best-of-3 from a small model, chosen by majority vote, with the bill: the core without a framework.

Runs against any OpenAI-compatible endpoint: set OPENAI_BASE_URL and OPENAI_API_KEY.
"""

from bestroute import BestRoute, MajorityVote, OpenAIGenerator, Pool, Price

pool = Pool(
    models=["small", "large"],
    prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},  # USD per million tokens in, out
    reference="large",
)
engine = BestRoute(
    pool,
    {"small": OpenAIGenerator("gpt-4o-mini"), "large": OpenAIGenerator("gpt-4o")},
    router=lambda query: ("small", 3) if len(query.text) < 200 else ("large", 1),  # or the folder of a trained one
    reward_model=MajorityVote(),
)

print(engine.route("What is 12 * 7?").explain())  # calls no model

result = engine.run("What is 12 * 7? Answer with only the number.")
print(f"{result.model} answered {result.text!r} for {result.cost_usd:.2g} USD")
print(f"one answer of the reference would have cost {result.reference_cost_usd:.2g} USD")
print(f"billed so far: {engine.ledger.totals(by='model')}")
