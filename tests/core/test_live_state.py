"""What is known of live traffic outlasts crowds and deaths: one state in the database, no bill and no update lost."""

import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from bestroute import Ledger

CALLER = """
import asyncio, sys, time
from bestroute import BestRoute, Ledger, Pool, Price
from bestroute.testing import FakeGenerator

url, way, seconds = sys.argv[1:]
pool = Pool(["small", "large"], {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}, "large")
members = {m: FakeGenerator(["84"], delay_s=0.001) for m in pool.models}
engine = BestRoute(pool, members, lambda query: "small", ledger=Ledger(url), audit=1.0 if way == "crowd" else 0.5)
QUESTION = "What is 12 * 7? Answer with only the number."

async def crowd():
    await asyncio.gather(*(engine.arun(QUESTION) for _ in range(64)))

if way == "crowd":
    asyncio.run(crowd())
    engine.close()
else:
    for _ in range(20):
        print(engine.run(QUESTION).call_id, flush=True)
    time.sleep(float(seconds))
    print("later", flush=True)
    while True:
        print(engine.run(QUESTION).call_id, flush=True)
"""


def start(url, way, seconds=0.0):
    arguments = [sys.executable, "-c", CALLER, url, way, str(seconds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_four_processes_of_64_calls_each_keep_one_state_and_lose_nothing(database_url):
    with Ledger(database_url) as ledger:
        processes = [start(database_url, "crowd") for _ in range(4)]
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
        outcomes, rows = ledger.outcomes(), ledger.rows()
    assert len({outcome.call_id for outcome in outcomes}) == len(outcomes) == 4 * 64
    assert Counter(outcome.status for outcome in outcomes) == {"compared": 4 * 64}
    assert Counter(row["kind"] for row in rows) == {"draw": 4 * 64, "audit": 4 * 64}
    assert {row["call_id"] for row in rows} == {outcome.call_id for outcome in outcomes}


@pytest.mark.patient(3.0)
def test_a_process_that_is_killed_loses_no_bill_and_the_last_second_of_what_is_known_at_most(database_url, seconds):
    with Ledger(database_url) as ledger:
        process = start(database_url, "on", seconds)
        try:
            names = []
            while not names or names[-1] != "later":
                names.append(process.stdout.readline().strip())
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                names.append(process.stdout.readline().strip())
        finally:
            process.send_signal(signal.SIGKILL)
            names += process.communicate(timeout=60)[0].split()
        first, later = names[: names.index("later")], names[names.index("later") + 1 :]
        answered = {name for name in (*first, *later) if len(name) == 32}
        outcomes, rows = {outcome.call_id for outcome in ledger.outcomes()}, ledger.rows()
    billed = Counter(row["call_id"] for row in rows if row["kind"] == "draw")
    assert len(first) == 20
    assert later
    assert answered <= set(billed)
    assert set(billed.values()) == {1}
    assert set(first) <= outcomes
