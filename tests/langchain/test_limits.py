"""What the engine does about faults and limits, through the chat model: sync, async and in streams."""

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from bestroute import BudgetError, ConfigError, Plan, Price, Settings, Step, Usage, Verifier
from langchain_bestroute.messages import usage_of

WAYS = ["invoke", "ainvoke", "stream", "astream"]


async def ask(chat, how, text="x", **options):
    if how == "invoke":
        return chat.invoke(text, **options)
    if how == "ainvoke":
        return await chat.ainvoke(text, **options)
    chunks = list(chat.stream(text, **options)) if how == "stream" else [c async for c in chat.astream(text, **options)]
    return sum(chunks[1:], chunks[0])


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


QUICK = Settings(first_wait_s=0.001, max_wait_s=0.002)


@pytest.fixture
def failing(make, openai_model):
    """The small member fails in some way."""

    def build(small, router=("small", 1), **options):
        models = {"small": openai_model(small), "large": openai_model("large-max")}
        return make(router, **{"models": models, "settings": QUICK, **options})

    return build


@pytest.mark.parametrize("how", WAYS)
async def test_a_draw_that_failed_is_tried_again(failing, told, how):
    message = await ask(failing("flaky-1-small"), how)
    assert told(message)["model"] == "small"
    assert [s["error"] is None for s in told(message)["samples"]][-1]


@pytest.mark.parametrize("how", WAYS)
async def test_a_member_that_stays_down_is_replaced_by_the_reference_which_says_so(failing, server, told, how):
    message = await ask(failing("fail-503-small"), how)
    assert told(message)["model"] == "large"
    assert message.response_metadata["model_name"] == "large-max"
    assert "small" in told(message)["reason"]
    assert message.usage_metadata["output_tokens"] == server.usage["output"]


@pytest.mark.parametrize("how", WAYS)
async def test_a_forced_model_is_never_replaced(failing, how):
    with pytest.raises(openai.InternalServerError):
        await ask(failing("fail-503-small"), how, model="small")


@pytest.mark.parametrize("how", WAYS)
async def test_a_wrong_key_is_raised_at_once(failing, server, how):
    with pytest.raises(openai.AuthenticationError):
        await ask(failing("fail-401-small"), how)
    assert len(server.requests) == 1


def test_a_turn_whose_model_is_down_restarts_on_the_reference(make, openai_model, server, told):
    small = openai_model("small-mini")
    models = {"small": small, "large": openai_model("large-max")}
    chat = make(("small", 1), models=models, settings=QUICK).bind_tools([add])
    history = [HumanMessage('CALL add({"a": 2, "b": 3})')]
    history.append(chat.invoke(history))
    history.append(add.invoke(history[-1].tool_calls[0]))
    small.model_name = "fail-503-small"
    answer = chat.invoke(history)
    assert told(answer)["model"] == "large"
    assert "tool said: 5" in answer.text
    assert "a tool turn stays with the model that made the call" in told(answer)["reason"]
    assert "so large x 1" in told(answer)["reason"]


@pytest.mark.parametrize("how", WAYS)
async def test_the_limits_of_a_call(make, told, how):
    assert told(await ask(make(("small", 4)), how, max_samples=2))["n"] == 2
    assert told(await ask(make(("small", 1)), how, allow=["large"]))["model"] == "large"
    with pytest.raises(BudgetError):
        await ask(make(("small", 1)), how, max_cost_usd=1e-12)


@pytest.mark.parametrize("how", WAYS)
async def test_a_budget_for_all_calls(make, how):
    chat = make(("small", 1), budget=1e-12)
    with pytest.raises(BudgetError):
        await ask(chat, how)


@pytest.mark.parametrize("how", WAYS)
async def test_a_plan_that_accepts_emits_the_accepted_answer_alone(make, told, how):
    plan = Plan((Step("small", 3, 1.0), Step("large")))
    chat = make(lambda q: plan, reward_model=Verifier(lambda query, text: "q=0.95" in text))
    message = await ask(chat, how)
    assert told(message)["n"] == 2
    assert message.text.count("[small-mini#") == 1
    assert "q=0.95" in message.text


