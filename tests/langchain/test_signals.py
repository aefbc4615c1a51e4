"""Signals of LangChain members: read from what each class hands on, asked for where a plan needs them; greedy first."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from pydantic import Field

from bestroute import LogprobConfidence, Plan, Settings, Step

CASCADE = Plan((Step("small", 1, accept=0.7), Step("large")))


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def cascade(make):
    def build(**options):
        return make(lambda query: CASCADE, reward_model=LogprobConfidence(), **options)

    return build


def sent_to(server, model):
    return [body for body in server.sent() if body["model"] == model]


def signals(told, message):
    return [sample["signals"] for sample in told(message)["samples"]]


# Reading.


class Noting(BaseChatModel):
    """Answers "84" with what a class notes beside it."""

    about: dict
    info: dict = Field(default_factory=dict)
    content: object = "84"
    logprobs: bool | None = None
    asked: list = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "noting"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append(kwargs)
        usage = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
        message = AIMessage(self.content, response_metadata=self.about, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=self.info)])


ENTRIES = [{"token": "8", "logprob": -0.25, "bytes": [56]}, {"token": "4", "logprob": -0.5, "bytes": [52]}]


@pytest.mark.parametrize(
    "noted",
    [
        {"about": {"logprobs": {"content": ENTRIES, "refusal": None}}},
        {"about": {}, "info": {"logprobs": {"content": ENTRIES}}},
        {"about": {"logprobs": ENTRIES}},
        {"about": {"logprobs_result": ENTRIES, "avg_logprobs": -9.0}},
        {"about": {"logprobs": {"tokens": ["8", "4"], "token_logprobs": [-0.25, -0.5]}}},
        {"about": {}, "content": [{"type": "text", "text": "84", "logprobs": ENTRIES, "annotations": []}]},
    ],
    ids=["chat", "generation_info", "ollama", "vertex", "completions", "responses"],
)
def test_what_classes_note_is_read(make, told, noted):
    members = {"small": Noting(**noted), "large": Noting(about={})}
    chat = make(lambda query: CASCADE, models=members, reward_model=LogprobConfidence(accept=0.4))
    message = chat.invoke("12 * 7?")
    assert signals(told, message) == [] or signals(told, message)[0] == {
        "sum_logprob": -0.75,
        "mean_logprob": -0.375,
        "min_logprob": -0.5,
        "logprob_share": 1.0,
        "tokens": 2,
        "mode": "sampled",
        "tools": None,
    }


def test_the_mean_of_gemini_is_that_of_the_tokens_billed(make, told):
    members = {"small": Noting(about={"avg_logprobs": -0.25}), "large": Noting(about={})}
    chat = make(lambda query: CASCADE, models=members, reward_model=LogprobConfidence())
    (one, *_) = signals(told, chat.invoke("12 * 7?"))
    assert (one["sum_logprob"], one["mean_logprob"], one["min_logprob"]) == (-0.5, -0.25, None)


class Streaming(Noting):
    """Streams its answer, each piece with what is noted of it."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for entry in ENTRIES:
            info = {"logprobs": {"content": [entry]}}
            yield ChatGenerationChunk(message=AIMessageChunk(entry["token"]), generation_info=info)
        end = AIMessageChunk("", chunk_position="last", response_metadata={"finish_reason": "stop"})
        yield ChatGenerationChunk(message=end)


def test_the_pieces_of_a_stream_are_one_answer(make, told, joined):
    members = {"small": Streaming(about={}), "large": Noting(about={})}
    message = joined(list(make(("small", 1), models=members).stream("12 * 7?")))
    assert message.text == "84"
    assert [s["sum_logprob"] for s in signals(told, message)] == [-0.75]


# Asking.


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_openais_class_is_asked_where_the_plan_reads_them_alone(cascade, server, told, how):
    server.script("small-mini", [{"text": "84 it", "logprobs": [-0.1, -0.2]}])
    chat = cascade()
    message = chat.invoke("12 * 7?") if how == "invoke" else await chat.ainvoke("12 * 7?")
    assert message.text == "84 it"
    (body,) = server.sent()
    assert body["logprobs"] is True
    assert signals(told, message)[0]["sum_logprob"] == pytest.approx(-0.3)


def test_a_member_that_is_always_streamed_is_asked_and_read_too(cascade, server, told, openai_model):
    server.script("small-mini", [{"text": "84 it", "logprobs": [-0.1, -0.2]}])
    members = {"small": openai_model("small-mini", streaming=True), "large": openai_model("large-max")}
    message = cascade(models=members).invoke("12 * 7?")
    assert message.text == "84 it"
    assert signals(told, message)[0]["logprob_share"] == 1.0


