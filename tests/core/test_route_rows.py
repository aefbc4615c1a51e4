"""Rows by the thousand: each answered once, whatever hands them out, and whoever is lost."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bestroute import BestRoute, ConfigError, Ledger, Pool, Price
from bestroute.engine.route_rows import COLUMNS, RouteRows, route_rows, row_key
from bestroute.errors import UnreadableStoreError
from bestroute.testing import FakeGenerator

pytest.importorskip("sqlalchemy")

from bestroute.billing.database.kept_answers import Answers
from bestroute.billing.database.ledger_tables import LedgerTables

ROWS = [{"id": i, "query": f"What is {i} times 7?", "topic": "sums"} for i in range(20)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'rows.db'}"


class Broken:
    native_n = False

    def generate(self, query, n, *, params, cancel):
        raise ValueError("the member is broken")


def make(url=None, answers=("yes",)):
    pool = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, reference="large")
    members = {"small": FakeGenerator(list(answers)), "large": FakeGenerator(["large"])}
    return BestRoute(pool, members, router=lambda query: "small", ledger=Ledger(url))


def test_rows_come_back_in_order_with_their_answer_and_its_bill():
    engine = make()
    done = route_rows(ROWS, engine, job="june")
    assert [row["id"] for row in done] == list(range(20))
    assert [row["topic"] for row in done] == ["sums"] * 20
    assert {(row["answer"], row["model"], row["n"], row["plan"], row["error"]) for row in done} == {
        ("yes", "small", 1, "small x 1", None)
    }
    assert sum(row["cost_usd"] for row in done) == pytest.approx(engine.ledger.cost_usd)
    assert {row["run_id"] for row in engine.ledger.rows()} == {"june"}
    assert set(done[0]) == {*ROWS[0], *COLUMNS}


def test_what_was_answered_is_not_asked_again_on_any_machine(url):
    first, answers = make(url), Answers(url)
    once = route_rows(ROWS[:12], first, job="june", answers=answers)
    other, elsewhere = make(url, answers=["another"]), Answers(url)
    done = route_rows(ROWS, other, job="june", answers=elsewhere)
    assert done[:12] == once
    assert {row["answer"] for row in done[12:]} == {"another"}
    assert len(other.ledger.rows()) == 20
    again = route_rows(ROWS, other, job="july", answers=elsewhere)
    assert {row["answer"] for row in again} == {"another"}
    for part in (first.ledger, other.ledger, answers, elsewhere):
        part.close()


@pytest.mark.parametrize("kind", [str, Path])
def test_answers_are_kept_in_a_file_given_by_its_path(tmp_path, kind):
    route = RouteRows(make, "june", kind(tmp_path / "rows.db"))
    assert [row["answer"] for row in route(ROWS[:2])] == ["yes", "yes"]
    answers = Answers(f"sqlite:///{tmp_path}/rows.db")
    assert len(answers.found([row_key("june", row) for row in ROWS])) == 2
    for part in (answers, route.answers):
        part.close()


def test_bills_that_cannot_be_written_at_last_are_one_sentence(url, monkeypatch):
    route = RouteRows(lambda: make(url), "june", url)
    monkeypatch.setattr(LedgerTables, "write", lambda *args: (_ for _ in ()).throw(OSError("away")))
    assert [row["answer"] for row in route(ROWS[:2])] == ["yes", "yes"]
    with pytest.raises(UnreadableStoreError, match=r"rows.db' cannot be written, so it lacks the last bills; the rows"):
        route.close()
    monkeypatch.undo()
    assert route.engine.ledger.close()


def test_of_two_answers_to_one_row_the_first_is_kept(url):
    answers = Answers(url)
    assert answers.keep("k", {"answer": "first"}) == {"answer": "first"}
    assert answers.keep("k", {"answer": "second"}) == {"answer": "first"}
    assert answers.found(["k", "other"]) == {"k": {"answer": "first"}}
    answers.close()


def test_a_row_that_failed_says_why_and_is_asked_again(url):
    answers = Answers(url)
    pool = Pool(["small"], {"small": Price(1, 2)}, reference="small")
    broken = BestRoute(pool, {"small": Broken()})
    failed = route_rows(ROWS[:1], broken, job="june", answers=answers)[0]
    assert failed["answer"] is None
    assert "the member is broken" in failed["error"]
    assert route_rows(ROWS[:1], make(url), job="june", answers=answers)[0]["answer"] == "yes"
    answers.close()


def test_a_row_without_a_query_is_refused():
    with pytest.raises(ConfigError, match="a row must have a 'query', a text; this one has id, text"):
        route_rows([{"id": 1, "text": "hi"}], make(), job="june")


def test_batches_come_back_as_they_went_in():
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    route = RouteRows(make, "june")
    columns = {"id": np.arange(3), "query": np.array([row["query"] for row in ROWS[:3]])}
    assert route(columns)["answer"] == ["yes"] * 3
    frame = route(pd.DataFrame(ROWS[:3], index=[7, 8, 9]))
    assert list(frame.index) == [7, 8, 9]
    assert list(frame["answer"]) == ["yes"] * 3
    assert [row["answer"] for row in route(ROWS[:3])] == ["yes"] * 3


def test_dask_answers_partitions(url):
    dataframe = pytest.importorskip("dask.dataframe", reason="dask is not installed")
    pd = pytest.importorskip("pandas")
    whole = dataframe.from_pandas(pd.DataFrame(ROWS), npartitions=4)
    meta = RouteRows(make, "june")(pd.DataFrame(ROWS[:1])).iloc[:0]
    done = whole.map_partitions(lambda part: RouteRows(make, "june", url)(part), meta=meta).compute(scheduler="threads")
    assert list(done["id"]) == list(range(20))
    assert set(done["answer"]) == {"yes"}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra ray)")
def test_ray_answers_every_row_once_though_a_node_is_killed(postgres):
    script = ROOT / "tests" / "core" / "ray_nodes.py"
    environment = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    done = subprocess.run(
        [sys.executable, str(script), postgres.new_url()], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
