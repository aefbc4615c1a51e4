"""Without router and reward model: cheaper members are tried where answers can be compared, as long as that pays."""

import asyncio
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bestroute import BestRoute, ConfigError, Pool, Price, Query
from bestroute.engine.break_even import exceeds
from bestroute.engine.day_one import NO_ROUTER
from bestroute.engine.decider import REFERENCE_ONLY
from bestroute.reward_models.first_evidence import FirstEvidence
from bestroute.selection.answer_kind import answer_kind
from bestroute.testing import FakeGenerator
from bestroute.types.sample import Sample
from bestroute.types.signals import Signals
from bestroute.types.usage import Usage

NUMBER = "What is 12 * 7? Answer with only the number."
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
PRICES = {"small": Price(1, 1), "mid": Price(2, 2), "large": Price(50, 50)}


def engine(
    small="84", mid="84.", large="84", *, models=("small", "mid", "large"), prices=PRICES, **options
) -> BestRoute:
    answers = {"small": small, "mid": mid, "large": large}
    usage = Usage(10, 2)
    members = {
        m: a if hasattr(a, "generate") else FakeGenerator(a if isinstance(a, list) else [a], usage=usage)
        for m, a in answers.items()
        if m in models
    }
    return BestRoute(Pool(models, {m: prices[m] for m in models}, "large"), members, **options)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (NUMBER, "number"),
        ("How many legs? Just the number.", "number"),
        ("What is 2+2? Number only.", "number"),
        ("Respond with a single integer.", "number"),
        ("Output just the label: spam or ham", "short answer"),
        ("Is 7 prime? Answer yes or no.", "short answer"),
        ("One-word answer: the capital of France?", "short answer"),
        ("Capital of France?\nA) Rome\nB) Paris", "choice"),
        ("The capital of France is\nA. Rome\nB. Paris\nC. Nice\nAnswer:", "choice"),
        ("What is the answer to life?", None),
        ("How do I print only the year of a date in Python?", None),
        ("Write a function that returns only the integer part", None),
        ("Tell me a story about a man who had only one name.", None),
        ("Explain in a paragraph why 7 is prime. Answer with only the number.", None),
        ("Answer briefly.", None),
        ("hi", None),
    ],
)
def test_the_form_of_an_answer_is_told_from_the_wording_and_in_doubt_it_is_open_text(text, kind):
    assert answer_kind(Query(text)) == kind


@pytest.mark.parametrize(
    ("about", "kind"),
    [
        ({"tools": TOOLS}, "tool call"),
        ({"tools": TOOLS, "params": {"tool_choice": "none"}}, None),
        ({"tools": TOOLS, "messages": [{"role": "user"}, {"role": "tool"}]}, "turn after a tool"),
        ({"params": {"response_format": {"type": "json_schema"}}}, "JSON"),
        ({"params": {"response_format": {"type": "text"}}}, None),
        ({"params": {"max_tokens": 8}}, "short answer"),
        ({"params": {"max_tokens": 800}}, None),
        ({"system": "Reply with only the label."}, "short answer"),
    ],
)
def test_the_form_of_an_answer_is_told_from_the_request(about, kind):
    assert answer_kind(Query("Is it late?", **about)) == kind


def test_two_members_that_agree_answer_and_else_the_reference():
    agreed = engine().run(NUMBER)
    assert (agreed.text, [s.model for s in agreed.samples]) == ("84", ["small", "mid"])
    apart = engine(mid="85", large="86").run(NUMBER)
    assert (apart.text, [s.model for s in apart.samples]) == ("86", ["small", "mid", "large"])


def test_sync_async_and_streams_do_the_same():
    it = engine()
    streamed = list(it.stream(NUMBER))
    assert (streamed[0].text, streamed[-1].text) == ("84", "84")
    assert asyncio.run(it.arun(NUMBER)).text == it.run(NUMBER).text == "84"


@pytest.mark.parametrize(("sum_logprob", "text"), [(-0.1, "84"), (-0.9, "large")])
def test_one_member_is_accepted_on_probable_tokens(sum_logprob, text):
    sure = Sample("84", signals=Signals.from_logprobs([sum_logprob]), usage=Usage(10, 1))
    result = engine([sure], large="large", models=("small", "large")).run(NUMBER)
    assert result.text == text


