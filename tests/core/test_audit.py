"""Audits: a random share of calls is compared with the reference, in nobody's way, and billed apart."""

import asyncio
import logging
import threading
import time
from collections import Counter

import numpy as np
import pytest

from bestroute import (
    BestRoute,
    Budget,
    Candidate,
    ConfigError,
    Ledger,
    MajorityVote,
    Plan,
    Query,
    Sample,
    Settings,
    Step,
    Usage,
    Verifier,
)
from bestroute.engine import policy_notices
from bestroute.testing import FakeGenerator

QUESTION = "What is 12 * 7? Answer with only the number."


def engine(pool, *, small=("84",), large=("84",), router=lambda query: "small", audit=1.0, **settings):
    members = {"small": FakeGenerator(list(small)), "mid": FakeGenerator(["84"]), "large": FakeGenerator(list(large))}
    return BestRoute(pool, members, router, audit=audit, **settings)


def answered(routed, query, way, **options):
    if way == "run":
        return routed.run(query, **options)
    if way == "stream":
        return list(routed.stream(query, **options))[-1]

    async def last():
        if way == "arun":
            return await routed.arun(query, **options)
        return [item async for item in routed.astream(query, **options)][-1]

    return asyncio.run(last())


def outcomes(routed):
    routed.close()
    return routed.ledger.outcomes()


@pytest.mark.parametrize("way", ["run", "arun", "stream", "astream"])
def test_the_reference_is_asked_too_and_billed_as_an_audit_of_the_call(pool, ledger, way):
    routed = engine(pool, small=["85"], ledger=ledger)
    result = answered(routed, QUESTION, way, tags={"task": "sums"}, run_id="mine")
    assert result.text == "85"
    (outcome,) = outcomes(routed)
    assert (outcome.call_id, outcome.status, outcome.drop, outcome.method) == (
        result.call_id,
        "compared",
        1.0,
        "agreement",
    )
    assert (outcome.model, outcome.plan, outcome.tags, outcome.probability) == (
        "small",
        "small x 1",
        {"task": "sums"},
        1.0,
    )
    draw, audit = sorted(ledger.rows(), key=lambda row: row["kind"], reverse=True)
    assert [(row["kind"], row["model"], row["call_id"], row["run_id"]) for row in (draw, audit)] == [
        ("draw", "small", result.call_id, "mine"),
        ("audit", "large", result.call_id, "mine"),
    ]
    assert audit["reason"] == "audit of 'small x 1'"
    assert draw["attempt_id"] != audit["attempt_id"]
    assert (outcome.cost_usd, outcome.reference_cost_usd) == (draw["cost_usd"], audit["cost_usd"])


def test_what_audits_cost_is_shown_and_is_not_among_what_answers_cost(pool, ledger):
    routed = engine(pool, ledger=ledger)
    result = routed.run(QUESTION)
    outcomes(routed)
    (cost,) = [row["cost_usd"] for row in ledger.rows() if row["kind"] == "audit"]
    assert cost > 0
    assert (ledger.cost_usd, ledger.audit_cost_usd) == (result.cost_usd, cost)
    assert ledger.reference_cost_usd == result.reference_cost_usd
    for by in (None, "day", "tag", ("day", "tag")):
        (total,) = ledger.totals(by=by).values()
        assert (total["cost_usd"], total["audit_cost_usd"], total["samples"]) == (result.cost_usd, cost, 2)
    by_model = ledger.totals(by="model")
    assert (by_model["large"]["cost_usd"], by_model["large"]["audit_cost_usd"]) == (0.0, cost)
    by_kind = ledger.totals(by=("kind", "model"))
    assert by_kind["audit", "large"]["cost_usd"] == cost
    assert by_kind["draw", "small"]["audit_cost_usd"] == 0.0


def test_an_answer_of_the_reference_has_lost_nothing_for_certain_and_is_not_asked_again(pool):
    cascade = Plan((Step("small", 1, 0.9), Step("large")))
    for plan, reward in ((Plan.of(Candidate("large")), None), (cascade, Verifier(lambda query, text: text == "84"))):
        routed = engine(pool, small=["85"], router=lambda query, plan=plan: plan, reward_model=reward)
        assert routed.run(QUESTION).model == "large"
        (outcome,) = outcomes(routed)
        assert (outcome.status, outcome.drop, len(routed.generators["large"].calls)) == ("certain", None, 1)


