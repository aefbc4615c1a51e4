"""Rows answered by batch files: the plans of single calls at half the price, and nothing billed twice."""

import json
import os
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from bestroute import (
    Agreement,
    BestRoute,
    ConfigError,
    GenerationError,
    Ledger,
    MajorityVote,
    Plan,
    Pool,
    Price,
    RecordError,
    Settings,
    Step,
)
from bestroute.cli import main
from bestroute.demo.dataset import ROUTER, demo_pool, demo_records, held_out
from bestroute.errors import UnreadableStoreError
from bestroute.generators.batches import (
    BatchDraws,
    KeptReplies,
    are_under_way,
    at_batch_prices,
    folder_of,
    form_of,
    replies_file,
)
from bestroute.generators.batches.batch_forms import OpenAIBatches
from bestroute.generators.openai import OpenAIGenerator, generators_from
from bestroute.testing.brain import Answer
from bestroute.testing.switches import Refused
from bestroute.types.endpoint import Endpoint
from bestroute.types.sample import Cancel

pytest.importorskip("openai")
pytest.importorskip("sqlalchemy")

from bestroute.billing.database.kept_answers import Answers  # needs SQLAlchemy
from bestroute.billing.database.ledger_tables import LedgerTables
from bestroute.engine import batch_rows
from bestroute.engine.batch_rows import BatchRows
from bestroute.engine.route_rows import route_rows

PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}
PLAN = Plan((Step("small", 2, accept=0.7), Step("large", 1)))
ROWS = [{"id": f"q{i}", "query": f"What is {i} times 7?"} for i in range(6)]


class Killed(BaseException):
    """What a kill looks like from inside."""


def answer(model, messages):
    """Agree with itself on even questions alone, so that the odd ones need a second step."""
    text = messages[-1]["content"]
    if int(text.split()[2]) % 2 == 0 or model != "small-x":
        return "84"
    answer.count += 1
    return f"it may be {answer.count}"


@pytest.fixture
def world(server, tmp_path):
    """What it takes to answer rows, each time as a process that begins would have it."""
    answer.count = 0
    server.answers = answer

    class World:
        out, store = tmp_path / "out.jsonl", tmp_path / "bills.db"

        def __init__(self):
            self.names, self.stop = {"small": "small-x", "large": "large-x"}, Cancel()

        def engine(self, pool=None, plan=PLAN):
            pool = pool or self.pool()
            return BestRoute(pool, generators_from(pool), lambda query: plan, Agreement(), ledger=Ledger(self.store))

        def pool(self):
            endpoints = {m: Endpoint(base_url=server.base_url, api_model=name) for m, name in self.names.items()}
            return Pool(["small", "large"], PRICES, reference="large", endpoints=endpoints)

        def run(self, rows=ROWS, *, rounds=2, plan=PLAN, form="openai", decided_by=""):
            engine, members = self.engine(plan=plan), generators_from(self.pool())
            forms = {m: form_of(members[m], form) for m in members}
            draws = BatchDraws(forms, self.out, poll_s=0.0, rounds=rounds, replies=KeptReplies(self.out))
            charged = at_batch_prices(engine.pool, {m: 0.5 for m in members})
            answers = Answers(self.store)
            batched = None
            try:
                batched = BatchRows(
                    *(engine, charged, members, draws, "june", answers),
                    decided_by=decided_by,
                    stops=lambda: self.stop.is_set,
                )
                found = list(batched(iter([rows])))
                return found[0] if found else None
            finally:
                (draws.replies if batched is None else batched).close()
                answers.close()
                engine.ledger.close()

        def billed(self):
            prices = {self.names[m]: p for m, p in PRICES.items()}
            return sum(
                (b.input_tokens * prices[b.model].input + b.output_tokens * prices[b.model].output) / 1e6
                for b in server.bills
                if b.status == "ok"
            )

        def in_ledger(self):
            with Ledger(self.store) as ledger:
                return list(ledger.rows())

    return World()


def drawn(server):
    return [request for request in server.requests if "completions" in request["path"]]


