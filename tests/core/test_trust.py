"""What must never happen: a secret or a query where it does not belong, a crash without a sentence, code that runs."""

# ruff: noqa: PT017  (what may be refused may also be taken)

import json
import logging
import math
import pickle
import shutil
from types import SimpleNamespace

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bestroute import (
    ArtifactError,
    BestRoute,
    BestRouteError,
    Candidate,
    ConfigError,
    GenerationError,
    Ledger,
    OpenAIGenerator,
    Plan,
    Pool,
    Price,
    Query,
    RecordError,
    Sample,
    Settings,
    Step,
    Usage,
)
from bestroute.demo.dataset import ROUTER
from bestroute.errors.redaction import LONGEST, describe, redact
from bestroute.records.records import parse_record, read_records
from bestroute.router import MultiHeadRouter
from bestroute.testing import FakeGenerator
from bestroute.types.plans import as_plan

openai = pytest.importorskip("openai")

SECRETS = [
    "sk-proj-abcDEF123456ghiJKL",
    "sk-ant-api03-abcdef_123456",
    "AIzaSyA1234567890abcdefghij",
    "gsk_abcdefghijkl123456",
    "hf_abcdefghijklmnop",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
]
POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, "large")
FAST = Settings(first_wait_s=0.0)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "told", ["{}", "Incorrect API key provided: {}.", "Authorization: Bearer {}", '{{"key": "{}"}}']
)
def test_what_looks_like_a_secret_is_hidden(secret, told):
    assert secret not in redact(told.format(secret))


@pytest.mark.parametrize(
    ("told", "hidden"),
    [
        ("api_key=abcd1234efgh", "abcd1234efgh"),
        ("'x-api-key': 'abcd1234efgh'", "abcd1234efgh"),
        ("password: hunter22!", "hunter22!"),
        ("proxy http://me:hunter22@10.0.0.1:80 refused", "hunter22"),
        ("Authorization: Basic dXNlcjpodW50ZXIyMg==", "dXNlcjpodW50ZXIyMg=="),
        ("Bearer abcdefgh-token", "abcdefgh-token"),
        ("client_secret=abcd1234efgh", "abcd1234efgh"),
        ("refresh_token: abcd1234efgh", "abcd1234efgh"),
        ("https://host/v1?key=abcd1234efgh&alt=sse", "abcd1234efgh"),
        ("https://host/v1?alt=sse&sig=abcd1234efgh", "abcd1234efgh"),
        ("Ocp-Apim-Subscription-Key: abcd1234efgh", "abcd1234efgh"),
        ("Cookie: session=abcd1234efgh", "abcd1234efgh"),
    ],
)
def test_what_is_named_a_secret_is_hidden(told, hidden):
    assert hidden not in redact(told)


def test_what_is_no_secret_stays_readable():
    told = "RateLimitError: slow down, ask again in 2 s (model gpt-4o-mini at http://127.0.0.1:80/v1, token limit 100)"
    assert redact(told) == told
    assert len(redact("x" * 10_000)) == LONGEST


QUESTION = "My name is Ada Lovelace and my account number is 4711, what is my balance?"


def test_pieces_of_the_query_are_hidden_whole_or_cut_off():
    for quoted in (QUESTION, QUESTION[:40], QUESTION[:30] + "..."):
        assert "Ada" not in describe(RuntimeError(f"no answer for {quoted!r}"), Query(QUESTION))
    assert "secret" in redact("no secret here", Query("hi"))


LETTER = (
    'Dear doctor,\nmy name is "Ada Lovelace", I live at 12 St James\'s Square and my pass\u00e9 illness is private.\n'
    "My number is 4711-0815 and nobody must know."
)


