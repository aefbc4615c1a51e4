"""Each member is asked in its own way: for an object, with a setting, for the usage of a stream."""

import httpx
import openai as openai_client
import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import ChatMessage, CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.types import PydanticProgramMode
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, ValidationError

from bestroute import MajorityVote, Price, Sample, Usage, Verifier
from llamaindex_bestroute import BestRouteLLM

PROMPT = PromptTemplate("make something of {what}")


class Joke(BaseModel):
    """A joke."""

    setup: str
    age: int


WANTED = Joke(setup="abc", age=42)
JSON = '{"setup": "abc", "age": 42}'


def pool(member, n=1, **options):
    return BestRouteLLM(
        **{
            "models": {"a": member},
            "prices": {"a": Price(1.0, 2.0)},
            "router": lambda query: ("a", n),
            "reward_model": lambda query, texts: [1.0] * len(texts),
            **options,
        }
    )


@pytest.fixture
def openai(server):
    """Makes a member of OpenAI's own class."""
    return lambda model, **options: OpenAI(
        model=model, api_base=server.base_url, api_key="sk-x", max_retries=0, **options
    )


async def predictions(llm, **options):
    """All four ways to ask for an object."""
    yield llm.structured_predict(Joke, PROMPT, what="x", **options)
    yield await llm.astructured_predict(Joke, PROMPT, what="x", **options)
    yield list(llm.stream_structured_predict(Joke, PROMPT, what="x", **options))[-1]
    yield [o async for o in await llm.astream_structured_predict(Joke, PROMPT, what="x", **options)][-1]


class TestObjects:
    @pytest.mark.parametrize("n", [1, 3])
    async def test_openai_keeps_its_strict_response_format(self, openai, server, n):
        server.script("gpt-4o-mini", [JSON] * (4 * n))
        async for answer in predictions(pool(openai("gpt-4o-mini"), n)):
            assert (answer.setup, answer.age) == ("abc", 42)
        formats = [body["response_format"] for body in server.sent()]
        assert len(formats) == 4 * n
        assert {told["type"] for told in formats} == {"json_schema"}
        assert all(told["json_schema"]["strict"] for told in formats)
        assert not any("tools" in body for body in server.sent())

    async def test_a_compatible_server_is_asked_in_the_way_that_its_member_says(self, like, server):
        server.script("small-mini", [JSON] * 4)
        async for answer in predictions(pool(like("small-mini", should_use_structured_outputs=True))):
            assert answer == WANTED
        assert {body["response_format"]["type"] for body in server.sent()} == {"json_schema"}

    async def test_the_request_is_the_one_that_the_member_makes_alone(self, openai, server):
        member = openai("gpt-4o-mini")
        for llm in (member, pool(member)):
            server.script("gpt-4o-mini", [JSON] * 2)
            llm.structured_predict(Joke, PROMPT, what="x")
            await llm.astructured_predict(Joke, PROMPT, what="x")
        bodies = server.sent()
        assert bodies[:2] == bodies[2:]

    def test_a_mode_of_the_router_wins_over_the_members(self, openai, server):
        server.script("gpt-4o-mini", [{"tool": "Joke", "args": WANTED.model_dump()}, JSON])
        by_tool = pool(openai("gpt-4o-mini"), pydantic_program_mode=PydanticProgramMode.FUNCTION)
        assert by_tool.structured_predict(Joke, PROMPT, what="x") == WANTED
        in_words = pool(openai("gpt-4o-mini"), pydantic_program_mode=PydanticProgramMode.LLM)
        assert in_words.structured_predict(Joke, PROMPT, what="x") == WANTED
        first, second = server.sent()
        assert first["tool_choice"] == "required"
        assert not {"tools", "response_format"} & second.keys()

    @pytest.mark.parametrize("bills_input", ["once", "per_sample"])
    def test_a_broken_object_loses_and_every_sample_is_billed(self, openai, server, bills_input):
        server.script("gpt-4o-mini", ["words", '{"setup": 1}', JSON])
        llm = pool(openai("gpt-4o-mini"), 3, bills_input=bills_input)
        assert llm.structured_predict(Joke, PROMPT, what="x") == WANTED
        rows = llm.ledger.rows()
        assert sorted(row["error"] or "" for row in rows) == ["", "it holds no Joke", "it holds no Joke"]
        assert sum(row["output_tokens"] for row in rows) == server.usage["output"]
        assert sum(row["input_tokens"] for row in rows) == server.usage["input"]

    def test_where_no_object_came_the_members_own_error_is_raised(self, openai, server):
        server.script("gpt-4o-mini", ['{"setup": 1}'])
        llm = pool(openai("gpt-4o-mini"))
        with pytest.raises(ValidationError):
            llm.structured_predict(Joke, PROMPT, what="x")
        assert llm.ledger.rows()[0]["output_tokens"] == server.usage["output"]

    async def test_a_plain_generator_is_asked_in_words(self, user):
        asked = []

        class Plain:
            native_n = False

            def generate(self, query, n, *, params, cancel):
                asked.append(query.messages[-1]["content"])
                return [Sample(JSON, usage=Usage(1, 1))]

        async for answer in predictions(pool(Plain())):
            assert answer == WANTED
        assert all("properties" in text for text in asked)

    async def test_a_custom_llm_is_asked_in_words(self):
        class Own(CustomLLM):
            @property
            def metadata(self):
                return LLMMetadata(model_name="own")

            @llm_completion_callback()
            def complete(self, prompt, formatted=False, **kwargs):
                assert "properties" in prompt
                return CompletionResponse(text=f"here it is: {JSON}")

            @llm_completion_callback()
            def stream_complete(self, prompt, formatted=False, **kwargs):
                for end in (20, len(JSON)):
                    yield CompletionResponse(text=JSON[:end], delta="")

        async for answer in predictions(pool(Own())):
            assert answer == WANTED

    def test_a_member_that_repairs_its_object_is_billed_for_every_request(self, like, server):
        class Repairing(type(like("x"))):
            def structured_predict(self, output_cls, prompt, llm_kwargs=None, **prompt_args):
                messages = prompt.format_messages(**prompt_args)
                self.chat(messages)
                return output_cls.model_validate_json(self.chat(messages).message.content)

        options = {"is_chat_model": True, "context_window": 8000, "max_retries": 0}
        server.script("small-mini", ["words", JSON])
        llm = pool(Repairing(model="small-mini", api_base=server.base_url, api_key="x", **options))
        assert llm.structured_predict(Joke, PROMPT, what="x") == WANTED
        assert llm.ledger.rows()[0]["output_tokens"] == server.usage["output"]