def test_retries_are_counted_by_max_retries(failing, server):
    with pytest.raises(openai.InternalServerError):
        failing("fail-503-small", max_retries=1).invoke("x", model="small")
    assert len(server.requests) == 2
    with pytest.raises(ConfigError, match="max_retries"):
        failing("x", max_retries=-1)


def test_all_failures_stand_behind_the_error(make, openai_model):
    models = {"small": openai_model("fail-503-small"), "large": openai_model("fail-429-large")}
    with pytest.raises(openai.RateLimitError) as raised:
        make(("small", 1), models=models, settings=QUICK).invoke("x")
    failures = raised.value.__cause__.failures
    assert {f.model for f in failures} == {"small", "large"}


def test_a_dry_run_calls_nobody(make, server):
    message = make(("small", 3), settings=Settings(dry_run=True)).invoke("x")
    assert "small x 3" in message.text
    assert server.requests == []


def test_a_members_own_token_limit_is_known(make, openai_model):
    models = {"small": openai_model("s", max_tokens=7), "large": openai_model("l")}
    generators = make(models=models).engine.generators
    assert [generators[name].max_output_tokens for name in models] == [7, None]


def test_settings_and_budget_survive_a_changed_copy(make):
    chat = make(settings=Settings(attempts=5), budget=2.0)
    assert chat.model_copy(update={"prices": {**chat.prices, "small": Price(9, 9)}}).engine.settings.attempts == 5


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"input_tokens": 3, "output_tokens": 2.5, "total_tokens": 5},
        {"input_tokens": "3", "output_tokens": 2, "total_tokens": 5},
        {"input_tokens": -3, "output_tokens": 2, "total_tokens": 5},
        {"input_tokens": 10**20, "output_tokens": 2, "total_tokens": 5},
        {"input_tokens": 3, "output_tokens": 2, "input_token_details": {"cache_read": "x"}},
    ],
)
def test_a_usage_that_makes_no_sense_is_left_to_an_estimate(told):
    message = AIMessage("hello")
    message.usage_metadata = told
    assert usage_of(message) is None


def test_a_part_of_a_usage_is_never_more_than_the_whole():
    message = AIMessage("hello")
    message.usage_metadata = {
        "input_tokens": 3,
        "output_tokens": 2,
        "input_token_details": {"cache_read": 9, "cache_creation": 9},
        "output_token_details": {"reasoning": 9},
    }
    assert usage_of(message) == Usage(3, 2, cached_input=3, reasoning=2)


@pytest.mark.parametrize(
    ("usage", "said", "billed"),
    [
        ({"total_tokens": 150, "output_token_details": {"reasoning": 30}}, {}, Usage(100, 50, reasoning=30)),
        ({"total_tokens": 120, "output_token_details": {"reasoning": 10}}, {}, Usage(100, 20, reasoning=10)),
        ({"total_tokens": 120}, {"prompt_cache_hit_tokens": 40}, Usage(100, 20, cached_input=40)),
        ({"total_tokens": 120}, {"prompt_tokens_details": {"cached_tokens": 40}}, Usage(100, 20, cached_input=40)),
        ({"total_tokens": 120}, {"prompt_tokens": 7, "prompt_cache_hit_tokens": 7}, Usage(100, 20)),
    ],
)
def test_reasoning_beside_the_output_and_a_cache_told_in_the_providers_words_are_billed(usage, said, billed):
    message = AIMessage("x", usage_metadata={"input_tokens": 100, "output_tokens": 20, **usage})
    message.response_metadata["token_usage"] = {"prompt_tokens": 100, "completion_tokens": 20, **said}
    assert usage_of(message) == billed


def test_all_that_is_sent_counts_in_the_prompt(make):
    words = "twelve times seven " * 2000  # 0.0095 USD of the cheaper member
    chat = make(("large", 1))
    question = {"type": "text", "text": "what is this?"}
    assert chat.invoke([HumanMessage([question])], max_cost_usd=0.005).text
    document = {"type": "text-plain", "text": words, "mime_type": "text/plain"}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "description": words}}}
    for block, options in ((document, {}), (question, {"response_format": schema})):
        with pytest.raises(BudgetError):
            chat.invoke([HumanMessage([block, question])], max_cost_usd=0.005, **options)
    assert len(chat.ledger.rows()) == 1
