"""The executor against a plain nested loop that shares no code with it."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import BestRoute, GenerationError, MajorityVote, Plan, Pool, Price, Query, Sample, Step
from bestroute.engine.plan_executor import Draw, execute
from bestroute.testing import FakeGenerator, FakeReward
from bestroute.types.sample import DrawnSample
from bestroute.types.settings import Settings

REWARDS = st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.9, 1.0, None])  # None: the draw fails


def nested_loop(steps, urns):
    """Run a plan on numbered urns of rewards; return (model, position) drawn in order, and the answer."""
    drawn, seen = [], []
    position = dict.fromkeys(urns, 0)
    for model, n, accept in steps:
        here = []
        for _ in range(n):
            reward = urns[model][position[model]]
            drawn.append((model, position[model]))
            position[model] += 1
            if reward is None:
                continue
            entry = (reward if accept is not None or n > 1 else None, len(drawn) - 1)
            here.append(entry)
            seen.append(entry)
            if accept is not None and reward >= accept:
                return drawn, len(drawn) - 1
        if accept is None and here:
            return drawn, max(here, key=lambda e: (-1 if e[0] is None else e[0], -e[1]))[1]
    if not seen:
        return drawn, None
    return drawn, max(seen, key=lambda e: (-1 if e[0] is None else e[0], -e[1]))[1]


@st.composite
def cases(draw):
    steps = []
    count = draw(st.integers(1, 4))
    for i in range(count):
        is_last = i == count - 1
        accept = draw(st.sampled_from([0.2, 0.5, 0.9, 1.0] + [None] * is_last))
        steps.append((draw(st.sampled_from("ab")), draw(st.integers(1, 3)), accept))
    urns = {m: draw(st.lists(REWARDS, min_size=12, max_size=12)) for m in "ab"}
    return steps, urns


def drive(plan, urns):
    """Obey the executor's commands from the urns."""
    position = dict.fromkeys(urns, 0)
    script = execute(plan, calibrated=list)
    reply, drawn = None, []
    while True:
        try:
            command = script.send(reply)
        except StopIteration as stop:
            return drawn, stop.value
        if isinstance(command, Draw):
            reply = []
            for _ in range(command.n):
                reward = urns[command.model][position[command.model]]
                drawn.append((command.model, position[command.model]))
                position[command.model] += 1
                error = None if reward is not None else RuntimeError("no")
                reply.append(DrawnSample(Sample(str(reward), error=error), command.model, command.step))
        else:
            reply = [float(text) for text in command.texts]


@settings(max_examples=2000, deadline=None)
@given(cases())
def test_plans_draw_and_answer_as_a_nested_loop_does(case):
    steps, urns = case
    drawn, outcome = drive(Plan(tuple(Step(*s) for s in steps)), urns)
    assert (drawn, outcome.chosen) == nested_loop(steps, urns)
    assert len(outcome.samples) == len(drawn)


def test_expected_quality_and_draws_agree_with_enumeration_of_all_orders():
    # 'a' holds rewards 1, 0, 0; 'b' holds 1, 1, 0: accept at 1, two draws of a, then one of b
    steps = [("a", 2, 1.0), ("b", 1, None)]
    quality = draws = runs = 0
    for a in permutations([1.0, 0.0, 0.0]):
        for b in permutations([1.0, 1.0, 0.0]):
            drawn, outcome = drive(Plan(tuple(Step(*s) for s in steps)), {"a": list(a), "b": list(b)})
            quality += float(outcome.samples[outcome.chosen].text)
            draws += len(drawn)
            runs += 1
    # a right sample within two draws: 2/3; otherwise b's, right 2/3 of the time
    assert quality / runs == pytest.approx(2 / 3 + 1 / 3 * 2 / 3)
    # the first is right 1/3 of the time (1 draw), the second 1/3 (2 draws), else 3 draws
    assert draws / runs == pytest.approx((1 + 2 + 3) / 3)