@pytest.mark.parametrize(
    "quoted",
    [
        LETTER,
        repr(LETTER),
        json.dumps(LETTER),
        json.dumps(LETTER, ensure_ascii=False),
        str({"messages": [{"role": "user", "content": LETTER}]}),
        json.dumps(json.dumps({"prompt": LETTER})),
        "..." + LETTER[16:],
        "in the middle: " + LETTER[20:],
        LETTER.upper(),
        LETTER.lower(),
    ],
)
@pytest.mark.parametrize(
    "query",
    [
        Query(LETTER),
        Query("hi", context="x" * 100_000 + LETTER),
        Query("hi", messages=[{"role": "user", "content": LETTER}, {"role": "user", "content": "hi"}]),
        Query("hi", messages=[SimpleNamespace(content=[{"type": "text", "text": LETTER}])]),
        Query("hi", messages=[SimpleNamespace(blocks=[SimpleNamespace(text=LETTER)])]),
        Query(
            "hi", messages=[{"role": "assistant", "tool_calls": [{"function": {"arguments": json.dumps([LETTER])}}]}]
        ),
        Query("hi", messages=[SimpleNamespace(content="", tool_calls=[{"name": "send", "args": {"letter": LETTER}}])]),
    ],
)
def test_a_query_is_hidden_however_it_is_quoted_and_wherever_it_stands(quoted, query):
    told = describe(RuntimeError(f"no answer for {quoted} today"), query)
    for word in ("ada", "square", "private", "4711", "nobody"):
        assert word not in told.removesuffix(" today").lower()
    assert told.startswith("RuntimeError: no answer for ")
    assert told.endswith(" today")


@pytest.fixture
def leaky(tmp_path):
    """An engine whose members put their key and the query into every error."""
    told = f"key {SECRETS[0]} is wrong, asked {QUESTION}"
    members = {
        "small": FakeGenerator([RuntimeError(told)]),
        "large": FakeGenerator(["the answer"]),
    }
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    return BestRoute(POOL, members, lambda query: ("small", 1), ledger=ledger, settings=FAST)