def test_plans_answers_and_steps_are_those_of_single_calls_at_half_the_price(world, server):
    batched = world.run()
    handed_in = [server.batches.jobs[name] for name in server.batches.jobs]
    assert len(handed_in) == 3  # first draws and second ones of the small model; the large one for the odd rows
    by_batch = len(drawn(server))
    answer.count = 0
    half = replace(world.pool(), prices={m: Price(p.input / 2, p.output / 2) for m, p in PRICES.items()})
    engine = world.engine(half)
    single = route_rows(ROWS, engine, job="july", concurrency=1)
    engine.ledger.close()
    assert len(drawn(server)) == 2 * by_batch
    names = ("id", "answer", "model", "n", "plan", "cost_usd", "reference_cost_usd", "error")
    assert [[row[name] for name in names if name != "answer"] for row in batched] == [
        [pytest.approx(row[name]) if name.endswith("usd") else row[name] for name in names if name != "answer"]
        for row in single
    ]
    assert [row["answer"] for row in batched] == ["84"] * 6
    assert [row["model"] for row in batched] == ["small", "large"] * 3
    assert sum(row["cost_usd"] for row in world.in_ledger()) == pytest.approx(world.billed() / 2)
    assert not are_under_way(world.out)
    assert not replies_file(world.out).exists()


def places(world, monkeypatch, name, number):
    """Have a run killed at the so-many-eth of what it does in one place."""
    count = 0

    def killing(do, *, before):
        def done(*args, **kwargs):
            nonlocal count
            count += 1
            if before and count == number:
                raise Killed
            result = do(*args, **kwargs)
            if count == number:
                raise Killed
            return result

        return done

    of, method = {
        "a reply was kept": (KeptReplies, "keep"),
        "a batch was noted": (BatchDraws, "_note"),
        "a bill was written": (BatchRows, "_bill"),
        "an answer was kept": (Answers, "keep"),
        "replies were let go": (KeptReplies, "done"),
    }[name]
    monkeypatch.setattr(of, method, killing(getattr(of, method), before=False))


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize(
    "place",
    ["a reply was kept", "a batch was noted", "a bill was written", "an answer was kept", "replies were let go"],
)
def test_a_run_killed_anywhere_goes_on_and_nothing_is_drawn_or_billed_twice(world, server, monkeypatch, place, number):
    places(world, monkeypatch, place, number)
    with pytest.raises(Killed):
        world.run()
    monkeypatch.undo()
    found = world.run()
    assert [row["answer"] for row in found] == ["84"] * 6
    assert len(drawn(server)) == 15  # two of the small model each, and one more of the large for three of them
    rows = world.in_ledger()
    assert len(rows) == 15
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(world.billed() / 2)
    assert sum(row["cost_usd"] for row in found) == pytest.approx(world.billed() / 2)
    assert len({row["call_id"] for row in rows}) == 6
    assert not are_under_way(world.out)
    assert not replies_file(world.out).exists()