POOL = Pool(["small", "mid", "large"], {m: Price(1, 1) for m in ("small", "mid", "large")}, "large")


def engine(reward, **members):
    generators = {name: FakeGenerator(members.get(name, ["unused"])) for name in POOL.models}
    settings = Settings(attempts=1)
    return BestRoute(
        POOL, generators, router=lambda q: PLAN["plan"], reward_model=reward, settings=settings
    ), generators


PLAN: dict = {}


def test_the_first_accepted_sample_ends_the_plan():
    PLAN["plan"] = Plan((Step("small", 3, 0.8), Step("large")))
    reward = FakeReward(lambda text: float(text), is_probability=True)
    router, members = engine(reward, small=["0.1", "0.9", "0.95"])
    result = router.run("?")
    assert result.text == "0.9"
    assert [s.accepted for s in result.samples] == [False, True]
    assert members["small"].calls == [("?", 1), ("?", 1)]
    assert members["large"].calls == []


def test_after_the_last_step_the_best_seen_answers_and_ties_go_to_the_earliest():
    PLAN["plan"] = Plan((Step("small", 2, 0.8), Step("mid", 2, 0.8)))
    reward = FakeReward(lambda text: float(text[:3]), is_probability=True)
    router, _ = engine(reward, small=["0.1", "0.5 first"], mid=["0.5 second", "0.2"])
    result = router.run("?")
    assert (result.text, result.chosen, len(result.samples)) == ("0.5 first", 1, 4)


def test_a_last_step_without_accept_answers_with_its_own_best():
    PLAN["plan"] = Plan((Step("small", 1, 0.8), Step("mid", 2)))
    reward = FakeReward(float, is_probability=True)
    router, _ = engine(reward, small=["0.7"], mid=["0.1", "0.3"])
    assert router.run("?").text == "0.3"


def test_a_single_sample_of_the_last_step_is_not_scored():
    PLAN["plan"] = Plan((Step("small", 1, 0.8), Step("large")))
    reward = FakeReward(float, is_probability=True)
    router, _ = engine(reward, small=["0.1"], large=["0"])
    result = router.run("?")
    assert result.text == "0"
    assert [s.reward for s in result.samples] == [0.1, None]
    assert reward.scored == [["0.1"]]


def test_votes_agree_across_models():
    PLAN["plan"] = Plan((Step("small", 1, 0.85), Step("mid", 1, 0.85), Step("large")))
    router, members = engine(MajorityVote(), small=["4"], mid=["4"], large=["5"])
    result = router.run("2 + 2?")
    assert result.text == "4"
    assert members["large"].calls == []
    assert [s.reward for s in result.samples] == [0.875, 0.875]


def test_a_step_in_which_every_draw_failed_gives_way_to_the_next():
    PLAN["plan"] = Plan((Step("small", 2, 0.8), Step("large")))
    reward = FakeReward(float, is_probability=True)
    router, _ = engine(reward, small=[RuntimeError("down")], large=["1"])
    result = router.run("?")
    assert result.text == "1"
    assert [type(s.error) for s in result.samples] == [RuntimeError, RuntimeError, type(None)]


def test_if_the_last_step_fails_the_best_seen_before_it_answers():
    PLAN["plan"] = Plan((Step("small", 2, 0.8), Step("large")))
    reward = FakeReward(float, is_probability=True)
    router, _ = engine(reward, small=["0.3", "0.4"], large=[RuntimeError("down")])
    assert router.run("?").text == "0.4"


def test_if_everything_failed_every_failure_is_told():
    PLAN["plan"] = Plan((Step("small", 1, 0.8), Step("large")))
    reward = FakeReward(float, is_probability=True)
    router, _ = engine(reward, small=[RuntimeError("down")], large=[TimeoutError("late")])
    with pytest.raises(GenerationError, match="'small': RuntimeError: down; 'large': TimeoutError: late") as caught:
        router.run(Query("?"))
    assert [f.model for f in caught.value.failures] == ["small", "large"]
    assert len(router.ledger.rows()) == 2