def test_the_best_of_several_of_the_reference_is_audited_as_any_other(pool):
    reward = Verifier(lambda query, text: text == "84")
    routed = engine(pool, large=["85", "84", "85"], router=lambda query: ("large", 2), reward_model=reward)
    routed.run(QUESTION)
    (outcome,) = outcomes(routed)
    assert (outcome.status, outcome.drop, outcome.reference_quality) == ("compared", -1.0, 0.0)


def test_about_the_share_is_audited_and_every_other_call_is_counted(pool):
    routed = engine(pool, audit=0.25)
    for _ in range(400):
        routed.run(QUESTION)
    found = outcomes(routed)
    audited = sum(outcome.status == "compared" for outcome in found)
    assert len(found) == 400
    assert 60 <= audited <= 140  # 100, of a standard deviation of 8.7
    assert len(routed.generators["large"].calls) == audited
    assert {outcome.probability for outcome in found} == {0.25}


def test_without_a_share_nothing_is_noted_and_it_may_be_set_at_any_time(pool, own_threads):
    routed = engine(pool, audit=0.0)
    routed.run(QUESTION)
    assert (outcomes(routed), own_threads()) == ([], [])
    routed.audit = 1.0
    routed.run(QUESTION)
    assert len(outcomes(routed)) == 1
    for wrong in (-1, 1.5, "all"):
        with pytest.raises(ConfigError, match=r"audit must be a number in \[0, 1\]"):
            routed.audit = wrong


@pytest.mark.parametrize("mode", ["on", "shadow"])
def test_a_share_that_is_set_while_a_call_ends_is_that_of_later_calls(pool, mode):
    routed = engine(pool, mode=mode)
    routed._auditor._is_reference = lambda *given: setattr(routed, "audit", 0.0)
    routed.run(QUESTION)
    (outcome,) = outcomes(routed)
    assert (outcome.probability, outcome.status) == (1.0, "compared")
    routed.monitor()


def test_a_call_never_waits_for_its_audit(pool):
    gate = threading.Event()

    class Waits(FakeGenerator):
        def generate(self, query, n, **options):
            assert gate.wait(30)
            return super().generate(query, n, **options)

    waits = Waits(["84"])
    members = {"small": FakeGenerator(["84"]), "mid": FakeGenerator(["84"]), "large": waits}
    routed = BestRoute(pool, members, lambda query: "small", audit=1.0)
    for way in ("run", "arun", "stream", "astream"):
        assert answered(routed, QUESTION, way).text == "84"
    assert waits.calls == []
    gate.set()
    assert [outcome.status for outcome in outcomes(routed)] == ["compared"] * 4


def test_where_members_have_a_limit_calls_go_before_audits(pool):
    asked = []

    class Follows(FakeGenerator):
        """Ends an audit when the call waits, too."""

        def generate(self, query, n, **options):
            asked.append(query.text)
            while not routed._sampler.limits["large"]._queue and query.text == QUESTION and len(asked) == 1:
                time.sleep(0.001)
            return super().generate(query, n, **options)

    members = {"small": FakeGenerator(["84"]), "mid": FakeGenerator(["84"]), "large": Follows(["84"])}
    settings = Settings(concurrency={"large": 1})
    routed = BestRoute(
        pool, members, lambda query: "small" if query.text == QUESTION else "large", audit=1.0, settings=settings
    )
    for _ in range(5):
        routed.run(QUESTION)
    while not asked:
        time.sleep(0.001)
    routed.run("And what is 2 * 2?")
    routed.close()
    assert asked == [QUESTION, "And what is 2 * 2?", *[QUESTION] * 4]


def test_what_fails_in_an_audit_reaches_no_caller(pool, caplog):
    routed = engine(pool, large=[RuntimeError("away")], max_retries=0)
    assert routed.run(QUESTION).text == "84"
    (outcome,) = outcomes(routed)
    assert outcome.status == "failed"
    assert [(row["kind"], row["status"]) for row in routed.ledger.rows()] == [("draw", "ok"), ("audit", "failed")]

    def judge(query, texts):
        raise RuntimeError("no judge")

    routed = engine(pool, judge=judge)
    routed.run("Write a poem.")
    (outcome,) = outcomes(routed)
    assert (outcome.status, routed.ledger.audit_cost_usd > 0) == ("uncompared", True)


