"""A process forked while its parent writes has a ledger and a budget that work, and takes nothing of the parent's."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time

import pytest

from bestroute import BestRoute, Budget, Ledger, Pool, Price
from bestroute.billing.database.forks import ForkGate
from bestroute.testing import FakeGenerator

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CHILDREN = 8


@contextlib.contextmanager
def busy(work):
    """Do something again and again in a thread."""
    is_over = threading.Event()

    def repeat():
        while not is_over.is_set():
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def forked(work):
    """Return the exit status of a child that does something; 0 if that is true."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_children_forked_while_rows_are_written_write_theirs(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    engine = BestRoute(Pool(["one"], {"one": Price(1, 1)}, "one"), {"one": FakeGenerator(["a b"])}, ledger=ledger)

    def answer(name):
        engine.run("hello", tags={"by": name})
        return ledger.flush()

    answer("parent")
    with busy(lambda: answer("parent")):
        statuses = [forked(lambda i=i: answer(f"child {i}")) for i in range(CHILDREN)]
    assert statuses == [0] * CHILDREN
    assert {row["tags"]["by"] for row in ledger.rows()} == {"parent", *(f"child {i}" for i in range(CHILDREN))}
    with contextlib.closing(sqlite3.connect(tmp_path / "bills.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_children_forked_while_a_budget_is_used_reserve_of_it(tmp_path):
    budget = Budget(1000.0, store=f"sqlite:///{tmp_path}/budget.db")

    def spend():
        if reserved := budget.reserve(0.01):
            budget.settle(0.01, 0.01)
        return reserved

    with busy(spend):
        assert [forked(spend) for _ in range(CHILDREN)] == [0] * CHILDREN


def test_a_fork_finds_every_connection_closed_and_lets_nobody_in_until_it_is_over():
    gate, order = ForkGate(), []

    class Open:
        def close(self):
            with gate.in_use():
                order.append("closed")

    database = Open()
    gate.keep(database)
    is_in, may_leave = threading.Event(), threading.Event()

    def use():
        with gate.in_use():
            is_in.set()
            may_leave.wait()
            order.append("used")

    user = threading.Thread(target=use)
    user.start()
    is_in.wait()
    threading.Timer(0.05, may_leave.set).start()
    gate.before_fork()
    late = threading.Thread(target=lambda: gate.in_use().__enter__() or order.append("let in"))
    late.start()
    time.sleep(0.05)
    order.append("forked")
    gate.after_in_parent()
    user.join()
    late.join()
    assert order == ["used", "closed", "forked", "let in"]


def test_a_fork_by_a_thread_that_uses_a_connection_waits_for_nothing_and_leaves_it_open():
    gate, closed = ForkGate(), []

    class Open:
        def close(self):
            closed.append(self)

    database = Open()
    gate.keep(database)
    with gate.in_use():
        gate.before_fork()
        gate.after_in_parent()
    assert not closed
    gate.before_fork()
    gate.after_in_child()
    assert closed == [database]
    with gate.in_use():
        pass


def test_a_statement_that_begins_while_a_fork_waits_lets_it_go_first_and_one_under_way_goes_on(monkeypatch):
    monkeypatch.setattr("bestroute.billing.database.forks._COURTESY_S", 60.0)
    gate, order, is_in, may_leave = ForkGate(), [], threading.Event(), threading.Event()

    def use():
        with gate.in_use():
            is_in.set()
            may_leave.wait()
            with gate.in_use():  # a statement within another's
                order.append("under way")

    def begin():
        with gate.in_use():
            order.append("begun")

    def fork():
        gate.before_fork()
        order.append("forked")
        gate.after_in_parent()

    threads = [threading.Thread(target=work) for work in (use, fork, begin)]
    threads[0].start()
    is_in.wait()
    threads[1].start()
    while not gate._is_awaited:
        time.sleep(0.001)
    threads[2].start()
    time.sleep(0.05)
    may_leave.set()
    for thread in threads:
        thread.join()
    assert order == ["under way", "forked", "begun"]


def test_a_fork_waits_no_longer_than_its_patience(monkeypatch, caplog):
    monkeypatch.setattr("bestroute.billing.database.forks.PATIENCE_S", 0.01)
    gate, is_in, is_over = ForkGate(), threading.Event(), threading.Event()

    def use():
        with gate.in_use():
            is_in.set()
            is_over.wait()

    user = threading.Thread(target=use)
    user.start()
    is_in.wait()
    gate.before_fork()
    gate.after_in_parent()
    is_over.set()
    user.join()
    assert "did not wait longer than 0.01 s" in caplog.text
