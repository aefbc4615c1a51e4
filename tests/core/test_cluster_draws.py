"""Draws of collect and label on a cluster: one process's records and bills, and nothing drawn anew that was drawn.

The cluster of these tests runs in this process and loses machines as it is asked to; ``ray_draws.py`` has a real one.
"""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from bestroute import ConfigError, GenerationError, Ledger, Pool, Price, StoreError
from bestroute._utils import extras
from bestroute.billing.database.kept_answers import Answers
from bestroute.cli import main
from bestroute.engine import cluster_draws
from bestroute.engine.cluster_draws import ClusterDraws, runs_file
from bestroute.engine.draw_blocks import TAKEN, DrawBlocks, job_data, stop_key
from bestroute.engine.kept_once import keep_billed
from bestroute.engine.ray_blocks import by_windows
from bestroute.errors import EmptyReplyError
from bestroute.generators.openai import OpenAIGenerator, generators_from
from bestroute.judges import MemberJudge, label
from bestroute.records.collect import Job, Prompt, collect
from bestroute.records.records import read_records
from bestroute.testing import FakeGenerator
from bestroute.types.endpoint import Endpoint
from bestroute.types.sample import Cancel

pytest.importorskip("openai")
pytest.importorskip("sqlalchemy")

IS_FULL = os.environ.get("BESTROUTE_FULL") == "1"
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}}}}
PROMPTS = [
    Prompt("q0", "What is 0 times 7?", "q0", fields={"id": "q0", "system": "Be brief."}),
    Prompt("q1", 'CALL add({"a": 2})', "q1", fields={"id": "q1", "tools": [TOOL]}),
    *[Prompt(f"q{i}", f"What is {i} times 7?", f"q{i}", fields={"id": f"q{i}"}) for i in range(2, 6 if IS_FULL else 3)],
]
DRAWS = 2 * 2 * len(PROMPTS)
"""Two of each model and prompt."""
DIFFERENT = DRAWS - 3
"""Of their texts: the four calls of a tool are alike."""
PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}


class Killed(KeyboardInterrupt):
    """What a kill looks like from inside."""


class Machines:
    """A cluster in this process: what goes to it is pickled; machines are lost as ``lose`` says, blocks come again."""

    def __init__(self, handed_out=1):
        self.handed_out, self.works = handed_out, []

    def __call__(self, work):
        work = pickle.loads(pickle.dumps(work))
        self.works.append(work)
        return partial(map, partial(self.work, work))

    def work(self, work, text):
        for _ in range(self.handed_out):
            done = self.until_it_lives(work, json.loads(text))
        return json.dumps(done)

    def until_it_lives(self, work, block):
        while True:
            try:
                return work(block)
            except Killed:
                continue

    def close(self):
        for work in self.works:
            work.here().close()
            DrawBlocks.here.cache_clear()


class AllAtOnce(Machines):
    """One that has done a whole window before its first block comes back."""

    def __call__(self, work):
        run = super().__call__(work)
        return lambda texts: list(run(texts))


@pytest.fixture
def run(server, tmp_path):
    """Collect into one file, on a cluster unless ``here``; ``names``: what the server is asked by."""
    out, clusters = tmp_path / "records.jsonl", []

    def collected(
        n=2, *, here=False, names=None, prompts=PROMPTS, cluster=None, url=None, make=None, out=out, **options
    ):
        endpoints = {
            m: Endpoint(base_url=server.base_url, api_model=(names or {}).get(m, f"{m}-x")) for m in ("small", "large")
        }
        pool = Pool(["small", "large"], PRICES, reference="large", endpoints=endpoints)
        members, drawer = (make or generators_from)(pool), None
        if not here:
            cluster = cluster or AllAtOnce()
            clusters.append(cluster)
            drawer = ClusterDraws(
                partial(make or generators_from, pool),
                pool,
                out,
                url or collected.url,
                job="june",
                concurrency=1,
                cluster=cluster,
            )
        try:
            return collect(prompts, pool, members, out, n=n, drawer=drawer, concurrency=1, **options)
        finally:
            for member in members.values():
                member.close()

    collected.out, collected.url = out, f"sqlite:///{tmp_path}/bills.db"
    yield collected
    for cluster in clusters:
        cluster.close()