def test_a_stream_that_is_closed_after_its_answer_is_audited_all_the_same(pool):
    routed = engine(pool)

    async def look():
        async for item in routed.astream(QUESTION):
            if hasattr(item, "samples"):
                return

    asyncio.run(look())
    for item in routed.stream(QUESTION):
        if hasattr(item, "samples"):
            break
    del item
    assert [outcome.status for outcome in outcomes(routed)] == ["compared"] * 2


def test_a_call_that_is_cancelled_has_no_answer_to_compare(pool):
    routed = engine(pool)
    routed.generators["small"].delay_s = 5

    async def cancel():
        task = asyncio.create_task(routed.arun(QUESTION))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert (outcomes(routed), routed.generators["large"].calls) == ([], [])


def test_audits_at_the_same_time_spend_no_more_than_their_budget(pool):
    alone = engine(pool)
    alone.run(QUESTION)
    outcomes(alone)
    price = alone.ledger.audit_cost_usd
    routed = engine(pool, audit_budget=4 * price)
    large = routed.generators["large"]
    large.delay_s, large.max_output_tokens = 0.2, 1
    for _ in range(8):
        routed.run(QUESTION)
    found = Counter(outcome.status for outcome in outcomes(routed))
    assert found.keys() == {"compared", "unaudited"}
    assert routed.audit_budget.spent_usd == pytest.approx(found["compared"] * price)
    assert routed.audit_budget.spent_usd <= 4 * price


def test_audits_have_a_budget_of_their_own(pool):
    routed = engine(pool, audit_budget=1e-9, budget=5.0)
    routed.run(QUESTION)
    (outcome,) = outcomes(routed)
    assert (outcome.status, routed.generators["large"].calls, routed.audit_budget.spent_usd) == ("unaudited", [], 0.0)
    plenty = Budget(10.0)
    routed = engine(pool, audit_budget=plenty, budget=5.0)
    result = routed.run(QUESTION)
    outcomes(routed)
    assert plenty.spent_usd == pytest.approx(routed.ledger.audit_cost_usd)
    assert routed.budget.spent_usd == pytest.approx(result.cost_usd)


class Limited(FakeGenerator):
    """Ends after ten words, or as many as it may use."""

    def generate(self, query, n, *, params, cancel):
        length = min(params.get("max_tokens", 10), 10)
        return [Sample(" ".join(["word"] * length), usage=Usage(3, length), finish_reason="length")]


def test_an_answer_that_the_budget_of_audits_cut_is_compared_with_nothing(pool):
    members = {"small": FakeGenerator(["word"]), "mid": FakeGenerator(["word"]), "large": Limited([])}
    routed = BestRoute(
        pool,
        members,
        lambda query: "small",
        audit=1.0,
        audit_budget=5e-4,  # of a prompt and ten words at 30 USD for a million: 3.3e-4
        judge=lambda query, texts: [len(text) / 100 for text in texts],
    )
    for _ in range(3):
        routed.run("Write ten words.")
        routed.close()
    assert [outcome.status for outcome in outcomes(routed)] == ["compared", "failed", "unaudited"]
    assert routed.ledger.audit_cost_usd == pytest.approx(routed.audit_budget.spent_usd)


def test_in_the_shadow_a_plan_that_the_budget_of_audits_left_short_is_compared_with_nothing(pool):
    plan = Plan((Step("small", 1, accept=0.9), Step("mid")))
    routed = engine(
        pool, small=["85"], router=lambda query: plan, reward_model=MajorityVote(), mode="shadow", audit_budget=3e-5
    )
    routed.run(QUESTION)
    (outcome,) = outcomes(routed)
    assert outcome.status == "failed"


