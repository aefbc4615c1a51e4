"""`bestroute collect` and `label --engine ray` on a cluster of two nodes, one killed midway in each.

Run by ``test_cluster_draws.py``. Prints what it found; exits 1 if a sample or verdict was lost, billed twice or asked
for too often.
"""

import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bestroute import Ledger
from bestroute.billing.database.kept_answers import Answers
from bestroute.records.records import read_records
from bestroute.testing import LoopbackServer

PROMPTS, N, AT_ONCE = 60, 2, 2
PRICE = "input_price: 1, output_price: 2"


def judging(model, messages):
    shown = re.findall(r"<answer \d+>\n(.*)\n</answer", messages[-1]["content"])
    return json.dumps({"scores": [len(text) % 11 for text in shown]}) if shown else f"{time.monotonic_ns()} is it"


def whole(server):
    """Return the requests that came whole; of one that a killed worker was sending no body came."""
    return [body for body in server.sent() if body.get("messages")]


def main(url):
    from two_nodes import (
        on_two_nodes,  # a script has the files beside it on its path; doctest, which imports this, has not
    )

    server = LoopbackServer()
    server.answers = judging
    folder = Path(tempfile.mkdtemp())
    prompts, pool, records, labelled = (folder / name for name in ("p.jsonl", "pool.yaml", "r.jsonl", "l.jsonl"))
    ids = [f"q{i}" for i in range(PROMPTS)]
    prompts.write_text("".join(json.dumps({"id": i, "query": f"What is {i[1:]} times 7?"}) + "\n" for i in ids))
    members = [
        f"  {m}: {{{PRICE}, api_model: slow-60-{m}, base_url: '{server.base_url}'{role}}}\n"
        for m, role in (("small", ""), ("large", ""), ("judge", ", role: judge"))
    ]
    pool.write_text(f"reference: large\nmodels:\n{''.join(members)}")
    draws = PROMPTS * 2 * N
    on_cluster = ["--engine", "ray", "--ledger", url, "--concurrency", str(AT_ONCE)]

    options = ["--pool", str(pool), "--out"]
    arguments = ["collect", str(prompts), "--n", str(N), *options, str(records), *on_cluster]
    done, nodes, killed_at = on_two_nodes(server, arguments, kill_after=draws // 2)
    ledger, sent = Ledger(url), whole(server)
    asked = Counter((body["model"], body["messages"][-1]["content"]) for body in sent)
    rows, requests = ledger.rows(), len(sent)
    drawn = read_records(records)
    texts = [text for record in drawn for samples in record.samples.values() for text in samples.text]
    paid = sum(cost for record in drawn for samples in record.samples.values() for cost in samples.cost_usd)
    billed = {"rows": len(rows), "usd": sum(row["cost_usd"] for row in rows)}
    found = {
        "nodes": nodes,
        "samples": len(texts),
        "requests before the kill": killed_at,
        "requests": requests,
        "rows of the ledger": len(rows),
        "usd of the records": round(paid, 9),
        "usd of the ledger": round(billed["usd"], 9),
    }
    sys.stdout.write(f"collect: {found}\n")
    checks = {
        "collect: it ended well, a node was killed, and both had worked": (done.exit_code, nodes) == (0, 2)
        and killed_at is not None,
        "collect: every sample is there": [r.id for r in drawn] == ids
        and all([s.size for s in r.samples.values()] == [N, N] for r in drawn),
        "collect: no sample is there twice": len(set(texts)) == draws,
        "collect: only what was under way was asked again": requests - draws <= AT_ONCE
        and max(asked.values()) <= N + AT_ONCE,
        "collect: the ledger has a row for each request that was answered": draws <= len(rows) <= requests,
        "collect: the ledger has what the records cost": billed["usd"] >= paid - 1e-12
        and (len(rows) > draws or abs(billed["usd"] - paid) < 1e-12),
        "collect: nothing is left under way": not Path(f"{records}.cluster").exists(),
    }

    server.reset()
    arguments = ["label", str(records), "--judge", "judge", *options, str(labelled), *on_cluster]
    done, nodes, killed_at = on_two_nodes(server, arguments, kill_after=PROMPTS // 2)
    of_judge = [row for row in ledger.rows() if row["kind"] == "judge"]
    asked = Counter(body["messages"][-1]["content"] for body in whole(server))
    requests = asked.total()
    judged = [quality for r in read_records(labelled) for s in r.samples.values() for quality in s.quality]
    right = [min(1, len(t) % 11 / 10) for r in read_records(labelled) for s in r.samples.values() for t in s.text]
    found = {
        "nodes": nodes,
        "qualities": len(judged),
        "requests before the kill": killed_at,
        "requests": requests,
        "rows of the ledger": len(of_judge),
    }
    sys.stdout.write(f"label: {found}\n")
    answers = Answers(url)
    checks |= {
        "label: it ended well, a node was killed, and both had worked": (done.exit_code, nodes) == (0, 2)
        and killed_at is not None,
        "label: every sample has the judge's quality": judged == right and len(judged) == draws,
        "label: only what was under way was asked again": requests - PROMPTS <= AT_ONCE and max(asked.values()) <= 2,
        "label: the ledger has a row for each request that was answered": PROMPTS <= len(of_judge) <= requests,
        "label: nothing is left under way": not list(folder.glob("*.cluster")) and not answers.beginning(""),
    }
    answers.close()
    ledger.close()
    server.close()
    for name, holds in checks.items():
        sys.stdout.write(f"{'ok' if holds else 'NO'}  {name}\n")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