def bills(url):
    with Ledger(url) as ledger:
        return ledger.rows()


def kept(url):
    answers = Answers(url)
    try:
        return answers.beginning("")
    finally:
        answers.close()


def texts(out):
    return [text for record in read_records(out) for samples in record.samples.values() for text in samples.text]


def costs(out):
    return [cost for record in read_records(out) for samples in record.samples.values() for cost in samples.cost_usd]


def killed_after(count):
    def on_sample(done, total):
        if done == count:
            raise Killed

    return on_sample


def test_records_are_those_of_one_process_and_every_draw_has_its_bill(run, server, tmp_path):
    checker = lambda prompt, text: (len(text) % 7) / 7  # noqa: E731
    alone = run(here=True, out=tmp_path / "alone.jsonl", checker=checker, greedy=True)
    server.reset()
    progress = []
    done = run(checker=checker, greedy=True, on_sample=lambda *counts: progress.append(counts))
    assert done == alone
    assert read_records(run.out) == read_records(tmp_path / "alone.jsonl")
    assert '[{"name": "add", "arguments": {"a": 2}}]' in texts(run.out)
    whole = 3 * DRAWS // 2  # a greedy one, too
    assert progress == [(count, whole) for count in range(whole + 1)]
    rows = bills(run.url)
    assert [(len(rows), row["run_id"], row["kind"], row["status"]) for row in rows[:1]] == [
        (whole, "june", "collect", "ok")
    ]
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(sum(done.cost_usd.values()))
    assert len({row["call_id"] for row in rows}) == whole
    assert not runs_file(run.out).exists()
    assert kept(run.url) == {}


def test_a_block_that_is_handed_out_again_is_drawn_once(run, server):
    assert run(cluster=AllAtOnce(handed_out=3)).missing == 0
    assert len(server.sent()) == len(bills(run.url)) == len(texts(run.out)) == DRAWS


def test_a_block_that_comes_again_when_its_draws_were_given_is_not_drawn(run, server):
    class Late(Machines):
        """One whose lost machine comes back at the end and does all of its blocks once more."""

        def __call__(self, work):
            run, blocks = super().__call__(work), []

            def of(texts):
                blocks.extend(texts)
                yield from run(texts)
                list(run(blocks))

            return of

    assert run(cluster=Late()).missing == 0
    assert len(server.sent()) == len(bills(run.url)) == DRAWS


@pytest.mark.parametrize("at", ["before the call", "before the bill", "before it is kept", "after it is kept"])
def test_of_a_lost_machine_only_what_was_under_way_is_drawn_anew(run, server, monkeypatch, at):
    home, name, is_after = {
        "before the call": (OpenAIGenerator, "generate", False),
        "before the bill": (Ledger, "add", False),
        "before it is kept": (Answers, "keep", False),
        "after it is kept": (Answers, "keep", True),
    }[at]
    whole, calls = getattr(home, name), []

    def dying(self, *args, **kwargs):
        calls.append(args)
        if is_after:
            whole(self, *args, **kwargs)
        if len(calls) == DRAWS // 2:
            raise Killed
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(home, name, dying)
    done = run()
    assert (done.drawn, done.missing, done.failures) == (DRAWS, 0, ())
    assert len(set(texts(run.out))) == DIFFERENT
    again = {"before the call": 0, "after it is kept": 0}.get(at, 1)
    assert len(server.sent()) == DRAWS + again
    assert len(bills(run.url)) == DRAWS + (at == "before it is kept")  # the provider was paid twice for that one
    assert sum(costs(run.out)) == pytest.approx(sum(done.cost_usd.values()))