@pytest.mark.parametrize(
    ("judge", "reward", "drop", "method"),
    [
        (lambda query, texts: [0.25, 1.0], None, 0.75, "judge"),
        (lambda query, texts: [5.0, 6.0], Verifier(lambda query, text: float(text == "dear")), 1.0, "reward"),
        (None, Verifier(lambda query, text: float(text == "cheap")), -1.0, "reward"),
        (None, lambda query, texts: [7.0 if text == "dear" else 3.0 for text in texts], 1.0, "reward"),
        (None, lambda query, texts: [2.0] * len(texts), 0.0, "reward"),
    ],
    ids=["judge", "a judge out of range", "verifier", "preference", "no preference"],
)
def test_who_compares_open_text(pool, judge, reward, drop, method):
    routed = engine(pool, small=["cheap"], large=["dear"], judge=judge, reward_model=reward)
    routed.run("Write a poem.")
    (outcome,) = outcomes(routed)
    assert (outcome.status, outcome.drop, outcome.method, outcome.differs) == ("compared", drop, method, None)


def test_open_text_that_nothing_can_compare_is_said_at_construction_and_is_not_drawn(pool, caplog):
    with caplog.at_level(logging.WARNING):
        routed = engine(pool)
    assert "to audit open text, give a judge" in caplog.text
    routed.run("Write a poem.")
    (outcome,) = outcomes(routed)
    assert (outcome.status, routed.generators["large"].calls) == ("uncompared", [])
    caplog.clear()
    engine(pool, judge=lambda query, texts: [1.0, 1.0])
    assert "open text" not in caplog.text


def test_answers_of_one_form_agree_however_they_are_written(pool):
    routed = engine(pool, small=["The answer is **84**."], large=["84.0"])
    routed.run(QUESTION)
    (outcome,) = outcomes(routed)
    assert (outcome.drop, outcome.differs) == (0.0, False)


@pytest.mark.parametrize(
    "query",
    [
        Query("Search it.", tools=[{"type": "web_search_preview"}]),
        Query("Search it.", params={"web_search_options": {}} | {"mcp_servers": [{"url": "x"}]}),
    ],
    ids=["a provider's tool", "a provider's server"],
)
def test_what_a_provider_would_do_again_is_not_audited(pool, query):
    routed = engine(pool, judge=lambda query, texts: [1.0, 1.0])
    routed.run(query)
    (outcome,) = outcomes(routed)
    assert (outcome.status, routed.generators["large"].calls) == ("uncompared", [])


def test_a_call_that_names_its_model_was_not_decided_and_is_not_counted(pool):
    routed = engine(pool)
    routed.run(QUESTION, model="small")
    routed.mode = "off"
    routed.run(QUESTION)
    assert outcomes(routed) == []


def test_in_the_shadow_what_was_decided_is_drawn_and_billed_as_an_audit(pool, ledger):
    routed = engine(pool, small=["85"], mode="shadow", ledger=ledger)
    result = routed.run(QUESTION)
    assert (result.text, result.model) == ("84", "large")
    (outcome,) = outcomes(routed)
    assert (outcome.mode, outcome.model, outcome.plan, outcome.drop) == ("shadow", "small", "small x 1", 1.0)
    rows = {row["kind"]: row for row in ledger.rows()}
    assert (rows["draw"]["model"], rows["audit"]["model"]) == ("large", "small")
    assert (outcome.cost_usd, outcome.reference_cost_usd) == (rows["audit"]["cost_usd"], rows["draw"]["cost_usd"])


def test_in_the_shadow_a_decision_on_the_reference_saves_nothing(pool):
    routed = engine(pool, router=lambda query: "large", mode="shadow")
    for _ in range(3):
        routed.run(QUESTION)
    assert [(o.status, o.cost_usd == o.reference_cost_usd > 0) for o in outcomes(routed)] == [("certain", True)] * 3
    (report,) = routed.monitor()
    assert report.saving_ci95 == (0.0, 0.0)


def test_the_predicted_drop_stands_beside_the_audited_one_and_the_policy_takes_notice(pool):
    observed = []

    class Policy:
        max_drop = 0.0

        def choose(self, prediction, cost_usd, pool):
            return np.zeros(len(cost_usd), dtype=int)

        def observe(self, audit):
            observed.append(audit)

    plans = [Candidate("small"), Candidate("large")]
    routed = engine(pool, small=["85"], router=predicting(plans, [0.7, 0.9]), policy=Policy())
    result = routed.run(QUESTION, tags={"task": "sums"})
    (outcome,) = outcomes(routed)
    assert (outcome.predicted_drop, outcome.target) == (pytest.approx(0.2), 0.0)
    (audit,) = observed
    assert (audit.call_id, audit.drop, audit.model, audit.tags) == (result.call_id, 1.0, "small", {"task": "sums"})
    assert audit.predicted_drop == pytest.approx(0.2)
    assert audit.saved_usd == pytest.approx(outcome.reference_cost_usd - outcome.cost_usd)


