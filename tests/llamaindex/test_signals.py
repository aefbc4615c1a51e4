"""Signals of LlamaIndex members: read from what each hands on, asked for where a plan needs them; greedy first."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from llama_index.core.base.llms.types import LogProb
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from pydantic import Field

from bestroute import LogprobConfidence, Plan, Settings, Step
from bestroute.testing import FakeGenerator

CASCADE = Plan((Step("small", 1, accept=0.7), Step("large")))
ENTRIES = [{"token": "8", "logprob": -0.25}, {"token": "4", "logprob": -0.5}]
WHOLE = (-0.75, -0.375, -0.5, 1.0, 2)


@pytest.fixture
def cascade(make):
    return lambda **options: make(lambda query: CASCADE, reward_model=LogprobConfidence(), **options)


def signals(told, response):
    return [sample["signals"] for sample in told(response)["samples"]]


def numbers(one):
    return tuple(one[name] for name in ("sum_logprob", "mean_logprob", "min_logprob", "logprob_share", "tokens"))


class Noting(CustomLLM):
    """Answers "84" with what an integration hands on beside it."""

    raw: object = None
    logprobs_told: object = None
    usage: dict = Field(default_factory=lambda: {"prompt_tokens": 9, "completion_tokens": 2})

    @property
    def metadata(self):
        return LLMMetadata(is_chat_model=True)

    @llm_chat_callback()
    def chat(self, messages, **kwargs):
        message = ChatMessage(role="assistant", content="84")
        return ChatResponse(
            message=message, raw=self.raw, logprobs=self.logprobs_told, additional_kwargs=dict(self.usage)
        )

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **kwargs):
        usage = dict(self.usage)
        return CompletionResponse(text="84", raw=self.raw, logprobs=self.logprobs_told, additional_kwargs=usage)

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **kwargs):
        yield CompletionResponse(text="84", delta="84")


def log_prob(token, logprob):
    return LogProb(token=token, logprob=logprob, bytes=[])


@pytest.mark.parametrize(
    "noted",
    [
        {"raw": {"choices": [{"logprobs": {"content": ENTRIES}}]}},
        {"raw": SimpleNamespace(choices=[SimpleNamespace(logprobs=SimpleNamespace(content=ENTRIES))])},
        {"raw": {"choices": [{"logprobs": {"tokens": ["8", "4"], "token_logprobs": [-0.25, -0.5]}}]}},
        {"raw": {"logprobs": ENTRIES}},
        {"raw": {"candidates": [{"logprobs_result": {"chosen_candidates": ENTRIES}, "avg_logprobs": -9.0}]}},
        {"raw": {"output": [{"content": [{"type": "output_text", "logprobs": ENTRIES}]}]}},
        {"logprobs_told": [[log_prob("8", -0.25)], [log_prob("4", -0.5)]]},
        {"logprobs_told": [[log_prob("9", -0.1), log_prob("8", -0.25)], [log_prob("4", -0.5), log_prob("3", -0.9)]]},
    ],
    ids=["chat", "objects", "completions", "ollama", "gemini", "responses", "alternatives of one", "alternatives"],
)
@pytest.mark.parametrize("method", ["chat", "complete"])
def test_what_integrations_hand_on_is_read(make, told, user, noted, method):
    models = {"small": Noting(**noted), "large": Noting()}
    llm = make(lambda query: CASCADE, models=models, reward_model=LogprobConfidence(accept=0.4))
    response = llm.chat(user("12 * 7?")) if method == "chat" else llm.complete("12 * 7?")
    assert numbers(signals(told, response)[0]) == WHOLE
    assert told(response)["model"] == "small" or told(response)["samples"][0]["reward"] < 0.7


def test_alternatives_of_which_none_continues_the_text_are_unknown(make, told, user):
    models = {"small": Noting(logprobs_told=[[log_prob("9", -0.1), log_prob("7", -0.2)]] * 2), "large": Noting()}
    llm = make(lambda query: CASCADE, models=models, reward_model=LogprobConfidence())
    response = llm.chat(user("12 * 7?"))
    assert signals(told, response)[0]["sum_logprob"] is None
    assert told(response)["model"] == "large"


# Asking.


@pytest.mark.parametrize("how", ["chat", "achat", "complete"])
async def test_openais_class_is_asked_where_the_plan_reads_them_alone(cascade, server, told, user, how):
    server.script("small-mini", [{"text": "84 it", "logprobs": [-0.1, -0.2]}])
    llm = cascade()
    if how == "complete":
        response = llm.complete("12 * 7?")
    else:
        response = llm.chat(user("12 * 7?")) if how == "chat" else await llm.achat(user("12 * 7?"))
    (body,) = server.sent()
    assert body["logprobs"] is True
    (one,) = signals(told, response)
    assert (one["sum_logprob"], one["mode"]) == (pytest.approx(-0.3), "greedy")


def test_a_stream_is_read_too(make, like, server, told, user):
    server.script("small-mini", [{"text": "84 it is", "logprobs": [-0.1, -0.2, -0.3]}])
    models = {"small": like("small-mini", logprobs=True), "large": like("large-max")}
    last = list(make(("small", 1), models=models).stream_chat(user("12 * 7?")))[-1]
    (one,) = signals(told, last)
    assert (one["sum_logprob"], one["tokens"], one["mode"]) == (pytest.approx(-0.6), 3, "sampled")


def test_each_of_n_choices_has_its_own(make, like, server, told, user):
    server.script("small-mini", [{"text": "a", "logprobs": [-0.1]}, {"text": "b c", "logprobs": [-0.2, -0.3]}])
    models = {"small": like("small-mini", logprobs=True), "large": like("large-max")}
    response = make(("small", 2), models=models, bills_input="once").chat(user("hi"))
    assert [s["sum_logprob"] for s in signals(told, response)] == [-0.1, -0.5]


def test_a_call_without_a_need_sends_what_it_always_sent(make, like, server, user):
    make(("small", 1), reward_model=LogprobConfidence()).chat(user("12 * 7?"))
    like("small-mini").chat(user("12 * 7?"))
    ours, alone = server.sent()
    assert ours == alone


def test_openais_responses_are_asked_beside_what_they_include_already(cascade, like, server, user):
    from llama_index.llms.openai import OpenAIResponses

    about = {"model": "gpt-4o-mini", "api_base": server.base_url, "api_key": "sk-secret"}
    small = OpenAIResponses(**about, include=["file_search_call.results"])
    cascade(models={"small": small, "large": like("large-max")}).chat(user("12 * 7?"))
    (body,) = server.sent("/responses")
    assert body["include"] == ["file_search_call.results", "message.output_text.logprobs"]
    assert small.include == ["file_search_call.results"]


@pytest.mark.parametrize(
    "options", [{"model": "o3-mini"}, {"model": "deepseek-reasoner"}, {"model": "some", "logprobs": False}]
)
def test_who_cannot_give_them_is_never_asked(cascade, like, server, told, user, options):
    models = {"small": like(**options), "large": like("large-max")}
    response = cascade(models=models).chat(user("12 * 7?"))
    assert all(not body.get("logprobs") for body in server.sent())
    assert told(response)["model"] == "large"
    assert "1 of 1 samples of 'small' came with no log-probability of each token" in told(response)["reason"]


def test_anthropics_and_ollamas_classes_are_never_asked(cascade, server, told, user):
    anthropic = pytest.importorskip("llama_index.llms.anthropic")
    ollama = pytest.importorskip("llama_index.llms.ollama")
    small = anthropic.Anthropic(model="claude-3-5-haiku-latest", base_url=server.root_url, api_key="k", max_tokens=50)
    large = ollama.Ollama(model="llama", base_url=server.root_url, context_window=8000)
    response = cascade(models={"small": small, "large": large}).chat(user("12 * 7?"))
    bodies = [*server.sent("/v1/messages"), *server.sent("/api/chat")]
    assert len(bodies) == 2
    assert not any("logprob" in name for body in bodies for name in body)
    assert told(response)["model"] == "large"


@pytest.mark.parametrize("how", ["chat", "achat"])
async def test_a_server_that_refuses_them_is_asked_once_more_without_and_never_again(
    cascade, like, server, told, user, how
):
    llm = cascade(models={"small": like("refuse-logprobs-small"), "large": like("large-max")})
    for _ in range(2):
        response = llm.chat(user("?")) if how == "chat" else await llm.achat(user("?"))
        assert told(response)["model"] == "large"
    bodies = [body for body in server.sent() if body["model"].startswith("refuse")]
    assert [body.get("logprobs") for body in bodies] == [True, None, None]


# Greedy first.


def temperatures(server, path="/chat/completions"):
    return Counter(body.get("temperature") for body in server.sent(path))


@pytest.fixture
def warm(like):
    return {"small": like("small-mini", temperature=0.8), "large": like("large-max", temperature=0.8)}


@pytest.mark.parametrize("how", ["chat", "achat", "stream_chat", "complete"])
async def test_the_first_of_n_is_greedy(make, server, told, user, warm, how):
    llm = make(("small", 3), models=warm)
    if how == "chat":
        response = llm.chat(user("hi"))
    elif how == "achat":
        response = await llm.achat(user("hi"))
    elif how == "complete":
        response = llm.complete("hi")
    else:
        response = list(llm.stream_chat(user("hi")))[-1]
    assert temperatures(server) == {0.0: 1, 0.8: 2}
    assert [s["mode"] for s in signals(told, response)] == ["greedy", "sampled", "sampled"]


def test_always_makes_choices_of_one_request_one_greedy_and_the_rest(make, server, user, warm):
    llm = make(("small", 3), models=warm, bills_input="once", settings=Settings(greedy_first="always"))
    llm.chat(user("hi"))
    assert Counter((b.get("n") or 1, b["temperature"]) for b in server.sent()) == {(1, 0.0): 1, (2, 0.8): 1}


@pytest.mark.parametrize(
    "call",
    [
        lambda make, warm, user: make(("small", 3), models=warm, temperature=0.8).chat(user("hi")),
        lambda make, warm, user: make(("small", 3), models=warm).chat(user("hi"), temperature=0.8),
        lambda make, warm, user: make(("small", 3), models=warm, additional_kwargs={"temperature": 0.8}).chat(
            user("hi")
        ),
        lambda make, warm, user: make(("small", 3), models=warm, settings=Settings(greedy_first=False)).chat(
            user("hi")
        ),
    ],
    ids=["constructor", "call", "additional_kwargs", "setting"],
)
def test_a_caller_who_sets_the_temperature_has_it_in_every_draw(make, server, user, warm, call):
    call(make, warm, user)
    assert temperatures(server) == {0.8: 3}


def test_one_draw_is_what_the_member_does_alone(make, server, user, warm):
    make(("small", 1), models=warm).chat(user("hi"))
    warm["small"].chat(user("hi"))
    ours, alone = server.sent()
    assert ours == alone


def test_models_that_reason_are_never_asked_for_it(make, like, server, user):
    models = {"small": like("deepseek-reasoner", temperature=0.6), "large": like("large-max")}
    make(("small", 2), models=models).chat(user("hi"))
    assert temperatures(server) == {0.6: 2}


def test_a_member_that_refuses_it_keeps_its_own_and_is_not_asked_again(make, like, server, told, user):
    class Without(type(like("x"))):
        def _get_model_kwargs(self, **kwargs):
            kwargs = super()._get_model_kwargs(**kwargs)
            return {k: v for k, v in kwargs.items() if k != "temperature" or v == 0}

    small = Without(**like("refuse-temperature-small", temperature=0.8).model_dump(exclude={"callback_manager"}))
    llm = make(("small", 2), models={"small": small, "large": like("large-max")})
    for _ in range(2):
        assert [s["mode"] for s in signals(told, llm.chat(user("hi")))] == ["sampled", "sampled"]
    assert temperatures(server) == {0.0: 1, None: 4}


def test_ollama_draws_greedily_first(make, server, told, user):
    ollama = pytest.importorskip("llama_index.llms.ollama")
    small = ollama.Ollama(model="llama", base_url=server.root_url, context_window=8000, temperature=0.8)
    response = make(("small", 2), models={"small": small, "large": Noting()}).chat(user("hi"))
    assert Counter(b["options"]["temperature"] for b in server.sent("/api/chat")) == {0.0: 1, 0.8: 1}
    assert [s["mode"] for s in signals(told, response)] == ["greedy", "sampled"]


def test_a_plain_generator_with_a_greedy_answer_gives_it_first(make, told, user):
    models = {"small": FakeGenerator(["q=0.1"], greedy="q=0.9"), "large": Noting()}
    response = make(("small", 2), models=models).chat(user("hi"))
    assert (response.message.content, told(response)["chosen"]) == ("q=0.9", 0)