class TestChecks:
    @pytest.mark.parametrize("method", ["chat", "achat", "stream_chat", "complete"])
    async def test_n_1_in_a_call_switches_no_check_off(self, make, server, user, told, method):
        llm = make(None, reward_model=Verifier(lambda query, text: 1.0 if "large" in text else 0.0))
        reply = getattr(llm, method)("hi" if method == "complete" else user("hi"), n=1)
        reply = await reply if method == "achat" else list(reply)[-1] if method == "stream_chat" else reply
        assert told(reply)["model"] == "large"
        assert [body["model"] for body in server.sent()] == ["small-mini", "large-max"]

    def test_n_1_leaves_best_of_n_and_is_obeyed_with_a_model(self, make, user, told):
        assert told(make(("small", 3)).chat(user("hi"), n=1))["n"] == 3
        assert told(make(("small", 3)).chat(user("hi"), n=1, model="large"))["n"] == 1


class TestSettings:
    def test_the_routers_temperature_and_limit_are_translated_by_the_members_constructor(self, openai, server, user):
        models = {"reasons": openai("o3-mini"), "plain": openai("gpt-4o-mini")}
        prices = dict.fromkeys(models, Price(1.0, 2.0))
        llm = BestRouteLLM(models=models, prices=prices, reference="plain", temperature=0.3, max_tokens=17)
        llm.chat(user("hi"), model="reasons")
        llm.chat(user("hi"), model="plain")
        reasons, plain = server.sent()
        assert reasons["temperature"] == 1.0
        assert reasons["max_completion_tokens"] == 17
        assert "max_tokens" not in reasons
        assert (plain["temperature"], plain["max_tokens"]) == (0.3, 17)

    def test_a_change_of_the_routers_setting_reaches_the_members(self, openai, server, user):
        llm = pool(openai("gpt-4o-mini"))
        llm.temperature = 0.7
        llm.chat(user("hi"))
        assert server.sent()[0]["temperature"] == 0.7


