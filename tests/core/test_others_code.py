"""What others' code raises, holds and returns costs no answer and no bill, and is told without what it quotes."""

import asyncio
import functools
import gzip
import itertools
import json
import math
import threading
import traceback
from urllib.parse import quote

import httpx
import numpy as np
import pydantic
import pytest

from bestroute import (
    BestRoute,
    ConfigError,
    Delta,
    GenerationError,
    MajorityVote,
    Plan,
    Pool,
    Price,
    Query,
    Sample,
    Step,
    Usage,
    Verifier,
)
from bestroute.errors import RecordError
from bestroute.errors.held_secrets import keep_hidden
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.records.collect import collect, load_checker, read_prompts
from bestroute.records.jsonl import read_jsonl
from bestroute.testing import FakeGenerator, FakeRouter

POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, "large")
QUESTION = "Please wire 5000 euro to Ada Lovelace at number four Privet Drive and tell nobody about it"
WORDS = ("lovelace", "privet", "nobody")


def quotes(text):
    return any(word in text.lower() for word in WORDS)


def engine(small, *, reward=None, plan=("small", 1), **options):
    members = {"small": small, "large": FakeGenerator(["large"], usage=Usage(1, 1))}
    return BestRoute(POOL, members, lambda query: plan, reward, **options)


class Raising:
    native_n = True

    def __init__(self, error):
        self.error = error

    def generate(self, query, n, *, params, cancel):
        raise self.error


class Mute(Exception):
    def __str__(self):
        raise SystemExit(3)


class WithBody(Exception):
    def __init__(self, body):
        super().__init__("x")
        self.body = body


def nested():
    body = []
    for _ in range(100_000):
        body = [body]
    return body


class Unshown:
    def __repr__(self):
        raise ValueError


class NoArguments(Exception):
    @property
    def args(self):
        raise OSError


@pytest.mark.parametrize(
    "error",
    [
        Mute(),
        WithBody({"of more digits than Python writes": 10**5000}),
        WithBody({"deep": nested()}),
        RuntimeError(Unshown()),
        NoArguments("x"),
    ],
    ids=["mute", "digits", "deep", "unshown", "no arguments"],
)
def test_an_error_that_cannot_be_looked_at_costs_no_answer(error):
    it = engine(Raising(error))
    assert it.run("hi").text == "large"
    assert asyncio.run(it.arun("hi")).text == "large"
    with pytest.raises(GenerationError):
        it.run("hi", model="small")


class Calculated(Exception):
    def __init__(self):
        super().__init__("x")
        self.body = {"error": [{"message": QUESTION}]}

    def __str__(self):
        return f"refused: {self.body}"


class Number(pydantic.BaseModel):
    number: int


def of_pydantic():
    try:
        Number(number=QUESTION)
    except ValueError as error:
        return error


def of_syntax():
    try:
        compile(QUESTION, "answer", "eval")
    except SyntaxError as error:
        return error


def far_down():
    error = RuntimeError(QUESTION)
    for _ in range(60):
        outer = RuntimeError("outer")
        outer.__cause__, error = error, outer
    return error


@pytest.mark.parametrize(
    "make",
    [
        Calculated,
        of_pydantic,
        of_syntax,
        far_down,
        lambda: FileNotFoundError(2, "no such file", QUESTION),
        lambda: ExceptionGroup(QUESTION, [RuntimeError("x")]),
        lambda: RuntimeError(quote(QUESTION)),
        lambda: RuntimeError(QUESTION.replace(" ", "&nbsp;")),
    ],
)
@pytest.mark.parametrize("model", [None, "small"])
def test_no_traceback_quotes_what_an_error_calculates_or_holds(make, model):
    members = {"small": Raising(make()), "large": Raising(RuntimeError("no"))}
    it = BestRoute(POOL, members, lambda query: ("small", 1))
    with pytest.raises(GenerationError) as caught:
        it.run(QUESTION, model=model)
    assert not quotes("".join(traceback.format_exception(caught.value)))
    assert not quotes(json.dumps(it.ledger.rows()))