def test_open_text_goes_to_the_reference_and_the_reason_says_why():
    result = engine().run("Write a poem.")
    assert (result.decision.reason, len(result.samples)) == (NO_ROUTER, 1)


def test_the_old_behaviour_is_a_setting():
    it = engine(default="reference")
    assert it.route(NUMBER).reason == REFERENCE_ONLY
    assert it.run(NUMBER).samples[0].model == "large"
    with pytest.raises(ConfigError, match="default must be one of 'plan', 'reference'"):
        engine(default="cheapest")


def test_the_same_model_under_two_names_is_no_agreement():
    small, mid = FakeGenerator(["84"]), FakeGenerator(["84"])
    small.model_name = mid.model_name = "one-model"
    it = engine(small, mid)
    for _ in range(4):
        it.run(NUMBER)
    assert it.route(NUMBER).plan == it.pool.reference_plan


@pytest.mark.parametrize("small", ["I cannot tell.", Sample("84", finish_reason="length")])
def test_what_was_cut_or_says_something_else_is_not_accepted(small):
    assert engine([small], large="large").run(NUMBER).text == "large"


def test_agreement_on_no_call_is_left_to_the_reference():
    no_call = Sample("Which city?", form="[]", usage=Usage(10, 3))
    result = engine([no_call], [no_call], large="large").run(Query("What time is it?", tools=TOOLS))
    assert (result.text, len(result.samples)) == ("large", 3)


def test_the_reason_of_the_first_call_says_that_nothing_was_tried_yet():
    it = engine(mid="84")
    assert "not tried yet" in it.run(NUMBER).decision.reason
    assert "1 of the last 1 accepted" in it.run(NUMBER).decision.reason


def test_members_that_never_agree_are_soon_skipped_and_tried_again_now_and_then():
    it = engine(mid="85", large="86")
    results = [it.run(NUMBER) for _ in range(400)]
    tried = [len(r.samples) > 1 for r in results]
    assert sum(tried[:20]) >= 3
    assert 1 <= sum(tried[100:]) <= 10
    skipped = next(r for r, t in zip(results[100:], tried[100:], strict=True) if not t)
    assert "does not pay" in skipped.decision.reason
    cost, reference = sum(r.cost_usd for r in results), sum(r.reference_cost_usd for r in results)
    assert cost <= 1.02 * reference


def test_a_member_whose_tries_promise_no_gain_is_tried_again_though_a_few_cannot_rule_it_out():
    sure_of_nothing = Sample("84", usage=Usage(10, 2), signals=Signals(sum_logprob=-3.0, logprob_share=1.0, tokens=2))
    third = {"small": Price(16, 16), "large": PRICES["large"]}
    it = engine([sure_of_nothing], large="86", models=("small", "large"), prices=third)
    results = [it.run(NUMBER) for _ in range(600)]
    tried = [len(r.samples) > 1 for r in results]
    assert sum(tried[:10]) < 10
    assert 1 <= sum(tried[100:]) <= 10
    skipped = [r.decision.reason for r, t in zip(results, tried, strict=True) if not t]
    assert all("does not pay" in reason for reason in skipped), set(skipped)
    cost, reference = sum(r.cost_usd for r in results), sum(r.reference_cost_usd for r in results)
    assert cost <= 1.02 * reference


def test_members_that_agree_seldom_are_not_believed_though_they_would_pay():
    rng = np.random.default_rng(0)
    small = [str(i) for i in rng.integers(0, 3, 997)]
    mid = [str(i) for i in rng.integers(0, 3, 991)]
    it = engine(small, mid)
    tried = [len(it.run(NUMBER).samples) > 1 for _ in range(400)]
    assert sum(tried[100:]) <= 30


