"""A log of rows on a Ray cluster of two nodes, one of which is killed midway; run by ``test_route_rows.py``.

Prints what it found; exits 1 if a row was lost, billed twice in the ledger, or asked for too often.
"""

import logging
import sys
import threading
import time
from collections import Counter

from bestroute import BestRoute, Ledger, OpenAIGenerator, Pool, Price
from bestroute.engine.route_rows import RouteRows
from bestroute.testing import LoopbackServer

ROWS, AT_ONCE = 240, 4


def main(url):
    import ray  # here, since doctest imports every file of the tests
    from ray.cluster_utils import Cluster

    server = LoopbackServer()
    base_url = server.base_url

    def make_engine():
        pool = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large")
        members = {
            "small": OpenAIGenerator("slow-60-small", base_url=base_url, api_key="k"),
            "large": OpenAIGenerator("slow-60-large", base_url=base_url, api_key="k"),
        }
        return BestRoute(pool, members, router=lambda query: "small", ledger=Ledger(url))

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"id": i, "query": f"What is {i} times 7?"} for i in range(ROWS)]

    @ray.remote(num_cpus=1, max_retries=-1)
    def warm():
        return ray.get_runtime_context().get_node_id()

    used = set(ray.get([warm.remote() for _ in range(8)]))
    killed_at = []

    def kill():
        while len(server.requests) < ROWS // 3:
            time.sleep(0.02)
        killed_at.append(len(server.requests))
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()

    def route(batch):
        return RouteRows(make_engine, "june", url, concurrency=AT_ONCE)(batch)

    done = ray.data.from_items(rows, override_num_blocks=24).map_batches(route, batch_size=None).take_all()
    killer.join()
    ray.shutdown()
    cluster.shutdown()
    ledger = Ledger(url)
    billed = ledger.rows()
    asked = Counter(body["messages"][-1]["content"] for body in server.sent())
    twice = sum(count - 1 for count in asked.values())
    calls = {row["call_id"] for row in done}
    ledger.close()
    server.close()
    found = {
        "nodes": len(used),
        "rows": len(done),
        "requests before the kill": killed_at[0],
        "requests": len(server.requests),
        "repeated": twice,
        "rows of the ledger": len(billed),
        "calls answered": len(calls),
    }
    sys.stdout.write(f"{found}\n")
    checks = {
        "every row is answered once": sorted(row["id"] for row in done) == list(range(ROWS)),
        "every row has its answer": all(f"What is {row['id']} times 7?" in row["answer"] for row in done),
        "no answer is billed twice": len(calls) == ROWS and len([r for r in billed if r["call_id"] in calls]) == ROWS,
        "only what was under way was asked again": twice <= AT_ONCE and all(count <= 2 for count in asked.values()),
        "the ledger has a row for each request that was answered": ROWS <= len(billed) <= ROWS + twice,
    }
    for name, holds in checks.items():
        sys.stdout.write(f"{'ok' if holds else 'NO'}  {name}\n")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