def test_letters_beyond_ascii_are_found_in_a_url():
    question = "Überweise bitte fünftausend Euro für Zoë"
    told = describe(RuntimeError(f"GET /search?q={quote(question)} failed"), Query(question))
    assert told == "RuntimeError: GET /search?q=[hidden] failed"


class Held:
    def __init__(self, **held):
        self.__dict__.update(held)


class Slotted:
    __slots__ = ("__weakref__", "api_key")

    def __init__(self, api_key):
        self.api_key = api_key


SECRET = "4cabbage-moon"


@pytest.mark.parametrize(
    "holder",
    [
        lambda: Held(base_url=f"https://ann:{SECRET}@host/v1"),
        lambda: Held(base_url=httpx.URL(f"https://host/v1?api_key={SECRET}")),
        lambda: Held(proxy=f"http://ann:{SECRET}@proxy:3128"),
        lambda: Held(http_client=httpx.Client(auth=("ann", SECRET))),
        lambda: Held(client=Held(auth=("ann", SECRET))),
        lambda: Slotted(SECRET),
    ],
)
def test_keys_in_addresses_connections_and_slots_are_hidden_by_value(holder):
    assert SECRET in describe(RuntimeError(f"who is {SECRET}?"))
    held = holder()
    keep_hidden([held])
    assert SECRET not in describe(RuntimeError(f"who is {SECRET}?"))


def test_a_key_is_hidden_however_many_other_members_there_are():
    others = [Held(parts=[Held(number=i) for i in range(2_500)]) for _ in range(2)]
    held = Held(api_key=SECRET)
    keep_hidden([*others, held])
    assert SECRET not in describe(RuntimeError(f"who is {SECRET}?"))


def test_no_half_of_a_key_is_left_where_a_long_error_is_cut():
    held = Held(api_key=SECRET)
    keep_hidden([held])
    for cut in range(1, len(SECRET)):
        whole = "RuntimeError: " + (QUESTION * 30)[: 2000 - 14 - cut] + SECRET
        told = describe(RuntimeError(whole.removeprefix("RuntimeError: ")), Query(QUESTION))
        assert told == "RuntimeError: [hidden]" or not told.endswith(SECRET[:4])


def test_a_long_query_is_read_once_however_many_texts_may_quote_it(monkeypatch):
    from bestroute.errors import quotations

    read = []
    monkeypatch.setattr(quotations, "_letters", lambda text, of=quotations._letters: read.append(len(text)) or of(text))
    query = Query(QUESTION * 100)
    error = hide_quotations(RuntimeError(*[f"it said: {QUESTION}"] * 30), query)
    assert not quotes(str(error))
    assert not quotes(describe(RuntimeError(QUESTION), query))
    assert len(read) == 1


class Broken:
    native_n = True

    def generate(self, query, n, *, params, cancel):
        return [Sample("whole", usage=Usage(1, 1))]

    def stream(self, query, *, params, cancel):
        try:
            yield Delta("")
            yield 7
        finally:
            raise OSError("cannot be closed")


def test_a_stream_that_cannot_be_closed_is_a_failure_like_others():
    it = engine(Broken())
    assert list(it.stream("hi"))[-1].text == "large"
    assert [row["status"] for row in it.ledger.rows()] == ["failed", "ok"]


class Endless:
    range = (0.0, 1.0)

    def score(self, query, texts):
        return itertools.repeat(0.9)


@pytest.mark.parametrize("options", [{}, {"deadline_s": 20}])
def test_rewards_without_end_are_too_many(options):
    it = engine(FakeGenerator(["a", "b"]), reward=Endless(), plan=Plan((Step("small", 1, 0.5), Step("large"))))
    with pytest.raises(ConfigError, match="given 1 texts and returned 2 rewards"):
        it.run("hi", **options)
    with pytest.raises(ConfigError, match="given 1 texts and returned 2 rewards"):
        asyncio.run(it.arun("hi", **options))


