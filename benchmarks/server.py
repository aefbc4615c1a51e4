"""What the server adds to a call: the same requests to a member alone and through `bestroute serve`, many in flight.

    python benchmarks/server.py [--rounds 6] [--wait-ms 1000] [--workers 1] [--in-flight 64]
        [--litellm .venv-litellm/bin/litellm]

The member is a process that answers after a fixed time. Rounds alternate, so that what else the machine does meets
both.
What is added at the median and at the 95th percentile is told of the best and of the median round, and the processor's
time that a call takes of the server, which hardly depends on what else runs. With --litellm LiteLLM's proxy answers the
same requests in the same run, with the same member behind it and no database or callbacks, and ratios are told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "member",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "An answer of some words. " * 20},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200},
}
_BODY = {"messages": [{"role": "user", "content": "What is the capital of France? " * 10}]}


async def _serve(wait_s: float) -> None:
    """Be the member."""
    body = json.dumps(_REPLY).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(_length(request))
            await asyncio.sleep(wait_s)
            writer.write(head + body)
            await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _length(head: bytes) -> int:
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


async def _round(port: int, model: str, calls: int, connections: int) -> list[float]:
    """Return the seconds of each call, so many after each other on each of the connections."""
    body = json.dumps({"model": model, **_BODY}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    seconds: list[float] = []

    async def caller(place: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(place / connections)  # they do not all begin at the same moment
        for _ in range(calls):
            started = time.perf_counter()
            writer.write(head + body)
            reply = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(reply))
            seconds.append(time.perf_counter() - started)
            assert b" 200 " in reply.partition(b"\r\n")[0] + b" ", reply
        writer.close()

    await asyncio.gather(*map(caller, range(connections)))
    return seconds


def _at(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(share * (len(seconds) - 1))] * 1000


def _start(command: list[str], pattern: str, stream: str) -> tuple[subprocess.Popen[str], str]:
    """Start a process and return it with what its first matching line tells."""
    process = subprocess.Popen(command, text=True, **{stream: subprocess.PIPE})  # type: ignore[call-overload]
    for line in getattr(process, stream):
        if found := re.search(pattern, line):
            return process, found[1]
    raise SystemExit(f"{command} ended before it listened")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _own(folder: Path, member: int, workers: int) -> tuple[subprocess.Popen[str], int, str]:
    """Start our server; return it with its port and the model that is asked for."""
    pool = {"member": {"input_price": 1, "output_price": 1, "base_url": f"http://127.0.0.1:{member}/v1"}}
    config: dict[str, Any] = {"port": 0, "workers": workers, "pool": {"reference": "member", "models": pool}}
    if workers > 1:
        config["ledger"] = "bills.db"
    path = folder / "router.yaml"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "bestroute", "serve", "--config", str(path)]
    server, port = _start(command, r"http://127.0.0.1:(\d+)/v1 serves", "stderr")
    return server, int(port), "auto"


def _litellm(folder: Path, member: int, workers: int, executable: str) -> tuple[subprocess.Popen[str], int, str]:
    """Start LiteLLM's proxy, and wait until it answers."""
    path, port = folder / "litellm.yaml", _free_port()
    params = {"model": "openai/member", "api_base": f"http://127.0.0.1:{member}/v1", "api_key": "none"}
    path.write_text(json.dumps({"model_list": [{"model_name": "member", "litellm_params": params}]}))
    command = [executable, "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # its venv is its own
    environment |= {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # no keys, as ours has none here
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    proxy = subprocess.Popen([*command, "--num_workers", str(workers)], text=True, env=environment, **quiet)
    until = time.monotonic() + 180
    while time.monotonic() < until and proxy.poll() is None:
        try:
            asyncio.run(_round(port, "member", 1, 1))
        except (OSError, AssertionError, asyncio.IncompleteReadError):
            time.sleep(0.5)
        else:
            return proxy, port, "member"
    proxy.kill()
    raise SystemExit(f"{executable} did not answer")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--calls", type=int, default=4, help="of each of the connections in a round")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--wait-ms", type=float, default=1000.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--litellm", metavar="EXECUTABLE", help="LiteLLM's proxy beside it; of a venv of its own")
    parser.add_argument("--member", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member:
        asyncio.run(_serve(options.wait_ms / 1000))
        return
    command = [sys.executable, __file__, "--member", "--wait-ms", str(options.wait_ms)]
    member, port = _start(command, r"(\d+)", "stdout")
    servers = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            servers["bestroute serve"] = _own(Path(folder), int(port), options.workers)
            if options.litellm:
                servers["LiteLLM's proxy"] = _litellm(Path(folder), int(port), options.workers, options.litellm)
            _measure(int(port), servers, options.rounds, options.calls, options.in_flight)
        finally:
            for server, _, _ in servers.values():
                server.terminate()
                server.wait(60)
            member.terminate()


def _processor_s(pid: int) -> float:
    """Return the processor's time that a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(
    member: int, servers: dict[str, tuple[subprocess.Popen[str], int, str]], rounds: int, calls: int, in_flight: int
) -> None:
    added: dict[str, dict[float, list[float]]] = {name: {0.5: [], 0.95: []} for name in servers}
    used = dict.fromkeys(servers, 0.0)
    for _, port, model in servers.values():
        asyncio.run(_round(port, model, 1, in_flight))  # the first calls open connections
    for number in range(rounds):
        alone = asyncio.run(_round(member, "member", calls, in_flight))
        print(f"round {number + 1}: alone {_at(alone, 0.5):.1f} ms, p95 {_at(alone, 0.95):.1f}")
        for name, (process, port, model) in servers.items():
            before = _processor_s(process.pid)
            through = asyncio.run(_round(port, model, calls, in_flight))
            used[name] += (_processor_s(process.pid) - before) / (rounds * calls * in_flight)
            for share, milliseconds in added[name].items():
                milliseconds.append(_at(through, share) - _at(alone, share))
            print(f"  through {name} {_at(through, 0.5):.1f} ms, p95 {_at(through, 0.95):.1f}")
    print(f"load {os.getloadavg()[0]:.1f}")
    for name in servers:
        print(f"{name}: processor's time of a call {1000 * used[name]:.2f} ms (of one worker alone, if several)")
        for share, milliseconds in added[name].items():
            print(
                f"  added at p{100 * share:.0f}, {in_flight} in flight: "
                f"{statistics.median(milliseconds):.1f} ms in the median round, {min(milliseconds):.1f} ms in the best"
            )
    first, *others = servers
    for name in others:
        print(f"{name} takes {used[name] / used[first]:.1f} times the processor's time of {first}", end="")
        ours, theirs = (statistics.median(added[of][0.5]) for of in (first, name))
        print(f", and adds {theirs / ours:.1f} times as much at the median")


if __name__ == "__main__":
    main()