def test_a_call_without_a_need_sends_what_it_always_sent(make, server, openai_model):
    make(("small", 1), reward_model=LogprobConfidence()).invoke("12 * 7?")
    openai_model("small-mini").invoke("12 * 7?")
    ours, alone = server.sent()
    assert ours == alone


def test_ollamas_own_protocol_is_asked_and_read(make, server, told):
    langchain_ollama = pytest.importorskip("langchain_ollama")
    small = langchain_ollama.ChatOllama(model="small", base_url=server.root_url, temperature=0.8)
    server.script("small", [{"text": "84 it", "logprobs": [-0.1, -0.2]}])
    chat = make(
        lambda query: CASCADE, models={"small": small, "large": Noting(about={})}, reward_model=LogprobConfidence()
    )
    message = chat.invoke("12 * 7?")
    (body,) = server.sent("/api/chat")
    assert (body["logprobs"], body["options"]["temperature"]) == (True, 0.0)
    (one,) = signals(told, message)
    assert (one["sum_logprob"], one["mode"]) == (pytest.approx(-0.3), "greedy")


def test_vertexs_class_is_asked_by_its_field(make, told):
    class Vertex(Noting):
        __module__ = "langchain_google_vertexai.chat_models"

        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            assert "logprobs" not in kwargs
            self.about = {"logprobs_result": ENTRIES} if self.logprobs else {}
            return super()._generate(messages, stop, run_manager, **kwargs)

    small = Vertex(about={})
    chat = make(
        lambda query: CASCADE,
        models={"small": small, "large": Noting(about={})},
        reward_model=LogprobConfidence(accept=0.4),
    )
    assert signals(told, chat.invoke("12 * 7?"))[0]["sum_logprob"] == -0.75
    assert small.logprobs is None


def test_anthropics_class_is_never_asked(make, server, told):
    langchain_anthropic = pytest.importorskip("langchain_anthropic")
    claude = langchain_anthropic.ChatAnthropic(model="claude", base_url=server.root_url, api_key="k", max_tokens=50)
    members = {"small": claude, "large": Noting(about={})}
    message = make(lambda query: CASCADE, models=members, reward_model=LogprobConfidence()).invoke("12 * 7?")
    (body,) = server.sent("/v1/messages")
    assert not any("logprob" in name for name in body)
    assert "1 of 1 samples of 'small' came with no log-probability of each token" in told(message)["reason"]


@pytest.mark.parametrize(
    "options",
    [
        {"model": "o3-mini"},
        {"model": "gpt-5-nano"},
        {"model": "deepseek-reasoner"},
        {"model": "some", "reasoning_effort": "low"},
        {"model": "some", "use_responses_api": True},
        {"model": "some", "logprobs": False},
    ],
)
def test_who_cannot_give_them_is_never_asked(cascade, server, openai_model, told, options):
    members = {"small": openai_model(**options), "large": openai_model("large-max")}
    message = cascade(models=members).invoke("12 * 7?")
    bodies = [*server.sent(), *server.sent("/responses")]
    assert all(not body.get("logprobs") and not body.get("include") for body in bodies)
    assert told(message)["model"] == "large"


def test_a_server_that_refuses_them_is_asked_once_more_without_and_never_again(cascade, server, openai_model):
    members = {"small": openai_model("refuse-logprobs-small"), "large": openai_model("large-max")}
    chat = cascade(models=members)
    for _ in range(3):
        assert chat.invoke("12 * 7?").response_metadata["model_name"] == "large-max"
    assert [b.get("logprobs") for b in sent_to(server, "refuse-logprobs-small")] == [True, None, None, None]


def test_a_class_whose_method_takes_no_such_argument_is_asked_once_more_without(make, told):
    class Strict(Noting):
        def _generate(self, messages, stop=None, run_manager=None):
            return super()._generate(messages, stop)

    members = {"small": Strict(about={}), "large": Noting(about={})}
    message = make(lambda query: CASCADE, models=members, reward_model=LogprobConfidence()).invoke("12 * 7?")
    assert told(message)["samples"][0]["error"] is None


def test_a_tool_call_without_log_probabilities_is_unknown_and_offered_natively(cascade, server, told):
    chat = cascade().bind_tools([add])
    message = chat.invoke('CALL add({"a": 2, "b": 3})')
    one = signals(told, message)[0]
    assert (one["sum_logprob"], one["tools"]) == (None, "native")
    assert message.response_metadata["bestroute"]["model"] == "large"


# Greedy first.


def temperatures(server):
    return Counter(body.get("temperature") for body in server.sent())


@pytest.fixture
def warm(openai_model):
    return {
        "small": openai_model("small-mini", temperature=0.8),
        "large": openai_model("large-max", temperature=0.8),
    }


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
async def test_the_first_of_n_is_greedy(make, server, told, joined, warm, how):
    chat = make(("small", 3), models=warm)
    if how == "invoke":
        message = chat.invoke("hi")
    elif how == "ainvoke":
        message = await chat.ainvoke("hi")
    else:
        message = joined(list(chat.stream("hi")))
    assert temperatures(server) == {0.0: 1, 0.8: 2}
    assert [s["mode"] for s in signals(told, message)] == ["greedy", "sampled", "sampled"]