class Full:
    """A ledger that raises once."""

    def __init__(self, error):
        self.error, self.written = error, []

    def add(self, rows):
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.written += rows


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_rows_that_a_ledger_did_not_take_are_written_when_the_engine_is_closed(error):
    it = engine(FakeGenerator(["a"]), ledger=Full(error))
    try:
        it.run("hi")
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    it.close()
    assert len(it.ledger.written) == 1


def test_rows_that_wait_are_written_by_aclose():
    async def both():
        it = engine(FakeGenerator(["a"]), ledger=Full(OSError("full")))
        await it.arun("hi")
        await it.aclose()
        return it.ledger.written

    assert len(asyncio.run(both())) == 1


@pytest.mark.parametrize("options", [{}, {"deadline_s": 20}])
def test_a_system_without_threads_costs_neither_a_decision_nor_a_row(monkeypatch, options):
    start = threading.Thread.start

    def refuse(self):
        if self.name.startswith("bestroute"):
            raise RuntimeError("can't start new thread")
        start(self)

    class Quick(FakeGenerator):
        async def agenerate(self, query, n, *, params, cancel):
            return self.generate(query, n, params=params, cancel=cancel)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    it = engine(Quick(["a"]), ledger=Full(None))
    assert asyncio.run(it.arun("hi", **options)).text == "a"
    monkeypatch.undo()
    it.close()
    assert len(it.ledger.written) == 1


# Collecting.


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{i}", "query": f"What is {i}?"}) + "\n" for i in range(6)))
    return read_prompts(path)


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), GenerationError("x")])
def test_a_checker_that_raises_anything_loses_no_sample(prompts, tmp_path, error):
    def checker(prompt, text):
        raise error

    members = {model: FakeGenerator(["a"] * 6) for model in POOL.models}
    with pytest.raises(ConfigError, match=rf"the checker failed on prompt 'q\d' \({type(error).__name__}"):
        collect(prompts, POOL, members, tmp_path / "out.jsonl", n=1, checker=checker, concurrency=3)
    kept = sum(len(m["quality"]) for _, r in read_jsonl(tmp_path / "out.jsonl") for m in r["samples"].values())
    assert kept == sum(len(member.calls) for member in members.values()) > 0


class Odd(Usage):
    def __post_init__(self):
        pass


@pytest.mark.parametrize("usage", [Odd(np.int64(3), np.int64(2)), Odd(float("nan"), 1), "many"])
def test_a_usage_of_no_use_loses_no_sample_that_was_paid(prompts, tmp_path, usage):
    class Member:
        native_n = True

        def generate(self, query, n, *, params, cancel):
            return [Sample("a", usage=usage)]

    done = collect(prompts, POOL, dict.fromkeys(POOL.models, Member()), tmp_path / "out.jsonl", n=1)
    assert (done.drawn, done.missing, done.failures) == (12, 0, ())


# Files.


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": [' + b"[]," * 1_000_001 + b"1]}\n", "more than 250000 values"),
        (b"\n" * 200_000, "empty lines in a row"),
    ],
)
def test_a_small_file_that_stands_for_much_is_refused(tmp_path, line, problem):
    path = tmp_path / "records.jsonl.gz"
    path.write_bytes(gzip.compress(line))
    with pytest.raises(RecordError, match=problem):
        list(read_jsonl(path))