WAYS = ["chat", "achat", "stream_chat", "astream_chat", "complete"]


async def asked(llm, way, prompt="hi", **options):
    """The text of one answer, by one of the eight methods."""
    messages = [ChatMessage(role="user", content=prompt)]
    answer = getattr(llm, way)(prompt if way == "complete" else messages, **options)
    answer = await answer if way.startswith("a") else answer
    if way == "stream_chat":
        answer = list(answer)[-1]
    elif way == "astream_chat":
        answer = [piece async for piece in answer][-1]
    return answer.text if way == "complete" else answer.message.content


def options_sent(server, *names):
    return [{name: body[name] for name in names if name in body} for body in server.sent()]


class TestRefusals:
    """A deployment whose name tells nothing, on a server that refuses what reasoning models refuse."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_temperature_of_the_router_is_left_out_from_then_on(self, like, server, way):
        llm = pool(like("reasoning-small", temperature=1.0), temperature=0.2)
        for _ in range(2):
            assert await asked(llm, way)
        assert [body["temperature"] for body in server.sent()] == [0.2, 1.0, 1.0]

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_limit_of_the_router_gets_the_name_that_is_wanted(self, like, server, way):
        llm = pool(like("reasoning-small", temperature=1.0), max_tokens=9)
        for _ in range(2):
            assert await asked(llm, way)
        newer = {"max_completion_tokens": 9}
        assert options_sent(server, "max_tokens", "max_completion_tokens") == [{"max_tokens": 9}, newer, newer]

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_the_member_or_the_call_says_is_the_members_own_error(self, like, server, way):
        of_member = pool(like("reasoning-small", temperature=0.4))
        of_both = pool(like("reasoning-small", temperature=0.4), temperature=0.3)
        of_call = pool(like("reasoning-small", temperature=1.0))
        for llm, options in ((of_member, {}), (of_both, {}), (of_call, {"temperature": 0.4})):
            with pytest.raises(openai_client.BadRequestError, match="temperature"):
                await asked(llm, way, **options)
            assert server.sent()[-1]["temperature"] == 0.4

    def test_a_server_that_refuses_n_is_asked_once_a_sample(self, like, server):
        member = like("refuse-n-small")
        llm = pool(member, router=lambda query: ("a", 3), bills_input="once", reward_model=MajorityVote())
        for _ in range(2):
            assert llm.complete("hi").text
        assert [body.get("n") for body in server.sent()] == [3, *[None] * 6]


class Picky(OpenAILike):
    """Speaks to a server that refuses an option by its name."""

    options: list

    def _refuse(self, kwargs):
        self.options.append("stream_options" in kwargs)
        if self.options[-1]:
            request = httpx.Request("POST", "http://127.0.0.1")
            words = "Extra inputs are not permitted: stream_options"
            raise openai_client.UnprocessableEntityError(
                words, response=httpx.Response(422, request=request), body=None
            )

    def _stream_chat(self, messages, **kwargs):
        self._refuse(kwargs)
        return super()._stream_chat(messages, **kwargs)

    async def _astream_chat(self, messages, **kwargs):
        self._refuse(kwargs)
        return await super()._astream_chat(messages, **kwargs)


class TestStreams:
    async def test_where_a_server_refuses_stream_options_it_is_asked_once_more_without_and_never_again(
        self, server, user
    ):
        told = {"is_chat_model": True, "context_window": 8000, "max_retries": 0}
        member = Picky(model="small-mini", api_base=server.base_url, api_key="x", options=[], **told)
        llm = pool(member)
        pieces = list(llm.stream_chat(user("hi")))
        assert "".join(piece.delta for piece in pieces) == pieces[-1].message.content
        assert [piece async for piece in await llm.astream_chat(user("hi"))][-1].message.content
        assert member.options == [True, False, False]
        assert [row["estimated"] for row in llm.ledger.rows()] == [True, True]
