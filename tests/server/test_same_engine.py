"""The server is the engine: the same decision, answer and bill on recorded queries, to the last digit."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import httpx
import pytest

from bestroute import BestRoute, Ledger, MajorityVote, QualityPolicy, Query
from bestroute.demo.dataset import ROUTER, demo_pool, demo_records, operating_points
from bestroute.generators.openai import generators_from

QUERIES = 1000 if os.environ.get("BESTROUTE_FULL") == "1" else 24
PRICE = operating_points()[0.5]


@pytest.fixture
def recorded(server):
    """Members that answer recorded queries as they did, the next draw each time."""
    records = {record.query: record for record in demo_records()}
    drawn = Counter()

    def answers(model, messages):
        texts = records[messages[-1]["content"]].samples[model].text
        with_it = drawn[model, messages[-1]["content"]]
        drawn[model, messages[-1]["content"]] += 1
        return texts[with_it % len(texts)]

    server.answers = answers

    def again():
        drawn.clear()
        return list(islice(cycle(records), QUERIES))

    return again


@pytest.mark.parametrize("routed", [True, False], ids=["by a router", "by votes"])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_recorded_queries_get_the_same_decision_answer_and_bill(serve, server, recorded, streams, routed):
    pool = demo_pool().to_dict()
    for member in pool["models"].values():
        member["base_url"] = server.base_url
    fields = {"router": str(ROUTER), "policy": f"quality:{PRICE!r}"} if routed else {}
    served = serve(pool=pool, reward="majority", **fields)
    through = []
    with httpx.Client(timeout=60) as client:
        for text in recorded():
            body = {"model": "auto", "messages": [{"role": "user", "content": text}], "stream": streams}
            answer = client.post(f"{served.base_url}/chat/completions", json=body)
            if streams:
                chunks = [httpx.Response(200, text=line[6:]).json() for line in answer.text.splitlines() if "{" in line]
                text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
                through.append((chunks[-1]["bestroute"], text))
            else:
                through.append((answer.json()["bestroute"], answer.json()["choices"][0]["message"]["content"]))
    members = generators_from(served.service.engines.pool)
    router, policy = (str(ROUTER), QualityPolicy(PRICE)) if routed else (None, None)
    with BestRoute(served.service.engines.pool, members, router, MajorityVote(), policy, Ledger()) as engine:
        alone = [engine.run(Query(text)) for text in recorded()]
    plans = [found["plan"] for found, _ in through]
    assert plans == [result.decision.plan.to_json() for result in alone]
    if routed:
        assert len({str(plan) for plan in plans}) > 1, "the router does choose"
    else:
        assert max(len(result.samples) for result in alone) > 1
    assert [text for _, text in through] == [result.text for result in alone]
    assert [found["reason"] for found, _ in through] == [result.decision.reason for result in alone]
    assert [found["cost_usd"] for found, _ in through] == [result.cost_usd for result in alone]
    assert served.service.engines.ledger.cost_usd == pytest.approx(engine.ledger.cost_usd, rel=1e-12)
    references = [result.reference_cost_usd for result in alone]
    assert [found["reference_cost_usd"] for found, _ in through] == references


def test_names_of_policies_stand_for_those_policies(serve, server, recorded):
    pool = demo_pool().to_dict()
    for member in pool["models"].values():
        member["base_url"] = server.base_url
    served = serve(pool=pool, router=str(ROUTER), reward="majority", policies={"auto-half": f"quality:{PRICE!r}"})
    names = [model["id"] for model in served.get("/v1/models").json()["data"]]
    assert names == ["auto", "auto-cheap", "auto-half", *pool["models"]]
    texts = recorded()[:5]

    def reasons(name):
        with ThreadPoolExecutor(5) as threads:
            return {a.json()["bestroute"]["reason"] for a in threads.map(lambda t: served.chat(t, model=name), texts)}

    assert all("auto-cheap" in reason for reason in reasons("auto-cheap"))
    assert all(f"quality at {PRICE:g} USD" in reason for reason in reasons("auto-half"))
    answer = served.chat(texts[0], model="auto-max-drop-1")
    assert "bestroute tune" in answer.json()["error"]["message"]