def test_an_error_shows_the_beginning_of_a_long_id(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text((json.dumps({"id": "i" * 10**5, "query": "q"}) + "\n") * 2)
    with pytest.raises(RecordError) as caught:
        read_prompts(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("tagged", ["!!timestamp nonsense", "!!bool nonsense", "!!float nonsense", "!!int nonsense"])
def test_a_tag_of_no_sense_in_a_pool_is_refused(tmp_path, tagged):
    path = tmp_path / "pool.yaml"
    path.write_text(f"reference: {tagged}\nmodels: {{}}\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        Pool.from_file(path)


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration("end"), asyncio.CancelledError()], ids=repr)
def test_an_error_in_a_sample_is_one_that_can_be_raised_anywhere(error):
    small = FakeGenerator([Sample("", error=error)])
    it = engine(small)
    with pytest.raises(GenerationError) as caught:
        it.run("hi", model="small")
    assert isinstance(caught.value.failures[0].error, GenerationError)
    assert caught.value.failures[0].error.__cause__ is error


# Async functions where plain ones are called, numbers of numpy, probabilities that are none.


async def anything(*args):
    return 1.0


class Async:
    native_n = False
    generate = score = choose = predict = anything


def plain(query, texts):
    return [1.0] * len(texts)


MEMBERS = {"small": FakeGenerator(["small"]), "large": FakeGenerator(["large"])}
ASYNC = {
    "router": lambda: BestRoute(POOL, MEMBERS, anything),
    "router.predict": lambda: BestRoute(POOL, MEMBERS, Async()),
    "policy.choose": lambda: BestRoute(POOL, MEMBERS, FakeRouter({("small", 1): 1.0}, [1, 1]), policy=Async()),
    "reward_model": lambda: BestRoute(POOL, MEMBERS, reward_model=anything),
    "reward_model: Async.score": lambda: BestRoute(POOL, MEMBERS, reward_model=Async()),
    "Verifier: fn": lambda: Verifier(anything),
    "MajorityVote: normalise": lambda: MajorityVote(anything),
    "judge": lambda: BestRoute(POOL, MEMBERS, audit=1.0, judge=anything),
    "on_alarm": lambda: BestRoute(POOL, MEMBERS, audit=1.0, judge=plain, on_alarm=anything),
    "generators: 'small'.generate": lambda: BestRoute(POOL, {**MEMBERS, "small": Async()}),
}


@pytest.mark.parametrize("what", ASYNC)
def test_an_async_function_that_nobody_would_await_is_refused_at_construction(what):
    with pytest.raises(ConfigError, match=f"^{what} is an async function"):
        ASYNC[what]()


class CalledAsync:
    """Can be awaited, too, where it is called in another way."""

    async def __call__(self, query):
        return "small"


class PredictsPlainly(CalledAsync, FakeRouter):
    pass


def test_an_async_object_is_found_within_what_wraps_it():
    with pytest.raises(ConfigError, match="^router is an async function"):
        BestRoute(POOL, MEMBERS, functools.partial(CalledAsync()))


def test_of_a_router_only_what_is_called_has_to_be_plain():
    router = PredictsPlainly({("small", 1): 1.0, ("large", 1): 1.0}, [1, 1])
    assert BestRoute(POOL, MEMBERS, router).run("hi").text == "small"


def test_an_async_checker_is_refused(tmp_path, monkeypatch):
    (tmp_path / "checks_async.py").write_text("async def check(record, text):\n    return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="is an async function"):
        load_checker("checks_async:check")


def test_a_router_may_say_how_many_samples_in_numpys_numbers():
    routed = engine(FakeGenerator(["small"]), reward=plain, plan=("small", np.argmax([0, 0, 1]))).run("hi")
    assert json.loads(json.dumps(routed.to_dict()))["n"] == 2
    assert Step("small", np.int64(2), accept=np.float32(0.5)) == Step("small", 2, accept=0.5)


class Declared:
    """Says that it is a probability."""

    range = (0.0, 1.0)

    def __init__(self, value):
        self.value = value

    def score(self, query, texts):
        return [self.value] * len(texts)


@pytest.mark.parametrize("value", [8.0, math.inf, -1.0])
def test_what_is_no_probability_is_not_accepted(value):
    plan = Plan((Step("small", 1, accept=0.0), Step("large", 1)))
    result = engine(FakeGenerator(["small"]), reward=Declared(value), plan=plan).run("hi")
    assert f"probabilities must be in [0, 1], got {value:g}" in result.decision.reason
    assert result.model == "large"


def test_a_probability_that_was_rounded_up_is_one():
    plan = Plan((Step("small", 1, accept=1.0), Step("large", 1)))
    assert engine(FakeGenerator(["small"]), reward=Declared(1.0000001), plan=plan).run("hi").model == "small"
