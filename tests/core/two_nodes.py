"""A command on a Ray cluster of two nodes of this machine, one of which is killed midway."""

import logging
import sys
import threading
import time

from click.testing import CliRunner

from bestroute.cli import main as bestroute


def on_two_nodes(server, arguments, *, kill_after):
    """Run a command that has ``--engine ray``, and kill a node once the server has so many requests.

    Returns:
        What the command's runner returned, how many nodes had worked, and at which request one was killed; ``None``
        if none was.
    """
    import ray  # here, since doctest imports every file of the tests
    from ray.cluster_utils import Cluster

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
        while len(server.requests) < kill_after:
            time.sleep(0.02)
        killed_at.append(len(server.requests))
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    done = CliRunner().invoke(bestroute, [*arguments, "--cluster", cluster.address])
    sys.stdout.write(done.output)
    killer.join(1)
    ray.shutdown()
    cluster.shutdown()
    return done, len(used), killed_at[0] if killed_at else None
