"""How long it takes to read the signals of a sample: of a short and a long answer, beside reading its reply as JSON.

The reply is a chat completion, as a dict (LangChain's members) and as the client's object (the core's).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from bestroute.types.token_logprobs import signals_of
from bestroute.types.usage import Usage


def microseconds(call: Callable[[], object], *, repeats: int = 5000) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1e6


def main() -> None:
    """Print the figures."""
    for tokens in (4, 16, 200):
        entries = [
            {"token": f" w{i}", "logprob": -0.1 - i / 1000, "bytes": list(f" w{i}".encode()), "top_logprobs": []}
            for i in range(tokens)
        ]
        text, usage = "".join(entry["token"] for entry in entries), Usage(20, tokens)
        as_dict: dict[str, Any] = {"logprobs": {"content": entries}}
        objects = SimpleNamespace(logprobs=SimpleNamespace(content=[SimpleNamespace(**entry) for entry in entries]))
        wire = json.dumps(as_dict)
        loads = microseconds(lambda wire=wire: json.loads(wire))
        for name, reply in (("dict", as_dict), ("object", objects)):
            took = microseconds(lambda reply=reply, text=text, usage=usage: signals_of(reply, text=text, usage=usage))
            print(f"{tokens} tokens, {name}: {took:.1f} us, {took / loads:.2f} of json.loads of the reply")
    took = microseconds(lambda: signals_of({}, text="84", usage=Usage(20, 2)))
    print(f"nothing asked for: {took:.1f} us")


if __name__ == "__main__":
    main()