@pytest.mark.parametrize("count", [0, 1, 4, DRAWS // 2 + 1, DRAWS] if IS_FULL else [1, DRAWS // 2 + 1, DRAWS])
def test_a_command_killed_after_any_sample_goes_on_and_draws_nothing_twice(run, server, count):
    with pytest.raises(Killed):
        run(on_sample=killed_after(count))
    done = run()
    assert (done.kept, done.drawn, done.missing) == (count, DRAWS - count, 0)
    assert len(server.sent()) == len(bills(run.url)) == DRAWS
    assert len(set(texts(run.out))) == DIFFERENT
    assert not runs_file(run.out).exists()
    assert kept(run.url) == {}


def test_a_command_killed_again_and_again_goes_on(run, server):
    for count in (2, DRAWS // 2 - 1, DRAWS // 2 + 2):
        with pytest.raises(Killed):
            run(on_sample=killed_after(count))
    assert run(n=3).missing == 0
    assert len(server.sent()) == len(bills(run.url)) == 3 * DRAWS // 2
    assert not runs_file(run.out).exists()


def test_draws_that_a_shorter_run_does_not_want_stay_for_a_longer_one(run, server):
    with pytest.raises(Killed):
        run(on_sample=killed_after(5))
    run(n=1, prompts=PROMPTS[:3])
    assert runs_file(run.out).exists()
    assert run().missing == 0
    assert len(server.sent()) == len(bills(run.url)) == DRAWS
    assert not runs_file(run.out).exists()
    assert kept(run.url) == {}


def test_draws_that_failed_are_made_by_the_next_run_and_told_as_in_one_process(run, server, tmp_path):
    names = {"large": "usage-none-large"}
    script = [*[{"status": 400, "text": "no"}] * 3, *["a b c"] * (DRAWS // 2 - 3)]
    server.script("small-x", script)
    alone = run(here=True, names=names, out=tmp_path / "alone.jsonl")
    server.reset()
    server.script("small-x", script)
    done = run(names=names)
    assert done == alone
    assert (done.drawn, done.missing, len(done.failures)) == (DRAWS - 3, 3, 1)
    assert [row["status"] for row in bills(run.url)].count("failed") == 3
    assert read_records(run.out) == read_records(tmp_path / "alone.jsonl")
    server.reset()
    assert run(names=names).drawn == len(server.sent()) == 3


ERRORS = {
    "no library": lambda: ImportError("the client needs a library"),
    "ours": lambda: ConfigError("a member is not set up"),
    "no connection": lambda: ConnectionError("refused"),
    "empty": lambda: EmptyReplyError("nothing in it"),
    "others": lambda: GenerationError("it did not work"),
    "of more than words": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    "an end": lambda: SystemExit(3),
    "a group": lambda: ExceptionGroup("of tasks", [ConnectionError("refused")]),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_what_a_member_raises_ends_the_run_as_in_one_process(run, tmp_path, kind):
    def end(**options):
        make = partial(make_raising, kind)
        try:
            return run(make=make, **options)
        except Exception as error:
            return [base.__name__ for base in type(error).__mro__ if base.__module__ != "bestroute.none"], str(error)

    alone, there = end(here=True, out=tmp_path / "alone.jsonl"), end()
    if isinstance(alone, tuple):
        assert (there[1], set(alone[0]) - set(there[0])) == (alone[1], set())
    else:
        assert there.failures
        assert {failure.partition(" (")[0] for failure in there.failures} == {
            failure.partition(" (")[0] for failure in alone.failures
        }


class Raising(FakeGenerator):
    def __init__(self, kind):
        super().__init__(["x"])
        self.kind = kind

    def generate(self, query, n, *, params, cancel):
        raise ERRORS[self.kind]()

    def close(self):
        pass


def make_raising(kind, pool):
    return {model: Raising(kind) for model in pool.models}


def test_a_worker_that_cannot_begin_says_why(run, server):
    def make(pool):
        made.append(pool)
        if len(made) > 1:
            raise ConfigError("the environment variable KEY that should hold its key is not set")
        return generators_from(pool)

    made = []

    class Unpickled(Machines):
        def __call__(self, work):
            return partial(map, partial(self.work, work))

    with pytest.raises(ConfigError, match="the environment variable KEY"):
        run(make=make, cluster=Unpickled())
    assert server.sent() == []


def test_a_run_that_is_called_off_begins_no_further_draw(run, server):
    endpoints = {"large": Endpoint(base_url=server.base_url, api_model="large-x")}
    pool = Pool(["large"], {"large": Price(1, 2)}, reference="large", endpoints=endpoints)
    work = DrawBlocks("run", partial(generators_from, pool), pool, run.url, "june", "collect", 2)
    block = {"jobs": [job_data(Job(prompt, "large"), f"run-{prompt.id}") for prompt in PROMPTS[:3]], "params": {}}
    first = {"jobs": block["jobs"][:1], "params": {}}
    (drawn,) = work(first)
    work.here().answers.keep(stop_key("run"), {})
    assert work(block) == [drawn, None, None]
    assert len(server.sent()) == 1
    work.here().answers.replace("run-q0", TAKEN)
    assert work(first) == [TAKEN]
    work.here().close()
    work.here().generators["large"].close()


def test_a_stop_is_told_to_the_workers_while_the_command_waits(run, monkeypatch):
    monkeypatch.setattr(cluster_draws, "_LOOK_S", 0.001)
    stop, is_told = Cancel(), threading.Event()

    class Waiting(Machines):
        def work(self, work, text):
            stop.set()
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and stop_key(work.run) not in kept(run.url):
                time.sleep(0.001)
            is_told.set()
            return super().work(work, text)

    done = run(cluster=Waiting(), stop=stop)
    assert is_told.is_set()
    assert (done.drawn, done.missing, done.failures) == (0, DRAWS, ())
    assert run().missing == 0


def test_draws_that_stand_in_another_ledger_are_not_drawn_again_unawares(run, server, tmp_path):
    with pytest.raises(Killed):
        run(on_sample=killed_after(5))
    sent = len(server.sent())
    with pytest.raises(ConfigError, match="the draws of an earlier run are not in this ledger; give the --ledger"):
        run(url=f"sqlite:///{tmp_path}/other.db")
    assert len(server.sent()) == sent


def test_a_cluster_that_cannot_be_reached_leaves_nothing_behind(run):
    class Refusing(Machines):
        def __call__(self, work):
            raise ConfigError("the Ray cluster 'auto' cannot be reached")

    with pytest.raises(ConfigError, match="'auto' cannot be reached"):
        run(cluster=Refusing())
    assert not runs_file(run.out).exists()
    assert run(here=True).missing == 0


@pytest.mark.parametrize("text", ["a\x00b", "half \ud83d", "\\u0000", "café 🎉"])
def test_any_answer_is_kept_as_it_is(database_url, text):
    answers = Answers(database_url)
    assert answers.keep("k", {"text": text}) == answers.found(["k"])["k"] == {"text": text}
    answers.replace("k", {"text": text * 2})
    assert answers.beginning("k") == {"k": {"text": text * 2}}
    answers.drop("k")
    assert answers.found(["k"]) == {}
    answers.close()


def test_keys_are_told_apart_by_all_their_letters(database_url):
    answers = Answers(database_url)
    for key in ("a_b", "axb", "a%b", "a_", "A_b"):
        answers.keep(key, {"key": key})
    assert set(answers.beginning("a_")) == {"a_b", "a_"}
    answers.drop("a%")
    answers.drop("A")
    assert set(answers.beginning("")) == {"a_b", "axb", "a_"}
    answers.close()


def test_a_database_that_was_away_is_found_again_and_its_password_is_not_shown(postgres):
    answers = Answers(postgres.new_url())
    answers.keep("k", {"a": 1})
    try:
        postgres.stop()
        with pytest.raises(StoreError, match="the answers in .* cannot be reached") as refused:
            answers.found(["k"])
        assert "p@ss" not in str(refused.value)
    finally:
        postgres.start()
    assert answers.found(["k"]) == {"k": {"a": 1}}
    answers.close()


def test_what_was_paid_for_comes_back_though_the_database_is_away():
    class Away:
        url = "postgresql"

        def flush(self):
            return False

        def keep(self, key, answer):
            raise ConfigError("it cannot be reached")

    answer = {"text": "84"}
    assert keep_billed(Ledger(), Away(), "k", answer) == answer
    assert keep_billed(Away(), None, "k", answer) == answer  # its bill is not there, so it is not kept


def test_blocks_go_out_a_window_at_a_time_and_come_back_in_their_order():
    windows, taken = [], []

    def blocks():
        for i in range(9):
            taken.append(i)
            yield {"i": i}

    def cluster(texts):
        windows.append(len(texts))
        return [json.dumps({"done": json.loads(text)["i"]}) for text in texts]

    done = by_windows(cluster, blocks(), [1, 4, 100])
    assert next(done) == {"done": 0}
    assert taken == [0]
    assert [one["done"] for one in done] == list(range(1, 9))
    assert windows == [1, 4, 4]
    with pytest.raises(ValueError, match="shorter"):
        list(by_windows(lambda texts: texts[1:], iter([1, 2])))
    with pytest.raises(ConfigError, match="what goes to the cluster must be JSON: TypeError"):
        list(by_windows(list, iter([object()])))


POOL = """reference: large
models:
  small: {{input_price: 1, output_price: 2, base_url: "{url}"}}
  large: {{input_price: 1, output_price: 2, base_url: "{url}"}}
  judge: {{input_price: 1, output_price: 2, base_url: "{url}", role: judge}}
"""


def judging(model, messages):
    """Like long answers best."""
    question = messages[-1]["content"]
    if "<answer A>" in question:
        return json.dumps({"better": "A" if question.find("<answer B>") - question.find("<answer A>") > 25 else "B"})
    return json.dumps({"scores": [min(len(text), 10) for text in question.split("<answer ")[1:]]})


@pytest.mark.parametrize(("is_pairwise", "count"), [(False, None), (False, 4), (True, 1), (True, 4)])
def test_a_judge_on_a_cluster_says_what_it_says_to_one_process(server, tmp_path, unjudged, is_pairwise, count):
    server.answers = judging
    (tmp_path / "pool.yaml").write_text(POOL.format(url=server.base_url))
    pool = Pool.from_file(tmp_path / "pool.yaml", judges=True)
    url, cluster = f"sqlite:///{tmp_path}/bills.db", AllAtOnce(handed_out=2)
    make = partial(generators_from, pool, only=("judge",))

    def judged(name, is_alone, on_task=None):
        out, members = tmp_path / name, make()
        drawer = ClusterDraws(make, pool, out, url, job="june", kind="judge", concurrency=1, cluster=cluster)
        judge = MemberJudge("judge", members["judge"], pool, is_pairwise=is_pairwise)
        try:
            drawer = None if is_alone else drawer
            return label(unjudged, judge, out, reference="large", drawer=drawer, on_task=on_task, concurrency=1)
        finally:
            members["judge"].close()

    alone = judged("alone.jsonl", True)
    asked = len(server.sent())
    server.requests.clear()
    if count is not None:
        with pytest.raises(Killed):
            judged("there.jsonl", False, killed_after(count))
    done = judged("there.jsonl", False)
    assert done == alone
    assert len(server.sent()) == asked == (22 if is_pairwise else 6)
    rows = bills(url)
    assert {(row["kind"], row["run_id"], row["model"]) for row in rows} == {("judge", "june", "judge")}
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(done.cost_usd)
    assert len(rows) == asked
    assert not list(tmp_path.glob("*.cluster"))
    cluster.close()


URL = "postgresql+psycopg://user@host/bestroute"


@pytest.fixture
def files(server, tmp_path):
    (tmp_path / "pool.yaml").write_text(POOL.format(url=server.base_url))
    (tmp_path / "p.jsonl").write_text('{"id": "q", "query": "hi"}\n')
    (tmp_path / "r.jsonl").write_text(
        '{"id": "q", "query": "hi", "samples": {"small": {"text": ["a"], "quality": [null]}}}\n'
    )
    common = ["--pool", str(tmp_path / "pool.yaml"), "--out", str(tmp_path / "out.jsonl")]
    return {
        "collect": ["collect", str(tmp_path / "p.jsonl"), "--n", "1", *common],
        "label": ["label", str(tmp_path / "r.jsonl"), *common],
    }


RAY = ["--engine", "ray", "--ledger", URL]


@pytest.mark.parametrize("command", ["collect", "label"])
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([*RAY, "--batch"], "--batch and --engine ray exclude each other"),
        (["--engine", "ray"], "--engine ray needs a ledger that every machine can reach: --ledger postgresql+psycopg"),
        (["--engine", "ray", "--ledger", "b.db"], "--engine ray needs a ledger that every machine can reach"),
        (["--cluster", "auto"], "--cluster and --ledger are for --engine ray"),
        (["--ledger", URL], "--cluster and --ledger are for --engine ray"),
        (
            [*RAY, "--gguf", "small=x.gguf"],
            "--gguf serves a model on this machine only; with --engine ray set base_url",
        ),
        (["--batch-price", "1"], "--batch-command and --batch-price are for --batch"),
    ],
)
def test_what_a_cluster_cannot_do_is_one_sentence(files, server, command, options, why):
    refused = CliRunner().invoke(main, [*files[command], "--judge", "judge", *options])
    assert refused.exit_code == 2
    assert why in refused.stderr
    assert refused.stderr.startswith("bestroute: ")
    assert server.sent() == []


@pytest.mark.parametrize("judge", [["--judge", "math:sqrt"], ["--check", "exact"]])
@pytest.mark.parametrize("engine", [RAY, ["--batch"]])
def test_a_judge_in_this_process_is_not_sent_to_a_cluster(files, monkeypatch, judge, engine):
    monkeypatch.setattr(extras, "_is_there", lambda module: True)
    refused = CliRunner().invoke(main, [*files["label"], *judge, *engine])
    assert refused.exit_code == 2
    assert refused.stderr == f"bestroute: {' '.join(engine[:2])} needs a --judge that is a member of the pool\n"


@pytest.mark.parametrize("command", ["collect", "label"])
def test_ray_that_is_not_there_is_one_sentence(files, monkeypatch, command):
    monkeypatch.setattr(extras, "_is_there", lambda module: module != "ray")
    refused = CliRunner().invoke(main, [*files[command], "--judge", "judge", *RAY])
    assert refused.exit_code == 2
    assert "bestroute: --engine ray needs ray: pip install" in refused.stderr


@pytest.mark.parametrize("way", [[], ["--batch"]])
def test_what_a_cluster_left_is_read_before_anything_else_draws(files, tmp_path, server, way):
    for command, name in (("collect", "out.jsonl.cluster"), ("label", "out.jsonl.judgements.cluster")):
        (tmp_path / name).write_text('{"runs": ["a"]}')
        refused = CliRunner().invoke(main, [*files[command], "--judge", "judge", *way])
        assert refused.exit_code == 2
        assert f"add --engine ray to use them, or delete {tmp_path / name}" in refused.stderr
    assert server.sent() == []


@pytest.mark.parametrize("command", ["collect", "label"])
def test_the_options_reach_the_draws(files, monkeypatch, command, tmp_path):
    made = []

    class Noted(ClusterDraws):
        def __init__(self, make, pool, out, store, **options):
            made.append((sorted(make()), out.name, store, options))
            raise ConfigError("noted")

    monkeypatch.setattr(extras, "_is_there", lambda module: True)
    monkeypatch.setattr(cluster_draws, "ClusterDraws", Noted)
    options = ["--judge", "judge", *RAY, "--cluster", "host:1", "--concurrency", "7"]
    refused = CliRunner().invoke(main, [*files[command], *options])
    assert refused.stderr.splitlines()[-1] == "bestroute: noted"
    ((members, name, store, given),) = made
    assert (members, name, given["kind"]) == (
        (["large", "small"], "out.jsonl", "collect")
        if command == "collect"
        else (["judge"], "out.jsonl.judgements", "judge")
    )
    assert (store, given["job"], given["concurrency"]) == (URL, "out.jsonl", 7)
    assert given["cluster"].keywords == {"address": "host:1"}


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra ray)")
"""Ray starts processes and threads that outlast a test, so it runs in a process of its own."""


def in_a_process(*arguments):
    environment = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=400, env=environment)


@needs_ray
def test_what_cannot_be_sent_is_one_sentence():
    code = (
        "import threading; from bestroute.engine.ray_blocks import on_ray; from bestroute.errors import ConfigError\n"
        "try: on_ray(threading.Lock().acquire)\n"
        "except ConfigError as error: print(error)"
    )
    done = in_a_process("-c", code)
    assert done.stdout.startswith("what the workers need cannot be sent to them (TypeError: cannot pickle"), done.stderr


@needs_ray
@pytest.mark.skipif(not IS_FULL, reason="takes two minutes; BESTROUTE_FULL=1 runs it")
def test_ray_draws_and_judges_everything_once_though_a_node_is_killed(postgres):
    done = in_a_process(str(Path(__file__).with_name("ray_draws.py")), postgres.new_url())
    assert done.returncode == 0, done.stdout + done.stderr
