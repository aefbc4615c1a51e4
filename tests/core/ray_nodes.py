"""`bestroute route --engine ray` on a cluster of two nodes, one killed midway; run by ``test_route_rows.py``.

Prints what it found; exits 1 if a row was lost, moved, billed twice in the ledger, or asked for too often.
"""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bestroute import Ledger
from bestroute.demo.dataset import ROUTER, demo_pool
from bestroute.testing import LoopbackServer

ROWS, AT_ONCE = 240, 2


def main(url):
    from two_nodes import (
        on_two_nodes,  # a script has the files beside it on its path; doctest, which imports this, has not
    )

    server = LoopbackServer()
    folder, pool = Path(tempfile.mkdtemp()), demo_pool()
    log, out, pool_file = folder / "log.jsonl", folder / "out.jsonl", folder / "pool.yaml"
    log.write_text("".join(json.dumps({"id": f"q{i}", "query": f"What is {i} times 7?"}) + "\n" for i in range(ROWS)))
    members = [
        f"  {m}: {{input_price: 1, output_price: 2, api_model: slow-60-{m}, base_url: '{server.base_url}'}}\n"
        for m in pool.models
    ]
    pool_file.write_text(f"reference: {pool.reference}\nmax_n: {pool.max_n}\nmodels:\n{''.join(members)}")

    arguments = ["route", str(ROUTER), "--file", str(log), "--out", str(out), "--draw", "--reward", "majority"]
    arguments += ["--pool", str(pool_file), "--ledger", url, "--concurrency", str(AT_ONCE), "--engine", "ray"]
    _, nodes, killed_at = on_two_nodes(server, arguments, kill_after=ROWS // 3)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    ledger = Ledger(url)
    billed = ledger.rows()
    asked = Counter(body["messages"][-1]["content"] for body in server.sent())
    twice = sum(count - 1 for count in asked.values())
    calls = {line["call_id"] for line in lines}
    ledger.close()
    server.close()
    found = {
        "nodes": nodes,
        "rows": len(lines),
        "requests before the kill": killed_at,
        "requests": len(server.requests),
        "repeated": twice,
        "rows of the ledger": len(billed),
        "calls answered": len(calls),
    }
    sys.stdout.write(f"{found}\n")
    checks = {
        "a node was killed, and both had worked": killed_at is not None and nodes == 2,
        "every row is answered once, in its place": [line["id"] for line in lines] == [f"q{i}" for i in range(ROWS)],
        "every row has its answer": all(f"What is {i} times 7?" in str(x["answer"]) for i, x in enumerate(lines)),
        "no answer is billed twice": len(calls) == ROWS and len([r for r in billed if r["call_id"] in calls]) == ROWS,
        "only what was under way was asked again": twice <= AT_ONCE and all(count <= 2 for count in asked.values()),
        "the ledger has a row for each request that was answered": ROWS <= len(billed) <= ROWS + twice,
    }
    for name, holds in checks.items():
        sys.stdout.write(f"{'ok' if holds else 'NO'}  {name}\n")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
