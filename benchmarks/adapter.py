"""What the router adds to a call: fake members, one core, the route forced, n = 1.

Prints the member's own ``invoke``, the router's, what it adds, and the decision's time apart. Promised: at most three
times the member's own, and at most 0.5 ms more.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage

from bestroute import Price
from langchain_bestroute import BestRouteChat
from langchain_bestroute.messages import to_query

CALLS, ROUNDS = 300, 15


def microseconds(call: Callable[[], Any]) -> float:
    """Return the time of one call: the median over rounds of a round's mean."""
    means = []
    for _ in range(ROUNDS):
        gc.collect()
        started = time.process_time()  # what else runs on the machine does not count
        for _ in range(CALLS):
            call()
        means.append((time.process_time() - started) / CALLS)
    return statistics.median(means) * 1e6


def main() -> int:
    """Measure and print; 1 if a promise is broken."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    member = FakeListChatModel(responses=["an answer of a few words"])
    chat = BestRouteChat(
        models={"small": member, "large": FakeListChatModel(responses=["another"])},
        prices={"small": Price(1, 2), "large": Price(10, 20)},
    )
    messages = [HumanMessage("a question of some words")]
    own = microseconds(lambda: member.invoke(messages))
    routed = microseconds(lambda: chat.invoke(messages, model="small", n=1))
    query = to_query(messages, {})
    deciding = microseconds(lambda: chat.engine.route(query, model="small", n=1))
    print(f"member's own invoke    {own:8.1f} us")
    print(f"through BestRouteChat  {routed:8.1f} us   {routed / own:.2f} times, {routed - own:+.1f} us")
    print(f"the decision alone     {deciding:8.1f} us")
    return int(routed > 3 * own or routed - own > 500)


if __name__ == "__main__":
    sys.exit(main())
