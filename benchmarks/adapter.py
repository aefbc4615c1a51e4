"""What the router adds to a call: one core, the route forced, n = 1.

Prints what a fake member's own ``invoke`` takes, what it takes through the router, what the decision alone does; and,
where ``langchain-openai`` is installed, the same for a ``ChatOpenAI`` on the loopback server. Each pair is timed in
turn, in windows of about the same length, by processor time; what is compared are the fastest hundredths, so that what
else runs on the machine hardly counts. Promised: at most 2.5 times the fake member's own, 1.1 times ``ChatOpenAI``'s.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage

from bestroute import Price
from bestroute.testing import LoopbackServer
from langchain_bestroute import BestRouteChat
from langchain_bestroute.messages import to_query

ROUNDS, WINDOW_S = 400, 0.003
MOST, MOST_OF_OPENAI = 2.5, 1.1
MESSAGES = [HumanMessage("a question of some words")]


def fastest_us(*calls: Callable[[], Any]) -> list[float]:
    """Return the time of each call in microseconds: the mean of a window, of the fastest hundredth of them."""
    counts = []
    for call in calls:
        for _ in range(20):
            call()
        counts.append(max(1, round(WINDOW_S / min(seconds(call, 3) for _ in range(5)))))
    times: list[list[float]] = [[] for _ in calls]
    gc.disable()
    for i in range(ROUNDS):
        for call, count, found in zip(calls, counts, times, strict=True):
            found.append(seconds(call, count))
        if i % 20 == 0:
            gc.collect()
    gc.enable()
    return [sorted(found)[ROUNDS // 100] * 1e6 for found in times]


def seconds(call: Callable[[], Any], count: int) -> float:
    """Return the processor time that this thread spends on a call."""
    started = time.thread_time()
    for _ in range(count):
        call()
    return (time.thread_time() - started) / count


def routed(member: BaseChatModel) -> BestRouteChat:
    """Return a pool with this member."""
    return BestRouteChat(
        models={"small": member, "large": FakeListChatModel(responses=["another"])},
        prices={"small": Price(1, 2), "large": Price(10, 20)},
    )


def main() -> int:
    """Measure and print; 1 if a promise is broken."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    member = FakeListChatModel(responses=["an answer of a few words"])
    chat, query = routed(member), to_query(MESSAGES, {})
    own, through, deciding = fastest_us(
        lambda: member.invoke(MESSAGES),
        lambda: chat.invoke(MESSAGES, model="small", n=1),
        lambda: chat.engine.route(query, model="small", n=1),
    )
    print(f"a fake member's own invoke {own:8.1f} us")
    print(f"through BestRouteChat      {through:8.1f} us   {through / own:.2f} times, {through - own:+.1f} us")
    print(f"the decision alone         {deciding:8.1f} us")
    is_kept = through <= MOST * own
    if importlib.util.find_spec("langchain_openai") is not None:
        is_kept &= of_openai()
    return int(not is_kept)


def of_openai() -> bool:
    """Print the same of a ``ChatOpenAI``; the server's own time is in another thread, and does not count."""
    from langchain_openai import ChatOpenAI

    with LoopbackServer() as server:
        member = ChatOpenAI(model="small", base_url=server.base_url, api_key="k", max_retries=0)
        chat = routed(member)
        own, through = fastest_us(lambda: member.invoke(MESSAGES), lambda: chat.invoke(MESSAGES, model="small", n=1))
    print(f"ChatOpenAI's own invoke    {own:8.1f} us of this thread, against a server on loopback")
    print(f"through BestRouteChat      {through:8.1f} us   {through / own:.2f} times, {through - own:+.1f} us")
    return through <= MOST_OF_OPENAI * own


if __name__ == "__main__":
    sys.exit(main())
