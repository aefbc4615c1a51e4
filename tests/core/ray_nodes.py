"""`bestroute route --engine ray` on a cluster of two nodes, one killed midway; run by ``test_route_rows.py``.

Prints what it found; exits 1 if a row was lost, moved, billed twice in the ledger, or asked for too often.
"""

import json
import logging
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from click.testing import CliRunner

from bestroute import Ledger
from bestroute.cli import main as bestroute
from bestroute.demo.dataset import ROUTER, demo_pool
from bestroute.testing import LoopbackServer

ROWS, AT_ONCE = 240, 2


def main(url):
    import ray  # here, since doctest imports every file of the tests
    from ray.cluster_utils import Cluster

    server = LoopbackServer()
    folder, pool = Path(tempfile.mkdtemp()), demo_pool()
    log, out, pool_file = folder / "log.jsonl", folder / "out.jsonl", folder / "pool.yaml"
    log.write_text("".join(json.dumps({"id": f"q{i}", "query": f"What is {i} times 7?"}) + "\n" for i in range(ROWS)))
    members = [
        f"  {m}: {{input_price: 1, output_price: 2, api_model: slow-60-{m}, base_url: '{server.base_url}'}}\n"
        for m in pool.models
    ]
    pool_file.write_text(f"reference: {pool.reference}\nmax_n: {pool.max_n}\nmodels:\n{''.join(members)}")

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)

    @ray.remote(num_cpus=1, max_retries=-1)
    def warm():
        time.sleep(0.2)
        return ray.get_runtime_context().get_node_id()

    used = set(ray.get([warm.remote() for _ in range(8)]))
    ray.shutdown()
    killed_at = []

    def kill():
        while len(server.requests) < ROWS // 3:
            time.sleep(0.02)
        killed_at.append(len(server.requests))
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    arguments = ["route", str(ROUTER), "--file", str(log), "--out", str(out), "--draw", "--reward", "majority"]
    arguments += ["--pool", str(pool_file), "--ledger", url, "--concurrency", str(AT_ONCE), "--engine", "ray"]
    arguments += ["--cluster", cluster.address]
    done = CliRunner().invoke(bestroute, arguments)
    sys.stdout.write(done.output)
    killer.join(1)
    ray.shutdown()
    cluster.shutdown()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    ledger = Ledger(url)
    billed = ledger.rows()
    asked = Counter(body["messages"][-1]["content"] for body in server.sent())
    twice = sum(count - 1 for count in asked.values())
    calls = {line["call_id"] for line in lines}
    ledger.close()
    server.close()
    found = {
        "nodes": len(used),
        "rows": len(lines),
        "requests before the kill": killed_at[0] if killed_at else None,
        "requests": len(server.requests),
        "repeated": twice,
        "rows of the ledger": len(billed),
        "calls answered": len(calls),
    }
    sys.stdout.write(f"{found}\n")
    checks = {
        "a node was killed, and both had worked": bool(killed_at) and len(used) == 2,
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
