"""Audits and feedback through LlamaIndex."""

import asyncio


def test_the_reference_is_asked_beside(make, user):
    llm = make(audit=1.0, judge=lambda query, texts: [0.5, 1.0])
    about = llm.chat(user("hi")).message.additional_kwargs["bestroute"]
    asyncio.run(llm.acomplete("hi"))
    llm.engine.close()
    first, second = llm.ledger.outcomes()
    assert (first.call_id, first.drop, second.status) == (about["call_id"], 0.5, "compared")
    kinds = sorted((row["kind"], row["model"]) for row in llm.ledger.rows())
    assert kinds == [("audit", "large")] * 2 + [("draw", "small")] * 2
    llm.audit = 0.0
    assert llm.engine.audit == 0.0


def test_feedback_finds_the_call_of_a_response(make, user):
    llm = make()
    llm.feedback(llm.chat(user("hi")).message.additional_kwargs["bestroute"]["call_id"], True)
    asyncio.run(llm.afeedback(llm.complete("hi").additional_kwargs["bestroute"]["call_id"], 0.25))
    assert [note.score for note in llm.ledger.feedbacks()] == [1.0, 0.25]
