"""Requirements 25, 26, 27 and 33: what it is, the eight methods, the bill, and what must not go wrong."""

import asyncio
import base64
import concurrent.futures
import copy
import json
import pickle
import threading
from dataclasses import fields

import openai
import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, LLMMetadata, MessageRole, TextBlock
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.rate_limiter import TokenBucketRateLimiter
from llama_index.llms.openai import OpenAI

from bestroute import (
    Cancel,
    ConfigError,
    GenerationError,
    Ledger,
    MajorityVote,
    OpenAIGenerator,
    Price,
    PriceError,
    Query,
    Verifier,
)
from bestroute.errors.credentials import is_secret
from bestroute.testing import FakeGenerator, FakeRouter
from llamaindex_bestroute import BestRouteLLM
from llamaindex_bestroute.generator import LLMGenerator

PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}


def always_small(query):
    return ("small", 1)


def length(query, texts):
    return [float(len(t)) for t in texts]


async def eight_ways(llm, text):
    """Ask by each of the eight methods; streams are joined, their last response returned."""
    chat = [ChatMessage(role="user", content=text)]
    yield "chat", llm.chat(chat)
    yield "complete", llm.complete(text)
    yield "achat", await llm.achat(chat)
    yield "acomplete", await llm.acomplete(text)
    yield "stream_chat", joined(list(llm.stream_chat(chat)))
    yield "stream_complete", joined(list(llm.stream_complete(text)))
    yield "astream_chat", joined([r async for r in await llm.astream_chat(chat)])
    yield "astream_complete", joined([r async for r in await llm.astream_complete(text)])


def content(response):
    message = getattr(response, "message", None)
    return response.text if message is None else message.content


def joined(pieces):
    assert "".join(p.delta or "" for p in pieces) == content(pieces[-1])
    return pieces[-1]


class Test25WhatItIs:
    def test_it_is_a_function_calling_llm_with_a_name(self):
        assert issubclass(BestRouteLLM, FunctionCallingLLM)
        assert BestRouteLLM.class_name() == "bestroute_llm"

    def test_metadata_is_what_every_member_can_do(self, make, like):
        metadata = make().metadata
        assert (metadata.context_window, metadata.num_output) == (8000, -1)
        assert metadata.is_chat_model
        assert metadata.is_function_calling_model
        assert metadata.model_name == "bestroute:small+large"
        assert metadata.system_role == MessageRole.SYSTEM
        models = {"small": like("x", max_tokens=50), "large": like("y", is_function_calling_model=False, max_tokens=90)}
        metadata = make(models=models).metadata
        assert not metadata.is_function_calling_model
        assert metadata.num_output == 50

    def test_a_member_that_does_not_tell_is_named(self, make, like, server, user):
        unknown = OpenAI(model="no-such-model", api_base=server.base_url, api_key="k")
        route = ["large"]
        llm = make(lambda q: (route[0], 1), models={"small": unknown, "large": like("large-max")})
        with pytest.raises(ConfigError, match="'small' does not report its metadata: Unknown model.*use OpenAILike"):
            _ = llm.metadata
        assert llm.chat(user("x")).message.content.startswith("[large-max")
        route[0] = "small"
        with pytest.raises(ConfigError, match="the router chose 'small', but it does not tell what it can do"):
            llm.chat(user("x"))


