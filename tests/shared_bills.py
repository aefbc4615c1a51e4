"""What the tests of both adapters look for in a ledger, beside what the server was asked and billed.

A router is a chat model of LangChain's or an LLM of LlamaIndex'; ``ask(router)`` asks it one question.
"""

import asyncio
import threading
import traceback
from contextlib import suppress

import pytest

from bestroute import Settings

FAILS_TWICE = Settings(attempts=1, breaker_failures=2, breaker_rest_s=60)
TEXTS = ("half an emoji \ud83d here", "a \x00 in it", "\udcff\udc80", "\ufffe\u202e\x1b[31m")
QUERY = "Please summarise: the patient of room twelve is called Ottilie Brandvold and so on."


def a_breaker_is_open_for_both(origin, other, ask, server):
    """``small`` fails, with settings ``FAILS_TWICE``."""
    for _ in range(2):
        ask(other)
    assert origin.engine.breakers.is_open("small")
    before = len(server.requests)
    ask(origin)
    assert [body["model"] for body in server.sent()[before:]] == ["large-max"]
    assert len(origin.ledger.rows()) == len(server.bills)
    assert origin.engine.budget.spent_usd == pytest.approx(origin.ledger.cost_usd)


def two_at_a_time_are_asked(origin, other, ask, server):
    """A limit of two calls at once holds over both together; each request is answered when there are two."""
    together = threading.Barrier(2, timeout=60)
    server.answers = lambda model, messages: f"answer {together.wait()}"
    threads = [threading.Thread(target=ask, args=(router,)) for router in (origin, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(server.requests), server.max_inflight) == (8, 2)


async def one_connection_is_opened(routers, ask, server):
    """The first router opens it, and the others ask through it."""
    for count, router in enumerate(routers, start=1):
        await ask(router)
        assert (len(server.requests), server.accepted) == (count, 1)


def requests_are_the_servers(router, server, requests):
    """The ledger counts as many requests as the server saw."""
    assert len(server.requests) == router.ledger.totals()["all"]["requests"] == requests
    assert len({row["attempt_id"] for row in router.ledger.rows()}) == requests


def one_of_three_failed(router, server):
    """Of three single requests one failed, and the others' bills are the server's."""
    rows = router.ledger.rows()
    assert sorted(row["status"] for row in rows) == ["failed", "ok", "ok"]
    assert sum(row["input_tokens"] + row["output_tokens"] for row in rows) == sum(server.usage.values())
    assert router.ledger.totals()["all"]["requests"] == 3


def both_draws_are_billed(router, server):
    """Two draws of one request, whose prompt is billed once."""
    rows = router.ledger.rows()
    assert len(rows) == len(server.bills) == 2
    assert sum(row["input_tokens"] for row in rows) == server.usage["input"]
    router.ledger.close()


def quotes_the_query(model, messages):
    """Answer with an error that says what was asked: the server's ``answers``."""
    raise RuntimeError(f"cannot parse {messages[-1]['content']!r}")


def nothing_is_quoted(error, router, caplog):
    """Neither the error, nor the ledger, nor a log of ours says what was asked."""
    rows = router.ledger.rows()
    shown = "".join(traceback.format_exception(error)) + str(rows)
    shown += "".join(record.getMessage() for record in caplog.records if "bestroute" in record.name)
    assert "Ottilie" not in shown
    assert rows
    router.ledger.close()


def every_request_has_a_row(router, server):
    """Whatever was cancelled, and nothing counts as answered that the server did not answer."""
    rows = router.ledger.rows()
    assert len(rows) >= len(server.requests)
    assert sum(row["status"] == "ok" for row in rows) <= sum(bill.status == "ok" for bill in server.bills)


class Steps:
    """What a member that makes single requests notes of them; the third of them has no end."""

    def __init__(self):
        self.begun = self.ended = 0

    async def begin(self):
        self.begun += 1
        if self.begun == 4:  # the first was that for several choices
            await asyncio.Event().wait()

    def end(self):
        self.ended += 1


async def what_came_before_a_cancellation_is_billed(router, call, steps, server):
    """Two of three single requests are answered when the call is cancelled."""
    task = asyncio.create_task(call)
    while steps.ended < 2 or steps.begun < 4:
        await asyncio.sleep(0.001)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    rows = router.ledger.rows()
    assert sorted(row["status"] for row in rows) == ["cancelled", "ok", "ok"]
    assert [row["requests"] for row in rows] == [1, 1, 1]
    known = [row for row in rows if not row["estimated"]]
    assert sum(row["input_tokens"] + row["output_tokens"] for row in known) == sum(server.usage.values())


def a_broken_stream_is_billed_by_its_usage(router, server):
    """The usage was there before the connection broke."""
    (row,) = router.ledger.rows()
    assert (row["input_tokens"], row["output_tokens"]) == (server.usage["input"], server.usage["output"])
    assert (row["estimated"], row["status"]) == (False, "failed")