def test_a_policy_takes_notice_of_audits_of_others_and_of_the_time_before_it(pool, database_url, monkeypatch):
    class Policy:
        def __init__(self):
            self.observed = []

        def choose(self, prediction, cost_usd, pool):
            return np.zeros(len(cost_usd), dtype=int)

        def observe(self, audit):
            self.observed.append(audit.call_id)

    monkeypatch.setattr(policy_notices, "CATCH_UP_S", 0.0)
    router = predicting([Candidate("small"), Candidate("large")], [0.7, 0.9])
    calls, policies = [], [Policy(), Policy()]
    with Ledger(database_url) as first, Ledger(database_url) as second:
        engines = [
            engine(pool, router=router, policy=policy, ledger=ledger)
            for policy, ledger in zip(policies, (first, second), strict=True)
        ]
        for routed in (*engines, *engines):
            calls.append(routed.run(QUESTION).call_id)
            routed.close()
            first.flush()
        for routed in engines:
            routed.run(QUESTION)
            routed.close()
    for policy in policies:
        assert set(calls) <= set(policy.observed)
        assert len(policy.observed) == len(set(policy.observed))


def test_without_a_trained_router_nothing_is_known_of_familiarity(pool):
    routed = engine(pool)
    assert routed.run(QUESTION).to_dict()["familiarity"] is None
    (outcome,) = outcomes(routed)
    assert (outcome.familiarity, outcome.predicted_drop, outcome.target) == (None, None, None)


def test_a_policy_that_raises_costs_no_audit(pool):
    class Policy:
        def choose(self, prediction, cost_usd, pool):
            return np.zeros(len(cost_usd), dtype=int)

        def observe(self, audit):
            raise RuntimeError("not now")

    routed = engine(pool, router=predicting([Candidate("small"), Candidate("large")], [0.7, 0.9]), policy=Policy())
    routed.run(QUESTION)
    assert [outcome.status for outcome in outcomes(routed)] == ["compared"]


def test_the_bill_and_the_outcome_are_written_together(pool, database_url):
    with Ledger(database_url) as ledger, Ledger(database_url) as reader:
        is_seen = threading.Event()
        routed = engine(pool, ledger=ledger, judge=lambda query, texts: [1.0, 0.5] if is_seen.wait(60) else [])
        call = routed.run("Write a poem.").call_id
        statuses = set()
        while not statuses & {"compared"}:
            status = {outcome.call_id: outcome.status for outcome in reader.outcomes()}.get(call)
            billed = {row["call_id"] for row in reader.rows() if row["kind"] == "audit"}
            assert status is None or call in billed
            statuses.add(status)
            if status == "drawn":
                is_seen.set()
        assert "drawn" in statuses
        routed.close()


def test_a_full_queue_leaves_audits_out(pool, monkeypatch, caplog):
    from bestroute.engine import auditor

    monkeypatch.setattr(auditor, "_MOST_WAITING", 0)
    routed = engine(pool)
    routed.run(QUESTION)
    assert [outcome.status for outcome in outcomes(routed)] == ["unaudited"]
    assert "a call is not audited" in caplog.text


def test_a_ledger_of_somebody_elses_cannot_keep_audits(pool):
    class Books:
        def add(self, rows):
            pass

    with pytest.raises(ConfigError, match="audit needs a bestroute.Ledger, but the ledger is a Books"):
        engine(pool, ledger=Books())


def predicting(plans, quality):
    from bestroute.types.plans import as_plan
    from bestroute.types.prediction import Prediction

    class Router:
        is_light = True

        def predict(self, queries):
            count, shape = len(queries), (len(queries), len(plans))
            return Prediction(
                tuple(as_plan(plan) for plan in plans),
                np.broadcast_to(np.array(quality), shape),
                np.broadcast_to(np.array(quality), shape),
                np.ones((count, 3)),
                np.ones((*shape, 1)),
            )

    return Router()