@pytest.mark.parametrize(("share", "agreement"), [(0.02, 0.0), (0.2, 0.3), (0.45, 0.3), (0.45, 0.62), (0.9, 0.62)])
def test_in_the_long_run_trying_never_costs_two_percent_more_than_the_reference(share, agreement):
    rng = np.random.default_rng(1)
    mid = ["84" if x < agreement else "85" for x in rng.random(701)]
    prices = {"small": Price(share * 25, share * 25), "mid": Price(share * 25, share * 25), "large": PRICES["large"]}
    it = engine("84", mid, prices=prices)
    results = [it.run(NUMBER) for _ in range(700)]
    assert sum(r.cost_usd for r in results) <= (1.01 * len(results) + 6) * 12 * 50 / 1e6


def test_drift_is_noticed_both_ways():
    it = engine(mid=["84"] * 100 + ["85"] * 30 + ["84"] * 2000, large="84")
    tried = [len(it.run(NUMBER).samples) == 2 for _ in range(900)]
    assert all(tried[:100])
    assert sum(tried[100:200]) < 50
    assert sum(tried[-100:]) > 90


def test_ten_thousand_answers_without_log_probabilities_earn_no_acceptance_by_them():
    bare = [Sample("84", signals=signals, usage=Usage(10, 1)) for signals in (None, Signals(), Signals(tokens=1))]
    reward = FirstEvidence()
    assert all(math.isnan(reward.score_samples(Query(NUMBER), [bare[i % 3]])[0]) for i in range(10_000))
    told = [Sample("84", signals=Signals.from_logprobs([-0.01]), usage=Usage(10, 1))] * 5
    it = engine(told + bare * 200, models=("small", "large"))
    results = [it.run(NUMBER) for _ in range(300)]
    assert sum(s.accepted for r in results for s in r.samples) == 5


def test_what_is_learnt_is_kept_apart_by_kind():
    it = engine(mid="85")
    for _ in range(60):
        it.run(NUMBER)
    assert it.route(NUMBER).plan == it.pool.reference_plan
    assert it.route("Is 7 prime? Answer yes or no.").plan != it.pool.reference_plan


def test_threads_share_what_is_learnt_and_a_pickle_has_a_lock_of_its_own():
    it = engine()
    with ThreadPoolExecutor(8) as threads:
        assert {r.text for r in threads.map(lambda _: it.run(NUMBER), range(200))} == {"84"}
    memory = it._decider.day_one
    assert pickle.loads(pickle.dumps(memory)).plan(Query(NUMBER), {}) == memory.plan(Query(NUMBER), {})


def test_a_call_that_names_its_model_or_who_may_answer_is_obeyed():
    it = engine()
    assert it.run(NUMBER, model="mid").samples[0].model == "mid"
    assert [s.model for s in it.run(NUMBER, allow=["mid", "large"]).samples] != ["small", "mid"]
    assert it.run(NUMBER, allow=["small"]).samples[0].model == "small"


def test_a_member_that_fails_costs_no_answer():
    it = engine([ValueError("no")], large="86", max_retries=0)
    assert it.run(NUMBER).text == "86"


def test_the_posterior_is_that_of_a_flat_prior():
    assert exceeds(0, 0, 0.25) == 0.75
    assert exceeds(1, 1, 0.5) == 0.75
    assert exceeds(3, 5, 1.0) == 0.0


class WithoutImages(FakeGenerator):
    """Cannot look at pictures."""

    def lacks(self, query):
        return "it takes no images" if query.messages else None


@pytest.mark.parametrize("text", ["What is on it?", NUMBER])
def test_a_reference_that_cannot_answer_is_not_asked_and_the_reason_says_so(text):
    usage = Usage(10, 2)
    cannot, picture = WithoutImages(["84"], usage=usage), Query(text, messages=["a picture"])
    result = engine(large=cannot).run(picture)
    assert [s.model for s in result.samples] == ["mid"]
    assert "the reference cannot answer (it takes no images), so 'mid'" in result.decision.reason
    assert not cannot.calls


def test_where_nobody_can_answer_the_reason_says_so_too():
    cannot = {m: WithoutImages(["84"], usage=Usage(10, 2)) for m in ("small", "mid", "large")}
    decision = engine(**cannot).route(Query(NUMBER, messages=["a picture"]))
    assert decision.model == "large"
    assert "no member can answer, nor can the reference (it takes no images)" in decision.reason
