"""How long it takes to read the signals of a sample: of a short and a long answer, beside reading its reply as JSON.

The reply is a chat completion, as a dict (LangChain's members) and as the client's object (the core's), of a server
that lists every token that it bills, and of one that leaves out the end: there the texts of the tokens are read, too.
Times are the fastest of many runs: what the work takes where nothing else wants the processor.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

from bestroute.types.token_logprobs import signals_of
from bestroute.types.usage import Usage


def microseconds(call: Callable[[], object], *, repeats: int = 60, calls: int = 100) -> float:
    """Return the time of a call in the fastest run."""
    return min(timeit.repeat(call, number=calls, repeat=repeats)) / calls * 1e6


def main() -> None:
    """Print the figures."""
    random = Random(0)
    for tokens in (4, 16, 200):
        entries = [
            {"token": f" w{i}", "logprob": -random.expovariate(3), "bytes": list(f" w{i}".encode()), "top_logprobs": []}
            for i in range(tokens)
        ]
        text = "".join(entry["token"] for entry in entries)
        as_dict: dict[str, Any] = {"logprobs": {"content": entries}}
        objects = SimpleNamespace(logprobs=SimpleNamespace(content=[SimpleNamespace(**entry) for entry in entries]))
        wire = json.dumps(as_dict)
        loads = microseconds(lambda wire=wire: json.loads(wire))
        for ending, usage in (("all listed", Usage(20, tokens)), ("end not listed", Usage(20, tokens + 1))):
            for name, reply in (("dict", as_dict), ("object", objects)):
                took = microseconds(partial(signals_of, reply, text=text, usage=usage))
                print(
                    f"{tokens} tokens, {ending}, {name}: {took:.1f} us, {took / loads:.3f} of json.loads of the reply"
                )
    took = microseconds(lambda: signals_of({}, text="84", usage=Usage(20, 2)))
    print(f"nothing asked for: {took:.1f} us")


if __name__ == "__main__":
    main()