def test_choices_of_one_request_are_one_greedy_and_the_rest(make, server, warm):
    settings = Settings(greedy_first="always")
    message = make(("small", 3), models=warm, bills_input="once", settings=settings).invoke("hi")
    assert Counter((b.get("n") or 1, b["temperature"]) for b in server.sent()) == {(1, 0.0): 1, (2, 0.8): 1}
    billed = sum(bill.input_tokens for bill in server.bills)
    assert message.usage_metadata["input_tokens"] == billed == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda make, warm: make(("small", 3), models=warm, temperature=0.8).invoke("hi"),
        lambda make, warm: make(("small", 3), models=warm).invoke("hi", temperature=0.8),
        lambda make, warm: make(("small", 3), models=warm).bind(temperature=0.8).invoke("hi"),
        lambda make, warm: make(("small", 3), models=warm, model_kwargs={"temperature": 0.8}).invoke("hi"),
        lambda make, warm: make(("small", 3), models=warm, settings=Settings(greedy_first=False)).invoke("hi"),
    ],
    ids=["constructor", "call", "bind", "model_kwargs", "setting"],
)
def test_a_caller_who_sets_the_temperature_has_it_in_every_draw(make, server, warm, call):
    call(make, warm)
    assert temperatures(server) == {0.8: 3}


def test_a_member_bound_to_a_temperature_has_it_from_the_second_draw_on(make, server, openai_model):
    members = {"small": openai_model("small-mini").bind(temperature=0.7), "large": openai_model("large-max")}
    make(("small", 3), models=members).invoke("hi")
    assert temperatures(server) == {0.0: 1, 0.7: 2}


def test_one_draw_is_what_the_member_does_alone(make, server, warm):
    make(("small", 1), models=warm).invoke("hi")
    warm["small"].invoke("hi")
    ours, alone = server.sent()
    assert ours == alone


@pytest.mark.parametrize(
    "options", [{"model": "o3-mini"}, {"model": "reasoning-small"}, {"model": "some", "reasoning_effort": "low"}]
)
def test_models_that_reason_are_never_asked_for_it(make, server, openai_model, options):
    make(("small", 2), models={"small": openai_model(**options), "large": openai_model("large-max")}).invoke("hi")
    assert all("temperature" not in body for body in server.sent())


def test_a_member_bound_to_reasoning_is_never_asked_for_it(make, server, openai_model):
    members = {"small": openai_model("some").bind(reasoning_effort="low"), "large": openai_model("large-max")}
    make(("small", 2), models=members).invoke("hi")
    assert all("temperature" not in body for body in server.sent())


def test_a_thinking_claude_keeps_its_temperature(make, server):
    langchain_anthropic = pytest.importorskip("langchain_anthropic")
    claude = langchain_anthropic.ChatAnthropic(
        model="claude",
        base_url=server.root_url,
        api_key="k",
        max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    make(("small", 2), models={"small": claude, "large": Noting(about={})}).invoke("hi")
    assert all("temperature" not in body for body in server.sent("/v1/messages"))


def test_a_claude_that_does_not_think_draws_greedily_first(make, server, told):
    langchain_anthropic = pytest.importorskip("langchain_anthropic")
    claude = langchain_anthropic.ChatAnthropic(model="claude", base_url=server.root_url, api_key="k", max_tokens=50)
    message = make(("small", 2), models={"small": claude, "large": Noting(about={})}).invoke("hi")
    assert Counter(body.get("temperature") for body in server.sent("/v1/messages")) == {0.0: 1, None: 1}
    assert [s["mode"] for s in signals(told, message)] == ["greedy", "sampled"]


def test_a_member_that_refuses_it_keeps_its_own_and_is_not_asked_again(make, server, told, openai_model):
    members = {"small": openai_model("refuse-temperature-small"), "large": openai_model("large-max")}
    chat = make(("small", 2), models=members)
    for _ in range(2):
        assert [s["mode"] for s in signals(told, chat.invoke("hi"))] == ["sampled", "sampled"]
    assert temperatures(server) == {0.0: 1, None: 4}


def test_a_class_without_a_temperature_is_asked_as_ever(make):
    small = Noting(about={})
    make(("small", 2), models={"small": small, "large": Noting(about={})}).invoke("hi")
    assert small.asked == [{}, {}]


def test_the_metadata_is_plain_json(cascade, told):
    message = cascade().invoke("12 * 7?")
    assert json.loads(json.dumps(told(message))) == told(message)
