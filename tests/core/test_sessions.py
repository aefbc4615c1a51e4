"""Conversations and prompt caches: a turn is priced as it will be billed, so one stays where its cache is warm."""

import numpy as np
import pytest

from bestroute import BestRoute, Candidate, ConfigError, Pool, Price, QualityPolicy, Query, Settings, Usage
from bestroute.testing import FakeGenerator
from bestroute.types.plans import as_plan
from bestroute.types.prediction import Prediction

PLANS = tuple(as_plan(Candidate(model)) for model in ("small", "large"))


SMALL, LARGE = Price(1.0, 1.0, cached_input=0.1), Price(2.0, 2.0, cached_input=0.2)


class Scripted:
    """Predicts the small model's quality as a query's system prompt says; the large one's is 0.9."""

    is_light = True

    def predict(self, queries):
        quality = np.array([[float(q.system), 0.9] for q in queries])
        return Prediction(PLANS, quality, quality, np.ones((len(queries), 2)))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def engine(*, price=0.02, small=SMALL, large=LARGE, **settings):
    pool = Pool(["small", "large"], {"small": small, "large": large}, "large", 1)
    usage = Usage(10_000, 10)
    members = {m: FakeGenerator([m], usage=usage) for m in pool.models}
    routed = BestRoute(pool, members, Scripted(), policy=QualityPolicy(price), settings=Settings(**settings))
    routed._sessions.clock = Clock()
    return routed


def turn(routed, quality, session="s", tokens=10_000, **options):
    query = Query(f"turn of {quality}", system=str(quality), input_tokens=tokens)
    return routed.run(query, session=session, **options)


def test_a_conversation_stays_where_its_cache_is_warm_unless_moving_gains_more_than_a_cold_one_costs():
    routed = engine()
    # cold, small costs 0.010 and large 0.020 USD: 0.45 of quality at 0.02 USD a unit is worth 0.009
    assert turn(routed, 0.39).model == "large"  # 0.51 x 0.02 = 0.0102 > 0.010
    # warm, large costs 0.002: small would have to be cheaper than that by more than it loses
    assert turn(routed, 0.89).model == "large"
    assert turn(routed, 0.89, session="another").model == "small"
    # what small gains by its price is nothing: 0.010 cold against 0.002 warm
    assert turn(routed, 0.9).model == "large"


def test_where_the_gain_is_larger_than_a_cold_cache_it_moves():
    routed = engine(price=0.1)
    assert turn(routed, 0.89).model == "small"  # saves 0.010, loses 0.001
    assert turn(routed, 0.75).model == "small"  # 0.15 x 0.1 = 0.015 < 0.019, what large costs more, cold
    assert turn(routed, 0.60).model == "large"  # 0.30 x 0.1 = 0.030


def test_a_cache_that_has_expired_keeps_nobody():
    routed = engine(cache_lifetime_s={"large": 60.0})
    assert turn(routed, 0.3).model == "large"
    routed._sessions.clock.now = 59.0
    assert turn(routed, 0.89).model == "large"
    routed._sessions.clock.now = 59.0 + 61.0
    assert turn(routed, 0.89).model == "small"


def test_short_prompts_are_not_cached():
    routed = engine(cache_least_tokens=20_000)
    assert [turn(routed, 0.3).model, turn(routed, 0.89).model] == ["large", "small"]


def test_without_a_price_for_cached_input_nothing_is_assumed():
    routed = engine(small=Price(1.0, 1.0), large=Price(2.0, 2.0))
    assert [turn(routed, 0.3).model, turn(routed, 0.89).model] == ["large", "small"]


def test_the_expected_cost_is_what_a_warm_prompt_is_billed():
    routed = engine()
    assert turn(routed, 0.3).decision.estimated_cost_usd == pytest.approx((10_000 * 2.0 + 2.0) / 1e6)
    warm = turn(routed, 0.3, tokens=11_000).decision
    assert warm.estimated_cost_usd == pytest.approx((10_000 * 0.2 + 1_000 * 2.0 + 2.0) / 1e6)


def test_savings_are_against_a_reference_that_would_be_as_warm():
    routed = engine(price=0.001)
    first, second = turn(routed, 0.89), turn(routed, 0.89)
    assert (first.model, second.model) == ("small", "small")
    assert first.reference_cost_usd == pytest.approx((10_000 * 2.0 + 2.0) / 1e6)
    assert second.reference_cost_usd == pytest.approx((10_000 * 0.2 + 2.0) / 1e6)
    assert routed.ledger.reference_cost_usd == pytest.approx(first.reference_cost_usd + second.reference_cost_usd)
    routed._sessions.clock.now = 301.0
    assert turn(routed, 0.89).reference_cost_usd == pytest.approx(first.reference_cost_usd)


def test_without_a_session_the_first_message_tells_the_conversation():
    routed = engine()
    start = [{"role": "user", "content": "the task"}]
    later = [*start, {"role": "assistant", "content": "so"}, {"role": "user", "content": "and now?"}]
    other = [{"role": "user", "content": "another task"}, *later[1:]]
    for messages, quality, model in ((start, 0.3, "large"), (later, 0.89, "large"), (other, 0.89, "small")):
        query = Query("and now?", messages=messages, system=str(quality), input_tokens=10_000)
        assert routed.run(query).model == model


def test_the_oldest_conversations_are_forgotten(monkeypatch):
    from bestroute.engine import sessions

    monkeypatch.setattr(sessions, "_MOST_SESSIONS", 2)
    routed = engine()
    for session in ("a", "b", "c"):
        turn(routed, 0.3, session=session)
    assert [turn(routed, 0.89, session=session).model for session in ("c", "a")] == ["large", "small"]


@pytest.mark.parametrize(
    "wrong", [{"cache_lifetime_s": -1}, {"cache_lifetime_s": {"a": "x"}}, {"cache_least_tokens": 0}]
)
def test_settings_of_caches_are_checked(wrong):
    with pytest.raises(ConfigError, match="Settings: cache_"):
        Settings(**wrong)


def test_a_conversation_stays_a_least_number_of_turns_whatever_a_move_would_gain():
    routed = engine(price=0.1, small=Price(1.0, 1.0), large=Price(2.0, 2.0), least_turns=3)
    assert turn(routed, 0.1).model == "large"
    second = turn(routed, 0.9)
    assert second.model == "large"
    assert "the conversation stays with 'large'" in second.decision.reason
    assert turn(routed, 0.9).model == "large"
    assert turn(routed, 0.9).model == "small"  # free to go, and kept there again
    assert [turn(routed, 0.1).model for _ in range(3)] == ["small", "small", "large"]
    assert turn(routed, 0.9, session="another").model == "small"


def test_a_call_that_names_its_model_and_a_failure_end_the_stay():
    routed = engine(price=0.1, least_turns=3)
    assert turn(routed, 0.1).model == "large"
    assert turn(routed, 0.1, model="small").model == "small"
    assert turn(routed, 0.1).model == "small"
    routed.generators["small"].answers = [ConnectionError("no")]
    assert turn(routed, 0.1).model == "large"


def test_the_least_number_of_turns_is_checked():
    with pytest.raises(ConfigError, match="Settings: least_turns"):
        Settings(least_turns=0)