def test_replies_stay_until_a_ledger_that_is_away_has_their_bills(world, server, monkeypatch):
    write, dead, is_away = LedgerTables.write, [], True

    def away(tables, entries):
        if is_away:
            dead.append(tables)
        if tables in dead:  # what waits in memory ends with its process
            raise OSError("away")
        write(tables, entries)

    world.names["large"] = "fail-400-x"  # a row that failed is billed, too
    monkeypatch.setattr(batch_rows, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(LedgerTables, "write", away)
    with pytest.raises(UnreadableStoreError, match=r"cannot be written now; .*out.jsonl.replies, and the same command"):
        world.run()
    is_away = False
    assert world.in_ledger() == []
    assert replies_file(world.out).exists()
    found = world.run()
    assert [row["answer"] for row in found] == ["84", None] * 3
    billed, in_ledger = paid_and_billed(world)
    assert billed == in_ledger
    assert len([row for row in world.in_ledger() if row["status"] == "ok"]) == 12
    assert not replies_file(world.out).exists()


def test_a_ledger_that_was_away_for_a_while_costs_no_answer_and_no_bill(world, server, monkeypatch):
    monkeypatch.setattr(batch_rows, "_AGAIN_S", 0.0)
    write, tries = LedgerTables.write, Counter()

    def seldom(tables, entries):
        tries["all"] += 1
        if tries["all"] < 12:
            raise OSError("away")
        write(tables, entries)

    monkeypatch.setattr(LedgerTables, "write", seldom)
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15
    billed, in_ledger = paid_and_billed(world)
    assert billed == in_ledger


class OnceLookedAt(Cancel):
    """Stops when so many batches are under way."""

    def __init__(self, server, count=1):
        super().__init__()
        self.server, self.count = server, count

    @property
    def is_set(self):
        return sum(job.looks > 0 for job in self.server.batches.jobs.values()) >= self.count


def test_what_is_under_way_when_a_run_stops_is_read_by_the_next_one(world, server):
    server.batches.looks = 10**6
    world.stop = OnceLookedAt(server)
    assert world.run() is None
    assert are_under_way(world.out)
    assert world.in_ledger() == []
    world.stop, server.batches.looks = Cancel(), 1
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15
    assert sum(row["cost_usd"] for row in world.in_ledger()) == pytest.approx(world.billed() / 2)


def test_a_row_that_fails_is_billed_for_what_came_and_drawn_anew_by_the_next_run(world, server):
    world.names["large"] = "fail-400-x"
    found = world.run(ROWS[:2])
    assert [row["answer"] for row in found] == ["84", None]
    assert "forced 400" in found[1]["error"]
    paid = [bill for bill in server.bills if bill.status == "ok"]
    assert len(paid) == 4
    assert [row["status"] for row in world.in_ledger()].count("ok") == 4
    world.names["large"] = "large-x"
    again = world.run(ROWS[:2])
    assert again[0] == found[0]
    assert again[1]["answer"] == "84"
    rows = [row for row in world.in_ledger() if row["status"] == "ok"]
    assert (len(rows), len(drawn(server))) == (4 + 3, 4 + 1 + 3)
    assert sum(row["cost_usd"] for row in world.in_ledger()) == pytest.approx(world.billed() / 2)


def paid_and_billed(world):
    """What the server was paid at half the price, and what the ledger says."""
    return world.billed() / 2, pytest.approx(sum(row["cost_usd"] for row in world.in_ledger()))


def test_one_line_that_is_refused_calls_off_none_of_its_row(world, server, monkeypatch):
    pytest.importorskip("anthropic")
    keep = KeptReplies.keep
    monkeypatch.setattr(KeptReplies, "keep", lambda *args: (time.sleep(0.05), keep(*args)))  # what came is used so long
    server.brain.scripts["small-x"] = [Answer("84"), Answer(status=400), Answer("84"), Answer("84")]
    found = world.run(ROWS[:1], plan=Plan((Step("small", 4),)), form="anthropic")
    assert "scripted 400" in found[0]["error"]
    assert sorted(row["status"] for row in world.in_ledger()) == ["failed", "ok", "ok", "ok"]
    billed, in_ledger = paid_and_billed(world)
    assert billed == in_ledger
    assert not replies_file(world.out).exists()


def test_a_run_that_goes_on_goes_the_same_way_though_what_failed_would_do_now(world, server):
    plan = Plan((Step("small", 1, accept=0.7), Step("large", 1)))
    world.names["small"] = "flaky-1-small"
    server.batches.looks = 1
    world.stop = OnceLookedAt(server, 2)
    assert world.run(ROWS[:1], rounds=0, plan=plan) is None  # small's line failed, large's is under way
    world.stop = Cancel()
    found = world.run(ROWS[:1], rounds=0, plan=plan)
    assert (found[0]["model"], found[0]["error"]) == ("large", None)
    assert [request["body"]["model"] for request in drawn(server)] == ["flaky-1-small", "large-x"]
    billed, in_ledger = paid_and_billed(world)
    assert billed == in_ledger
    assert not are_under_way(world.out)


def test_batches_of_which_every_answer_is_had_are_dropped(world, server, monkeypatch):
    for method in ("_drop", "tidy"):  # as a kill in front of it leaves them
        monkeypatch.setattr(BatchDraws, method, lambda *args: None)
    world.run()
    monkeypatch.undo()
    assert are_under_way(world.out)
    found = world.run()
    assert [row["answer"] for row in found] == ["84"] * 6
    assert len(drawn(server)) == 15
    assert not folder_of(world.out).exists()
    assert not replies_file(world.out).exists()


def test_what_a_kill_left_of_a_batch_that_was_not_noted_is_removed(world):
    folder = folder_of(world.out)
    folder.mkdir()
    for name in (".5f0c2a.jsonl.a1b2.tmp", "5f0c2a.jsonl", ".9d11.json.c3d4.tmp"):
        (folder / name).write_text("{")
    world.run()
    assert not folder.exists()


def test_what_something_else_decided_on_is_not_gone_on_with(world, server):
    world.stop = OnceLookedAt(server)
    assert world.run(decided_by="old") is None
    left = sorted(path.name for path in folder_of(world.out).iterdir())
    world.stop = Cancel()
    with pytest.raises(
        ConfigError, match=r"run that was decided on by 'old', now by 'new': another router.*out.jsonl.batches"
    ):
        world.run(decided_by="new")
    assert sorted(path.name for path in folder_of(world.out).iterdir()) == left
    with pytest.raises(ConfigError, match="a batch of 'small' is in progress by --batch openai.*give --batch openai"):
        world.run(decided_by="old", form="anthropic")
    assert [row["answer"] for row in world.run(decided_by="old")] == ["84"] * 6
    assert len(drawn(server)) == 15
    assert [row["answer"] for row in world.run(decided_by="new")] == ["84"] * 6


def test_a_row_that_a_form_cannot_ask_fails_alone(world):
    pytest.importorskip("anthropic")
    rows = [{**ROWS[0], "response_format": {"type": "json_object"}}, ROWS[2]]
    found = world.run(rows, form="anthropic")
    assert "takes no 'response_format'" in found[0]["error"]
    assert found[1]["answer"] == "84"
    billed, in_ledger = paid_and_billed(world)
    assert billed == in_ledger


def test_a_call_of_a_tool_is_the_answer_as_it_is_in_records(world, server):
    server.answers = None
    function = {"name": "add_numbers", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    row = {"id": "t", "query": "add the numbers 5 and 6", "tools": [{"type": "function", "function": function}]}
    found = world.run([row], plan=Plan((Step("large", 1),)))
    assert json.loads(found[0]["answer"])[0]["name"] == "add_numbers"


@pytest.mark.parametrize("method", ["submit", "state", "results"])
def test_a_provider_that_cannot_be_reached_is_one_sentence_and_the_next_run_goes_on(world, server, monkeypatch, method):
    def away(*args):
        raise ConnectionError("away")

    monkeypatch.setattr(OpenAIBatches, method, away)
    with pytest.raises(
        GenerationError,
        match=r"batches of 'small' cannot .* ConnectionError: away; .* run the same command again to continue",
    ):
        world.run()
    monkeypatch.undo()
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15


def test_looks_that_find_no_answer_are_repeated(world, server, monkeypatch, caplog):
    state, looks = OpenAIBatches.state, Counter()

    def seldom(form, batch_id):
        looks[batch_id] += 1
        if looks[batch_id] % 3:
            raise ConnectionError("away with Bearer sk-4f3e2d1c0b9a8f7e6d5c4b3a")
        return state(form, batch_id)

    monkeypatch.setattr(OpenAIBatches, "state", seldom)
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert "checked again: ConnectionError: away" in caplog.text
    assert "sk-4f3e" not in caplog.text
    assert len(drawn(server)) == 15


def late_files(batches, monkeypatch):
    """Tell that a batch is over before its files are named."""
    shown, looks = type(batches)._shown, Counter()

    def late(of, job):
        status = shown(of, job)
        looks[job.id] += job.results is not None
        if looks[job.id] < 5:
            status = {**status, "output_file_id": None, "error_file_id": None}
        return status

    monkeypatch.setattr(type(batches), "_shown", late)


def missing_files(batches, monkeypatch):
    """Have a file of results that is named and cannot be read at once."""
    file, looks = type(batches)._file, Counter()

    def missing(of, name):
        looks[name] += 1
        if name.endswith("-out") and looks[name] < 3:
            raise Refused(404, f"no file {name!r}")
        return file(of, name)

    monkeypatch.setattr(type(batches), "_file", missing)


def short_files(batches, monkeypatch):
    """Have a file of results that grows while it is read."""
    file, looks = type(batches)._file, Counter()

    def short(of, name):
        looks[name] += 1
        lines = file(of, name).splitlines(keepends=True)
        return b"".join(lines[:1] if name.endswith("-out") and looks[name] < 3 else lines)

    monkeypatch.setattr(type(batches), "_file", short)


@pytest.mark.parametrize("files", [late_files, missing_files, short_files])
def test_answers_that_are_not_there_when_a_batch_is_over_are_waited_for(world, server, monkeypatch, caplog, files):
    files(server.batches, monkeypatch)
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15
    assert "cannot be read yet and is checked again: ResultsNotThere: " in caplog.text
    billed, in_ledger = paid_and_billed(world)
    assert billed == in_ledger


def test_answers_that_never_come_are_one_sentence_and_not_asked_for_again(world, server, monkeypatch):
    monkeypatch.setattr(type(server.batches), "_file", lambda of, name: b"" if "-out" in name else of._files[name])
    with pytest.raises(
        GenerationError, match=r"0 of the 6 answers of the batch batch-0002 are there; .* run the same command"
    ):
        world.run()
    monkeypatch.undo()
    assert len(drawn(server)) == 6
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15


@pytest.mark.parametrize("number", ["\u00b2", "1" * 5000, "99", "-1", ""])
def test_a_line_of_another_id_is_passed_over(world, server, monkeypatch, number):
    file = type(server.batches)._file

    def more(of, name):
        lines = file(of, name).splitlines(keepends=True)
        other = json.loads(lines[0])
        other["custom_id"] = other["custom_id"].rpartition("-")[0] + f"-{number}"
        return b"".join([json.dumps(other).encode() + b"\n", *lines] if name.endswith("-out") else lines)

    monkeypatch.setattr(type(server.batches), "_file", more)
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15


def test_a_limit_of_rate_on_the_look_for_a_batch_is_waited_for_before_it_is_handed_in_again(world, server, monkeypatch):
    post, get, refused = type(server.batches).post, type(server.batches).get, Counter()

    def first(of, path, *args):
        if path.endswith("/batches") and not refused[path]:
            refused[path] += 1
            raise Refused(429, "slow down")
        return post(of, path, *args)

    def looks(of, path, *args):
        if path.partition("?")[0].endswith("/batches") and refused["looks"] < 4:
            refused["looks"] += 1
            raise Refused(429, "slow down")
        return get(of, path, *args)

    monkeypatch.setattr(type(server.batches), "post", first)
    monkeypatch.setattr(type(server.batches), "get", looks)
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15


def test_a_batch_that_a_limit_of_rate_refuses_is_handed_in_again(world, server, monkeypatch, caplog):
    post, tries = type(server.batches).post, Counter()

    def seldom(of, path, *args):
        tries[path] += 1
        if path.endswith("/batches") and tries[path] % 3:
            raise Refused(429, "slow down")
        return post(of, path, *args)

    monkeypatch.setattr(type(server.batches), "post", seldom)
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert "a batch of 'small' is submitted again: RateLimitError" in caplog.text
    assert len(drawn(server)) == 15


def test_a_batch_that_others_leave_no_room_for_is_handed_in_again(world, server, monkeypatch):
    shown = type(server.batches)._shown

    def full(of, job):
        status = shown(of, job)
        if job is next(iter(of.jobs.values())):
            data = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
            status = {**status, "status": "failed", "errors": {"object": "list", "data": data}}
        return status

    monkeypatch.setattr(type(server.batches), "_shown", full)
    monkeypatch.setattr(type(server.batches), "_look", look_unless_first(type(server.batches)._look))
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15


def look_unless_first(look):
    return lambda of, job, port: look(of, job, port) if job is not next(iter(of.jobs.values())) else None


def test_lines_that_expire_are_handed_in_again(world, server):
    server.batches.expire_after = 5
    assert [row["answer"] for row in world.run()] == ["84"] * 6
    assert len(drawn(server)) == 15


def test_a_temperature_that_is_refused_is_asked_for_no_more(world, server, monkeypatch):
    monkeypatch.setattr("bestroute.generators.openai.is_reasoning_model", lambda name: False)
    world.names["small"] = "reasoning-x"
    server.answers = lambda model, messages: "84"
    assert [row["error"] for row in world.run()] == [None] * 6
    assert [(r["body"]["model"], r["body"].get("temperature")) for r in drawn(server)] == [
        *[("reasoning-x", 0.0)] * 6,  # refused, and not paid for
        *[("reasoning-x", None)] * 12,
    ]


@pytest.mark.parametrize("routed", [True, False], ids=["by a router", "by votes"])
def test_recorded_queries_get_the_same_decision_answer_and_bill(world, server, routed):
    count = None if os.environ.get("BESTROUTE_FULL") == "1" else 40
    records, draws = {record.query: record for record in demo_records()[:count]}, Counter()

    def as_recorded(model, messages):
        query = messages[-1]["content"]
        texts = records[query].samples[model].text
        draws[model, query] += 1
        return texts[draws[model, query] % len(texts)]

    server.answers = as_recorded
    pool = demo_pool()
    pool = replace(pool, endpoints={m: Endpoint(base_url=server.base_url) for m in pool.models})
    parts = (str(ROUTER), MajorityVote(), "quality:0.00000125") if routed else (None, MajorityVote(), None)
    rows = [{"id": str(i), "query": query} for i, query in enumerate(records)]
    charged = at_batch_prices(pool, dict.fromkeys(pool.models, 0.5))
    engine = BestRoute(charged, generators_from(charged), *parts, Ledger(), settings=Settings(greedy_first=True))
    single = route_rows(rows, engine, job="single")
    draws.clear()
    members = generators_from(pool)
    forms = {m: form_of(members[m], "openai") for m in members}
    batched = BatchRows(
        BestRoute(pool, members, *parts, Ledger(world.store)),
        charged,
        members,
        BatchDraws(forms, world.out, poll_s=0.0, replies=KeptReplies(world.out)),
        "batched",
        Answers(world.store),
    )
    found = next(batched(iter([rows])))
    batched.close()
    names = ("plan", "n", "model", "answer", "reason", "error", "cost_usd", "reference_cost_usd")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in single]
    assert len({row["plan"] for row in found}) > routed
    assert sum(row["cost_usd"] for row in world.in_ledger()) == pytest.approx(sum(row["cost_usd"] for row in single))


@pytest.fixture
def files(server, tmp_path):
    log, pool_file, pool = tmp_path / "log.jsonl", tmp_path / "pool.yaml", demo_pool()
    queries = [record.query for record in held_out()[:12]]
    log.write_text("".join(json.dumps({"id": f"q{i}", "query": query}) + "\n" for i, query in enumerate(queries)))
    members = "".join(
        f"  {m}: {{input_price: 1, output_price: 2, base_url: '{server.base_url}'}}\n" for m in pool.models
    )
    pool_file.write_text(f"reference: {pool.reference}\nmax_n: {pool.max_n}\nmodels:\n{members}")
    return log, tmp_path / "out.jsonl", pool_file


def run(files, *more):
    log, out, pool_file = files
    arguments = ["--file", log, "--out", out, "--draw", "--reward", "majority", "--pool", pool_file, *more]
    return CliRunner().invoke(main, ["route", str(ROUTER), *map(str, arguments)])


def test_the_command_lets_go_of_its_databases_and_connections(files, server, monkeypatch, no_garbage):
    closed = []
    for of in (OpenAIGenerator, Ledger, Answers):
        monkeypatch.setattr(of, "close", lambda self, *args, do=of.close, **options: (closed.append(self), do(self))[1])
    before = set(threading.enumerate())
    done = run(files, "--batch", "openai", "--poll", "0")
    assert done.exit_code == 0, done.output
    assert {OpenAIGenerator, Ledger, Answers} <= set(map(type, closed))
    assert not [t for t in set(threading.enumerate()) - before if t.name == "bestroute-writer"]


def test_the_command_answers_a_log_by_batches_and_refuses_to_mix(files, server):
    done = run(files, "--batch", "openai", "--poll", "0")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert all(line["answer"] for line in found)
    billed = sum(bill.input_tokens * 1 + bill.output_tokens * 2 for bill in server.bills) / 2e6
    assert sum(line["cost_usd"] for line in found) == pytest.approx(billed)
    assert {request["headers"]["x-loopback-batch"] for request in drawn(server)} == set(server.batches.jobs)
    count = len(server.requests)
    assert "0 routed, 12 kept" in run(files, "--batch", "openai", "--poll", "0").stdout
    assert len(server.requests) == count
    replies_file(files[1]).write_text('{"run": "a"}\n')
    refused = run(files)
    assert refused.exit_code == 2
    assert "batches of an earlier run are unfinished; add --batch" in refused.stderr


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--batch", "--concurrency", "3"], "--batch needs --draw, and excludes --concurrency"),
        (["--batch-price", "0.4"], "--batch-command and --batch-price are for --batch"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(files, more, why):
    refused = run(files, *more)
    assert refused.exit_code == 2
    assert why in refused.stderr


def test_batch_is_for_a_file_that_is_answered(files):
    refused = CliRunner().invoke(main, ["route", str(ROUTER), "hi", "--batch"])
    assert "--batch is for --file LOG --draw" in refused.stderr
    log, out, _ = map(str, files)
    refused = CliRunner().invoke(main, ["route", str(ROUTER), "--file", log, "--out", out, "--batch"])
    assert "--batch needs --draw" in refused.stderr


def test_replies_that_are_none_are_named_with_their_line(tmp_path):
    replies_file(tmp_path / "o").write_text('{"run": "a", "decided_by": "d"}\n{"draw": "k.0-1", "model": "m"}\n')
    with pytest.raises(RecordError, match="o.replies line 2: 'reply' is missing; it must be the provider's reply, an"):
        KeptReplies(tmp_path / "o")