def test_neither_secret_nor_query_is_in_ledger_log_metadata_or_file(leaky, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        result = leaky.run(Query(QUESTION, system="You are the bank's own assistant, be very discreet."))
    seen = [json.dumps(leaky.ledger.rows()), caplog.text, json.dumps(result.to_dict()), result.decision.reason]
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    for text in seen:
        assert SECRETS[0] not in text
        assert "Ada" not in text
        assert "discreet" not in text
    assert "RuntimeError" in leaky.ledger.rows()[0]["error"]


def test_no_secret_in_the_error_that_the_caller_sees(leaky):
    with pytest.raises(GenerationError) as caught:
        leaky.run(QUESTION, model="small")
    assert SECRETS[0] not in str(caught.value)
    assert caught.value.failures[0].error.args  # the member's own error is handed on as it is


class Jar(dict):
    def items(self):
        raise KeyError("*")


def test_what_a_member_holds_and_cannot_be_read_hides_neither_its_error_nor_its_key():
    member = FakeGenerator([RuntimeError("refused: abcd1234efgh")])
    member.cookies, member.api_key = Jar(), "abcd1234efgh"
    engine = BestRoute(POOL, {"small": member, "large": FakeGenerator(["the answer"])}, settings=FAST)
    with pytest.raises(GenerationError) as caught:
        engine.run("hi", model="small")
    assert isinstance(caught.value.failures[0].error, RuntimeError)
    assert engine.ledger.rows()[0]["error"] == "RuntimeError: refused: [hidden]"


def test_a_reason_that_is_no_text_ends_a_reply_like_any_other(server):
    server.script("small", [{"text": "fine", "finish_reason": ["stop"]}])
    engine = BestRoute(POOL, {m: OpenAIGenerator(m, base_url=server.base_url, api_key="k") for m in POOL.models})
    result = engine.run("hi", model="small")
    assert (result.text, result.samples[0].sample.finish_reason) == ("fine", "['stop']")
    engine.close()


def test_no_secret_in_a_repr_or_a_pickle_of_a_pool(server):
    member = OpenAIGenerator("small", base_url=server.base_url, api_key=SECRETS[0])
    engine = BestRoute(POOL, {"small": member, "large": member})
    engine.run("hi")
    for part in (engine, engine.generators["small"], engine.ledger, engine.pool, engine.settings, engine.route("hi")):
        assert SECRETS[0] not in repr(part)
    assert SECRETS[0].encode() not in pickle.dumps((engine.pool, engine.ledger, engine.route("hi").to_dict()))
    engine.close()


# Hostile input: every refusal is one sentence of ours.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@QUIET
@given(JSON, JSON, JSON)
def test_any_step_is_taken_or_refused_with_a_sentence(model, n, accept):
    try:
        step = Step(model, n, accept)
        plan = Plan((step, step))
    except ConfigError as error:
        assert str(error)
    else:
        assert plan.steps[0].n >= 1
        assert 0 <= plan.steps[0].accept <= 1


@QUIET
@given(JSON | st.tuples(JSON, JSON))
@example(("a", 2))
@example(["a", 2])
@example(("a", 0))
def test_whatever_a_router_function_returns_is_taken_or_refused_with_a_sentence(value):
    engine = BestRoute(POOL, {m: FakeGenerator([m]) for m in POOL.models}, router=lambda query: value)
    with pytest.raises(ConfigError):
        engine.run("hi")
    try:
        plan = as_plan(value)
    except ConfigError as error:
        assert str(error)
    else:  # a text, or a pair of a text and a number, is a plan of a model, of which only a pool knows whether it is
        model, n = (value, 1) if isinstance(value, str) else value
        assert plan == Plan.of(Candidate(model, n))


def record_like():
    numbers = st.lists(st.floats() | st.integers(-2, 5) | JSON, max_size=3) | JSON
    names = st.sampled_from(["quality", "text", "reward", "output_tokens", "cost_usd", "input_tokens", "x"])
    samples = st.dictionaries(st.sampled_from(["small", "large", ""]), st.dictionaries(names, numbers) | JSON) | JSON
    heads = {name: st.text(max_size=3) | JSON for name in ("id", "query", "group", "task")}
    return st.fixed_dictionaries({}, optional={**heads, "samples": samples, "other": JSON})


@QUIET
@given(record_like())
def test_any_record_is_read_or_refused_with_a_sentence(value):
    try:
        record = parse_record(value, "file line 7")
    except RecordError as error:
        assert str(error).startswith("file line 7: ")
    else:
        assert record.samples
        assert all(math.isfinite(q) for samples in record.samples.values() for q in samples.quality)


@QUIET
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | record_like().map(lambda r: repr(r).encode()))
def test_any_records_file_is_read_or_refused_with_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"records\.jsonl"):
        read_records(path)


def pool_like():
    names = ["input_price", "output_price", "bills_input", "default_output_tokens", "base_url", "max_tokens", "x"]
    member = st.dictionaries(st.sampled_from(names), JSON | st.integers(0, 3)) | JSON
    models = st.dictionaries(st.sampled_from(["small", "large", ""]), member) | JSON
    return st.fixed_dictionaries({}, optional={"reference": st.just("small") | JSON, "max_n": JSON, "models": models})


@QUIET
@given(pool_like().map(lambda value: yaml.safe_dump(value).encode()) | st.binary(max_size=100))
def test_any_pool_file_is_read_or_refused_with_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("pool") / "pool.yaml"
    path.write_bytes(data)
    try:
        pool = Pool.from_file(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert pool.reference in pool.models


# A saved router.


@pytest.fixture(scope="module")
def config():
    return json.loads((ROUTER / "router.json").read_text())


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROUTER, tmp_path / "router")
    return tmp_path / "router"


