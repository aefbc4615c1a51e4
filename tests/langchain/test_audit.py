"""Audits through LangChain: beside the answer, never in its trace."""

import asyncio

from langchain_core.callbacks import BaseCallbackHandler

QUESTION = "What is 12 * 7? Answer with only the number."


class Starts(BaseCallbackHandler):
    def __init__(self):
        self.started = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.started.append("model")

    def on_chain_start(self, serialized, inputs, **kwargs):
        self.started.append("chain")


def test_the_reference_is_asked_beside_and_no_callback_hears_of_it(make, told):
    chat = make(audit=1.0, judge=lambda query, texts: [0.5, 1.0], trace_samples=True)
    handler = Starts()
    message = chat.invoke(QUESTION, {"callbacks": [handler]}, tags={"task": "sums"})
    asyncio.run(chat.ainvoke(QUESTION))
    chat.engine.close()
    assert handler.started == ["model", "chain"]
    first, second = chat.ledger.outcomes()
    assert (first.call_id, first.drop, first.tags) == (told(message)["call_id"], 0.5, {"task": "sums"})
    assert second.status == "compared"
    rows = chat.ledger.rows()
    assert sorted((row["kind"], row["model"]) for row in rows) == [("audit", "large")] * 2 + [("draw", "small")] * 2
    assert chat.ledger.cost_usd == sum(row["cost_usd"] for row in rows if row["kind"] == "draw")


def test_the_share_is_set_while_it_runs_and_the_budget_outlives_a_change_of_parts(make):
    chat = make(audit_budget=5.0)
    engine = chat.engine
    chat.audit = 1.0
    assert (chat.engine is engine, engine.audit) == (True, 1.0)
    budget = chat.audit_budget
    chat.router = lambda query: ("small", 1)
    assert (chat.engine.audit, chat.engine.audit_budget) == (1.0, budget)


def test_feedback_finds_the_call_of_a_message(make, told):
    chat = make()
    chat.feedback(told(chat.invoke("hi"))["call_id"], True)
    asyncio.run(chat.afeedback(told(chat.invoke("hi"))["call_id"], 0.25))
    assert [note.score for note in chat.ledger.feedbacks()] == [1.0, 0.25]