class Test26EightMethods:
    @pytest.mark.parametrize("n", [1, 3])
    async def test_each_takes_the_same_decision_and_returns_the_best_of_n(self, make, server, told, n):
        llm = make(("small", n))
        async for name, response in eight_ways(llm, "say something nice"):
            assert ("q=0.95" if n == 3 else "q=0.40") in content(response), name
            assert content(response).count("[small-mini#") == 1, name
            assert (told(response)["model"], told(response)["n"]) == ("small", n), name
            server.brain.reset()

    @pytest.mark.parametrize("method", ["stream_chat", "astream_chat", "stream_complete", "astream_complete"])
    async def test_one_sample_streams_word_by_word_of_several_only_the_winner(self, make, server, user, method):
        async def pieces(n):
            llm = make(("small", n))
            asked = "one two three" if "complete" in method else user("one two three")
            stream = getattr(llm, method)(asked)
            if method.startswith("a"):
                return [p async for p in await stream]
            return list(stream)

        assert len([p for p in await pieces(1) if p.delta]) >= 5
        assert server.sent()[0]["stream"] is True
        server.reset()
        winner = await pieces(3)
        assert len(winner) == 1
        assert "q=0.95" in winner[0].delta
        assert "stream" not in server.sent()[0] or not server.sent()[0]["stream"]

    def test_every_piece_says_who_speaks_and_the_last_how_it_came_about_in_plain_json(self, make, user, told):
        pieces = list(make().stream_chat(user("one two three")))
        assert [told(piece)["model"] for piece in pieces] == ["small"] * len(pieces)
        assert ["plan" in told(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert {told(piece)["model"] for piece in make().stream_complete("one two three")} == {"small"}
        info = json.loads(json.dumps(told(pieces[-1])))
        assert info["plan"] == [{"model": "small", "n": 1, "accept": None}]
        assert info["samples"][0]["model"] == "small"

    def test_an_abandoned_stream_is_closed_and_billed(self, make, server, user):
        llm = make()
        stream = llm.stream_chat(user("one two three four five"))
        assert [next(stream).delta for _ in range(3)][-1]
        stream.close()
        assert [row["status"] for row in llm.ledger.rows()] == ["cancelled"]
        assert llm.ledger.cost_usd > 0

    def test_a_completion_model_is_asked_by_its_own_endpoint(self, make, like, server):
        models = {"small": like("small-text", is_chat_model=False, completion_to_prompt=lambda p: f"<{p}>")}
        llm = make(models=models)
        assert not llm.metadata.is_chat_model
        assert llm.complete("hello there").text.startswith("[small-text#0]")
        assert llm.complete("hello there", formatted=True).text
        assert [body["prompt"] for body in server.sent("/v1/completions")] == ["<hello there>", "hello there"]

    def test_the_routers_own_prompt_form_is_used_unless_the_prompt_is_formatted(self, make, server):
        llm = make(completion_to_prompt=lambda prompt: f"Be brief. {prompt}")
        llm.complete("hello")
        llm.complete("hello", formatted=True)
        assert [body["messages"][-1]["content"] for body in server.sent()] == ["Be brief. hello", "hello"]

    def test_mock_and_nested_routers_are_llms_too(self, make, user, told):
        mock = make(models={"small": MockLLM(), "large": MockLLM(max_tokens=1)})
        assert mock.complete("one two three").text == "one two three"
        nested = make(models={"small": make(("large", 2)), "large": MockLLM()})
        response = nested.chat(user("x"))
        assert "[large-max" in response.message.content
        assert told(response)["model"] == "small"


class Test27Usage:
    @pytest.mark.parametrize("n", [1, 3])
    @pytest.mark.parametrize("bills_input", ["per_sample", "once"])
    async def test_every_method_tells_what_all_samples_were_billed(self, make, server, told, n, bills_input):
        ledger = Ledger()
        llm = make(("small", n), bills_input=bills_input, ledger=ledger)
        before = {"input": 0, "output": 0}
        cost = 0.0
        async for name, response in eight_ways(llm, "how much is this"):
            used = {k: server.usage[k] - before[k] for k in before}
            before = server.usage
            expected = {
                "prompt_tokens": used["input"],
                "completion_tokens": used["output"],
                "total_tokens": sum(used.values()),
            }
            assert response.raw["usage"] == expected, name
            assert {k: response.additional_kwargs[k] for k in expected} == expected, name
            assert told(response)["cost_usd"] == pytest.approx((used["input"] + 2 * used["output"]) / 1e6), name
            cost += told(response)["cost_usd"]
        assert ledger.cost_usd == pytest.approx(cost)
        assert not any(row["estimated"] for row in ledger.rows())
        assert len(ledger.rows()) == 8 * n

    def test_n_choices_of_one_call_are_one_request(self, make, server, user, told):
        response = make(("small", 4), bills_input="once").chat(user("hi"))
        assert [body["n"] for body in server.sent()] == [4]
        assert "q=0.95" in response.message.content
        assert told(response)["rewards"] == [0.4, 0.95, 0.1, 0.7]
        assert response.raw["choices"][0]["message"]["content"] == response.message.content

    def test_cached_and_reasoning_tokens_are_told_and_priced(self, make, server, user, told):
        details = {"prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 8}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, **details}
        server.script("small-mini", [{"text": "x", "usage": usage}] * 2)
        prices = {**PRICES, "small": Price(1.0, 2.0, cached_input=0.1, reasoning=4.0)}
        response = make(("small", 2), prices=prices).chat(user("x"))
        assert response.raw["usage"]["prompt_tokens_details"]["cached_tokens"] == 120
        assert response.raw["usage"]["completion_tokens_details"]["reasoning_tokens"] == 16
        assert told(response)["cost_usd"] == pytest.approx(2 * (40 * 1.0 + 60 * 0.1 + 2 * 2.0 + 8 * 4.0) / 1e6)

    def test_a_response_without_usage_is_billed_by_estimate(self, make, like, user):
        llm = make(models={"small": like("nousage-x")})
        response = llm.chat(user("one two three"))
        assert llm.ledger.rows()[0]["estimated"]
        assert response.raw["usage"]["total_tokens"] > 0


class Test33Arguments:
    def test_a_calls_parameters_win_over_ours_and_ours_over_the_members(self, make, like, server, user):
        models = {"small": like("small-mini", temperature=0.1, max_tokens=5, additional_kwargs={"seed": 6})}
        make(models=models).chat(user("x"))
        llm = make(models=models, temperature=0.3, max_tokens=17, stop=["zzz"], additional_kwargs={"seed": 7})
        llm.chat(user("x"))
        llm.chat(user("x"), temperature=0.9, max_tokens=2, stop=["answer"], seed=8)
        bodies = server.sent()
        assert [b["temperature"] for b in bodies] == [0.1, 0.3, 0.9]
        assert [b["max_tokens"] for b in bodies] == [5, 17, 2]
        assert [b.get("stop") for b in bodies] == [None, ["zzz"], ["answer"]]
        assert [b.get("seed") for b in bodies] == [6, 7, 8]
        assert models["small"].max_tokens == 5
        make(stop="answer").chat(user("x"))
        assert server.sent()[-1]["stop"] == ["answer"]

    def test_a_call_may_force_the_member_and_n(self, make, server, user, told):
        llm = make(("small", 3))
        assert told(llm.chat(user("x"), model="large"))["model"] == "large"
        assert {b["model"] for b in server.sent()} == {"large-max"}
        assert told(llm.complete("y", n=2))["n"] == 2
        with pytest.raises(ConfigError, match="unknown model 'larg'.*Did you mean 'large'"):
            llm.chat(user("z"), model="larg")

    def test_image_blocks_go_through_and_the_history_is_not_changed(self, make, server):
        pixel = base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
        )
        image = ImageBlock(image=pixel, image_mimetype="image/png")
        history = [
            ChatMessage(role="system", content="be brief"),
            ChatMessage(role="user", blocks=[TextBlock(text="what is this"), image]),
        ]
        before = [m.model_dump_json() for m in history]
        make(("small", 2)).chat(history)
        assert [m.model_dump_json() for m in history] == before
        parts = server.sent()[0]["messages"][1]["content"]
        assert parts[0] == {"type": "text", "text": "what is this"}
        assert parts[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")

    def test_our_notes_on_earlier_answers_are_not_sent(self, make, server, user):
        llm = make()
        history = [*user("a"), llm.chat(user("a")).message, *user("b")]
        llm.chat(history)
        assert "bestroute" not in json.dumps(server.sent()[-1])
        assert "bestroute" in history[1].additional_kwargs

    def test_what_is_misspelt_is_refused(self, make):
        with pytest.raises(ValueError, match="treshold"):
            make(treshold=0.5)

    @pytest.mark.parametrize(
        ("options", "error", "sentence"),
        [
            ({"prices": {"small": Price(1, 1)}}, PriceError, "no price for 'large'"),
            ({"reference": "larg"}, ConfigError, "unknown reference 'larg'.*Did you mean 'large'"),
            ({"models": {}}, ConfigError, "at least one LLM"),
            ({"models": {"small": 3}, "prices": PRICES}, ConfigError, "'small' must be a LlamaIndex LLM"),
            ({"threshold": 0.5}, ConfigError, "a router function decides alone"),
            ({"max_n": 0}, ConfigError, "max_n must be a whole number"),
        ],
    )
    def test_what_does_not_fit_is_said_at_construction(self, make, options, error, sentence):
        with pytest.raises(error, match=sentence):
            make(**options)

    def test_prices_of_providers_own_models_are_looked_up_by_exact_name(self, like):
        pytest.importorskip("genai_prices")
        mini, own = OpenAI(model="gpt-4o-mini", api_key="k"), Price(9, 9)
        llm = BestRouteLLM(models={"mini": mini, "own": like("x")}, prices={"own": own})
        assert (llm.prices["mini"].input, llm.prices["own"]) == (0.15, own)
        assert BestRouteLLM(models={"mini": mini}, prices={"mini": own}).prices["mini"] is own
        elsewhere = OpenAI(model="gpt-4o-mini", api_key="k", api_base="http://localhost:1/v1")
        for unknown in (like("gpt-4o-mini"), elsewhere):
            with pytest.raises(PriceError, match="no price for 'unknown'"):
                BestRouteLLM(models={"unknown": unknown})

    def test_without_a_router_the_reference_answers_or_a_verifier_decides(self, make, user, told):
        assert told(make(None).chat(user("x")))["model"] == "large"
        assert make(None, reference=None).reference == "large"
        llm = make(None, reward_model=Verifier(lambda q, text: "small-mini" in text))
        assert told(llm.chat(user("x")))["model"] == "small"

    def test_a_trained_router_and_a_threshold_decide(self, make, user, told):
        router = FakeRouter({("small", 1): 0.5, ("large", 1): 1.0}, [10, 10])
        models = {"router": router}
        assert told(make(threshold=0.4, **models).chat(user("x")))["model"] == "small"
        response = make(threshold=0.6, **models).chat(user("x"))
        assert told(response)["model"] == "large"
        assert "threshold 0.6" in told(response)["reason"]

    async def test_core_generators_can_be_members(self, make, server, user):
        models = {
            "small": FakeGenerator(["4", "5", "4"]),
            "large": OpenAIGenerator("large-max", base_url=server.base_url, api_key="k"),
        }
        llm = make(("small", 3), models=models, reward_model=MajorityVote())
        assert llm.complete("2 + 2?").text == "4"
        assert not llm.metadata.is_function_calling_model
        response = llm.chat([ChatMessage(role="system", content="be brief"), *user("hello")], model="large", n=1)
        assert "large-max" in response.message.content
        assert server.sent()[0]["messages"][0] == {"role": "system", "content": "be brief"}
        pieces = [p async for p in await llm.astream_chat(user("hello"), model="large", n=1)]
        assert len(pieces) > 4
        assert "large-max" in joined(pieces).message.content


class Test33Faults:
    async def test_a_members_own_error_reaches_the_caller(self, make, like, user):
        llm = make(models={"small": like("fail-429-x")}, max_retries=0)
        for ask in (llm.chat, llm.stream_chat):
            with pytest.raises(openai.RateLimitError) as caught:
                ask(user("x"))
            assert isinstance(caught.value.__cause__, GenerationError)
        for ask in (llm.achat, llm.astream_chat):
            with pytest.raises(openai.RateLimitError):
                await ask(user("x"))
        with pytest.raises(openai.RateLimitError):
            llm.complete("x")

    def test_one_failed_sample_does_not_lose_the_rest(self, make, like, user, told):
        llm = make(("small", 3), models={"small": like("flaky-1-x")})
        errors = [s["error"] for s in told(llm.chat(user("x")))["samples"]]
        assert sum(e is not None for e in errors) == 1

    @pytest.mark.parametrize("has_been_used", [False, True])
    def test_members_do_not_retry_by_themselves_and_stay_as_they_were(self, like, server, user, has_been_used):
        member = like("fail-500-x", max_retries=3)
        if has_been_used:  # its client, with its retries, exists
            member.chat(user("warm up"), model="ok")
            server.reset()
        generator = LLMGenerator("small", member, native_n=False)
        with pytest.raises(openai.InternalServerError):
            generator.generate(Query("x", messages=user("x")), 1, params={}, cancel=Cancel())
        assert len(server.requests) == 1
        assert member.max_retries == 3
        assert not has_been_used or member._client.max_retries == 3

    def test_what_the_caller_changes_of_a_member_later_counts(self, make, server, user):
        llm = make()
        llm.chat(user("x"))
        llm.models["small"].temperature = 0.9
        llm.chat(user("x"))
        assert [body["temperature"] for body in server.sent()] == [0.1, 0.9]

    async def test_async_samples_run_at_the_same_time_and_leave_the_loop_free(self, make, server, user, told, meeting):
        llm = make(("small", 4))
        response = await meeting(llm.achat(user("x")), 4)
        assert told(response)["n"] == 4
        assert server.max_inflight == 4

    async def test_a_member_without_async_methods_does_not_block_the_loop(self, make):
        is_asked, went_on = threading.Event(), threading.Event()

        class Sleepy(MockLLM):
            def complete(self, prompt, formatted=False, **kwargs):
                is_asked.set()
                assert went_on.wait(60), "the loop stood still"
                return super().complete(prompt, formatted=formatted, **kwargs)

        task = asyncio.create_task(make(models={"small": Sleepy()}).acomplete("one two"))
        while not is_asked.is_set():
            await asyncio.sleep(0)
        went_on.set()
        assert (await task).text == "one two"

    def test_one_event_loop_after_the_other(self, make, server, user):
        llm = make(("small", 2), max_retries=0)
        for _ in range(3):
            assert "q=" in asyncio.run(llm.achat(user("x"))).message.content
        assert [row["status"] for row in llm.ledger.rows()] == ["ok"] * 6
        assert len(server.requests) == 6

    def test_a_stream_that_breaks_off_is_an_error_before_its_first_word_and_after(self, make, like, user, told):
        for broken in ("drop-0-x", "drop-2-x"):
            llm = make(models={"small": like(broken)}, max_retries=0)
            with pytest.raises(ConnectionError):
                list(llm.stream_chat(user("one two three four")))
            assert llm.ledger.rows()[-1]["status"] == "failed"

    def test_threads_share_a_router(self, make, user, told):
        llm = make(lambda q: ("small" if "even" in q.text else "large", 2))

        def one(i):
            word = "even" if i % 2 == 0 else "odd"
            return told(llm.chat(user(f"{word} {i}")))["model"] == ("small" if i % 2 == 0 else "large")

        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            assert all(threads.map(one, range(48)))
        assert len(llm.ledger.rows()) == 96

    def test_a_prompt_that_a_member_cannot_hold_does_not_go_to_it(self, make, like, user, told):
        router = FakeRouter({("small", 1): 0.9, ("large", 1): 1.0}, [10, 10])
        models = {"small": like("small-mini", context_window=50), "large": like("large-max")}
        llm = make(models=models, router=router, threshold=0.5)
        assert told(llm.chat(user("short")))["model"] == "small"
        assert told(llm.chat(user("long " * 200)))["model"] == "large"
        left_out = llm.engine.route("long " * 200).left_out
        assert "its context holds 50 tokens, the prompt has about 250" in left_out["small"]
        assert not llm.engine.route("long " * 45).left_out, "an estimate may be wrong by a little"

    def test_a_window_that_nobody_told_is_not_taken_for_one(self, make, server, user):
        from llama_index.llms.openai_like import OpenAILike

        member = OpenAILike(model="small-mini", api_base=server.base_url, api_key="k", is_chat_model=True)
        assert member.context_window == 3900, "LlamaIndex's guess"
        assert make(models={"small": member}).chat(user("long " * 6000)).message.content

    def test_rate_limiters_count_calls_of_the_router_and_requests_of_a_member(self, make, like, user):
        class Count(TokenBucketRateLimiter):
            calls: int = 0

            def acquire(self, num_tokens=0):
                self.calls += 1

        router, member = Count(requests_per_minute=1000), Count(requests_per_minute=1000)
        llm = make(("small", 3), models={"small": like("small-mini", rate_limiter=member)}, rate_limiter=router)
        llm.chat(user("x"))
        llm.complete("y")
        assert (router.calls, member.calls) == (2, 6)


def test_a_dump_becomes_a_model_again_with_the_parts_that_it_has_no_words_for(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    llm = make(temperature=0.3, budget=0.5, max_n=4)
    with pytest.raises(ConfigError, match="only describes"):
        BestRouteLLM.from_dict(llm.to_dict(), models=llm.models)
    parts = {"models": llm.models, "router": llm.router, "reward_model": llm.reward_model, "settings": llm.settings}
    again = BestRouteLLM.from_dict(llm.to_dict(), **parts)
    for name in ("temperature", "max_n", "prices", "reference"):
        assert getattr(again, name) == getattr(llm, name)
    assert again.budget.usd == 0.5
    assert again.complete("hello").additional_kwargs["bestroute"]["model"] == "small"
    assert list(tmp_path.iterdir()) == []


class Test33Secrets:
    def everything_told(self, llm):
        return " ".join([repr(llm), str(llm), llm.to_json(), json.dumps(llm.to_payload()), str(llm.model_dump())])

    def test_nothing_that_is_told_carries_a_secret(self, make):
        llm = make(additional_kwargs={"extra_headers": {"Authorization": "sk-secret-456"}, "seed": 1})
        told = self.everything_told(llm)
        assert "sk-secret" not in told
        assert llm.to_dict()["models"]["small"] == {"class_name": "OpenAILike", "model": "small-mini"}
        assert llm.to_dict()["additional_kwargs"] == {"seed": 1}
        assert "small-mini" in repr(llm)
        assert llm.chat([ChatMessage(role="user", content="x")]).message.content, "still works"

    def test_telling_does_not_change_the_live_members(self, make):
        llm = make()
        before = {name: dict(vars(member)) for name, member in llm.models.items()}
        self.everything_told(llm)
        assert {name: dict(vars(member)) for name, member in llm.models.items()} == before

    @pytest.mark.parametrize("name", ["api_key", "aws_secret_access_key", "password", "default_headers", "token"])
    def test_names_of_secrets(self, name):
        assert is_secret(name)

    @pytest.mark.parametrize("name", ["max_tokens", "prompt_key", "tokenizer", "model", "keep_alive"])
    def test_names_that_are_none(self, name):
        assert not is_secret(name)


class Test33Copies:
    def test_a_pickle_keeps_the_policy_and_no_secret(self, make, server, user, told, monkeypatch):
        llm = make(always_small, reward_model=length, ledger=Ledger(), temperature=0.3)
        llm.chat(user("x"))  # its members have clients now, which cannot be pickled
        data = pickle.dumps(llm)
        assert b"sk-secret" not in data
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-new-place")
        other = pickle.loads(data)
        assert other.router is always_small
        assert told(other.chat(user("y")))["model"] == "small"
        assert server.sent()[-1]["temperature"] == 0.3
        assert server.requests[-1]["headers"]["Authorization"] == "Bearer sk-of-the-new-place"

    def test_pickling_refuses_what_it_cannot_keep_and_leaves_the_live_object_whole(self, make, like, user, told):
        models = {"small": like("small-mini", messages_to_prompt=lambda m: "x"), "large": like("large-max")}
        for llm, part in ((make(), "router"), (make(always_small, models=models), r"messages_to_prompt")):
            before = {name: dict(vars(member)) for name, member in llm.models.items()}
            with pytest.raises(ConfigError, match=part):
                pickle.dumps(llm)
            assert {name: dict(vars(member)) for name, member in llm.models.items()} == before
            assert told(llm.chat(user("x")))["model"] == "small"

    def test_members_whose_constructor_takes_few_settings_are_pickled_too(self):
        models = {"small": MockLLM(max_tokens=2), "large": MockLLM()}
        models["small"].query_wrapper_prompt = PromptTemplate("Briefly: {query_str}")
        llm = BestRouteLLM(models=models, prices=PRICES, router=always_small)
        other = pickle.loads(pickle.dumps(llm))
        assert other.complete("one two three").text == llm.complete("one two three").text == "text text"
        assert other.models["small"].query_wrapper_prompt.format(query_str="x") == "Briefly: x"

    def test_copies_share_members_and_take_changes(self, make, user, told):
        llm = make()
        for other in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy()):
            assert other.models["small"] is llm.models["small"]
            assert told(other.chat(user("x")))["model"] == "small"
        changed = llm.model_copy(update={"router": lambda q: ("large", 1)})
        assert told(changed.chat(user("x")))["model"] == "large"
        assert told(llm.chat(user("x")))["model"] == "small"

    def test_a_part_may_be_set_and_one_that_does_not_fit_changes_nothing(self, make, user, told):
        llm = make()
        llm.router = lambda query: ("large", 2)
        assert told(llm.chat(user("x")))["model"] == "large"
        before = llm.engine
        with pytest.raises(ConfigError, match="max_n"):
            llm.max_n = 0
        assert (llm.max_n, llm.engine) == (5, before)
        assert told(llm.chat(user("x")))["n"] == 2


def test_members_of_any_kind_of_llm_are_taken():
    class Told(MockLLM):
        @property
        def metadata(self):
            return LLMMetadata(context_window=123, num_output=7)

    llm = BestRouteLLM(models={"a": Told(), "b": MockLLM()}, prices={"a": Price(1, 1), "b": Price(2, 2)})
    assert isinstance(llm.models["a"], LLM)
    assert llm.metadata.context_window == 123
    assert not llm.metadata.is_chat_model


def test_the_engines_fields_and_their_defaults_are_those_that_adapters_share():
    from bestroute.adapters.engine_fields import EngineFields

    for shared in fields(EngineFields):
        own = BestRouteLLM.model_fields[shared.name]
        if shared.name not in ("models", "prices"):
            assert own.default == shared.default, shared.name