def mutate(value, path, new):
    """Return a copy of a JSON value with what stands at a path replaced, or dropped where ``new`` is ``...``."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = list(keys)[path[0] % len(value)]
    inner = mutate(value[key], path[1:], new)
    if isinstance(value, dict):
        return {k: inner if k == key else v for k, v in value.items() if not (k == key and inner is ...)}
    return [inner if k == key else v for k, v in enumerate(value) if not (k == key and inner is ...)]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), JSON | st.just(...))
def test_a_router_with_anything_changed_loads_or_is_refused_with_a_sentence(tmp_path_factory, config, path, new):
    folder = tmp_path_factory.mktemp("router") / "router"
    shutil.copytree(ROUTER, folder)
    changed = mutate(config, path, new)
    (folder / "router.json").write_text(json.dumps(None if changed is ... else changed))
    try:
        router = MultiHeadRouter.from_pretrained(folder)
        router.predict([Query("What is 2 + 2?")])
    except BestRouteError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("name", "value"), [("quality_range", [0.0]), ("settings", []), ("plans", [[]]), ("frozen", [1])]
)
def test_a_list_that_is_too_short_is_refused_with_a_sentence(folder, config, name, value):
    (folder / "router.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(ArtifactError, match=str(folder)):
        MultiHeadRouter.from_pretrained(folder)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_cut_off_files_are_refused_with_a_sentence(folder, share):
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ArtifactError, match=str(folder)):
            MultiHeadRouter.from_pretrained(folder)
        path.write_bytes(whole)
    MultiHeadRouter.from_pretrained(folder)


class Bomb:
    """Runs code where somebody unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_that_holds_code_runs_none(folder, tmp_path):
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
        with pytest.raises(ArtifactError):
            MultiHeadRouter.from_pretrained(folder)
        path.write_bytes(whole)
    (folder / "router.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    (folder / "router.py").write_text(f"open({str(tmp_path / 'boom')!r}, 'w')")
    MultiHeadRouter.from_pretrained(folder)
    assert not (tmp_path / "boom").exists()


# A server that answers anything.


def completion_like():
    message = st.fixed_dictionaries(
        {}, optional={"role": JSON, "content": st.text(max_size=5) | JSON, "tool_calls": JSON}
    )
    choice = st.fixed_dictionaries(
        {}, optional={"index": JSON, "message": message | JSON, "finish_reason": st.just("stop") | JSON}
    )
    details = st.fixed_dictionaries({}, optional={"cached_tokens": JSON, "reasoning_tokens": JSON}) | JSON
    usage = st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": st.integers(0, 9) | JSON,
            "completion_tokens": st.integers(0, 9) | JSON,
            "prompt_tokens_details": details,
            "completion_tokens_details": details,
        },
    )
    return st.fixed_dictionaries(
        {}, optional={"id": JSON, "choices": st.lists(choice | JSON, max_size=3) | JSON, "usage": usage | JSON}
    )


def answering(body, status=200):
    """A member whose server answers these bytes to everything."""
    member = OpenAIGenerator("small", api_key="k", native_n=True)
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=body))
    client = openai.OpenAI(api_key="k", max_retries=0, http_client=httpx.Client(transport=transport))
    member.without_retries = lambda: member
    member._sync = lambda: client
    return member


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given((completion_like() | JSON).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
@example(b'{"choices": [{"message": {"tool_calls": true}}]}')
@example(b'{"choices": [{"message": {"tool_calls": {"": null}}}]}')
@example(b'{"choices": [{"message": {"tool_calls": [{"id": "1", "type": "function"}]}}]}')
def test_whatever_a_server_answers_the_caller_gets_an_answer(body):
    members = {"small": answering(body), "large": FakeGenerator([Sample("fine", usage=Usage(1, 1))])}
    reward = lambda query, texts: [float(len(text)) for text in texts]  # noqa: E731
    engine = BestRoute(POOL, members, lambda query: ("small", 2), reward, settings=FAST)
    result = engine.run("hi")
    assert result.text
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert all(row["cost_usd"] >= 0 for row in engine.ledger.rows())


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(300, 599), JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
def test_whatever_a_server_refuses_with_the_caller_gets_an_answer_or_a_sentence(status, body):
    members = {"small": answering(body, status), "large": FakeGenerator(["fine"])}
    engine = BestRoute(POOL, members, lambda query: ("small", 1), settings=FAST)
    try:
        assert engine.run("hi").text == "fine"
    except GenerationError as error:
        assert 400 <= status < 500
        assert "another model would only hide it" in str(error)
