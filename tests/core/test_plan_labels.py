"""Labels of plans against the executor itself, played in every order the samples can come in."""

from itertools import combinations, permutations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import Pool, Price
from bestroute.engine.plan_executor import Draw, Score, execute
from bestroute.errors import RecordError
from bestroute.labels import SampleArrays, label_plans, vote_weights, winner_weights
from bestroute.labels.enumeration import matched_shares, vote_shares
from bestroute.labels.matches import odds_of, sample_matches
from bestroute.labels.simulation import Plays, shuffled
from bestroute.labels.votes import vote_matches, vote_odds
from bestroute.records.records import ModelSamples, Record
from bestroute.reward_models.majority_vote import MajorityVote
from bestroute.types.plans import Candidate, Plan, Step
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample

POOL = Pool(("a", "b"), {"a": Price(1.0, 2.0), "b": Price(10.0, 20.0)}, "b", max_n=3)
LEVELS = (0.0, 0.4, 0.5, 0.9, 1.0)


def record(a, b, *, texts=None):
    """A record whose rewards are ``a`` and ``b``; qualities and tokens tell every sample apart."""

    def samples(rewards, shift, text):
        size = len(rewards)
        return ModelSamples(
            quality=tuple((i + shift) / 10 for i in range(size)),
            text=text,
            reward=tuple(rewards),
            input_tokens=100,
            output_tokens=tuple(10.0 * (i + 1) for i in range(size)),
        )

    told = texts or (None, None)
    return Record("r", "q", {"a": samples(a, 0, told[0]), "b": samples(b, 5, told[1])}, "r")


def played(one, plan, score, *, is_joint=False, orders=None):
    """Run the executor in every order of both models' samples, or in the orders that are given.

    Returns: chance to be the answer, to be drawn, draws of each step, chance to match the next sample of ``b``.
    """
    answer = {m: np.zeros(s.size) for m, s in one.samples.items()}
    drawn = {m: np.zeros(s.size) for m, s in one.samples.items()}
    steps, matched = np.zeros(len(plan.steps)), 0
    orders = orders or list(product(*(permutations(range(s.size)) for s in one.samples.values())))
    for order in orders:
        urns = dict(zip(one.samples, map(iter, order), strict=True))
        where = []
        commands = execute(plan, calibrated=lambda rewards: rewards, is_joint=is_joint)
        command = next(commands)
        try:
            while True:
                if isinstance(command, Draw):
                    came = [next(urns[command.model]) for _ in range(command.n)]
                    where += [(command.model, i) for i in came]
                    steps[command.step] += command.n
                    told = [
                        DrawnSample(Sample(f"{command.model}{i}", None, None, "stop"), command.model, command.step)
                        for i in came
                    ]
                    command = commands.send(told)
                else:
                    assert isinstance(command, Score)
                    command = commands.send(score(command.texts))
        except StopIteration as end:
            model, i = where[end.value.chosen]
            answer[model][i] += 1
            opponent = next(urns["b"], None)
            matched += opponent is not None and one.samples[model].quality[i] >= one.samples["b"].quality[opponent]
            for model, i in where:
                drawn[model][i] += 1
    total = len(orders)
    return (
        {m: x / total for m, x in answer.items()},
        {m: x / total for m, x in drawn.items()},
        steps / total,
        matched / total,
    )


accepting = st.builds(Step, st.sampled_from("ab"), st.integers(1, 2), st.sampled_from(LEVELS))
last = st.builds(Step, st.sampled_from("ab"), st.integers(1, 2), st.sampled_from((None, None, *LEVELS)))
plans = (
    st.builds(lambda head, tail: Plan((*head, tail)), st.lists(accepting, max_size=2), last)
    .filter(lambda plan: all(sum(s.n for s in plan.steps if s.model == m) <= 3 for m in "ab"))
)  # fmt: skip
rewards = st.lists(st.sampled_from((0.0, 0.3, 0.5, 0.5, 1.0)), min_size=3, max_size=4)


@settings(max_examples=150, deadline=None)
@given(rewards, rewards, plans)
def test_labels_of_fixed_rewards_are_the_executor_in_every_order(a, b, plan):
    one = record(a, b)
    told = {f"{m}{i}": r for m, values in (("a", a), ("b", b)) for i, r in enumerate(values)}
    answer, drawn, steps, matched = played(one, plan, lambda texts: [told[t] for t in texts])
    arrays = SampleArrays.of([one], POOL)
    odds = odds_of(arrays, plan)
    for k, (m, size) in enumerate((("a", len(a)), ("b", len(b)))):
        # samples of equal reward are exchangeable for the answer only as the order makes them: compare each
        np.testing.assert_allclose(odds.answer[0, k, :size], answer[m], atol=1e-12)
        np.testing.assert_allclose(odds.drawn[0, k, :size], drawn[m], atol=1e-12)
    np.testing.assert_allclose(odds.draws[0], steps, atol=1e-12)
    labels = label_plans(arrays, [plan])
    if sum(step.n for step in plan.steps if step.model == "b") < len(b):
        assert labels.match_probability[0, 0] == pytest.approx(matched)
    tokens = {m: 10.0 * (np.arange(len(v)) + 1) for m, v in (("a", a), ("b", b))}
    cost = sum((drawn[m] @ (100 * POOL.prices[m].input + tokens[m] * POOL.prices[m].output)) / 1e6 for m in "ab")
    assert labels.cost_usd[0, 0] == pytest.approx(cost)


words = st.lists(st.sampled_from(("x", "y", "")), min_size=3, max_size=3)


@settings(max_examples=25, deadline=None)
@given(words, words, plans)
def test_labels_of_votes_are_the_executor_within_simulation_error(a, b, plan):
    one = record([0.0] * 3, [0.0] * 3, texts=(tuple(a), tuple(b)))
    said = {f"{m}{i}": t for m, values in (("a", a), ("b", b)) for i, t in enumerate(values)}
    vote = MajorityVote()

    def score(texts):
        return vote.score(Query("q"), [said[t] for t in texts])

    answer, drawn, steps, matched = played(one, plan, score, is_joint=True)
    arrays = SampleArrays.of([one], POOL, reward="majority")
    draws = 4000
    odds = vote_odds(arrays, plan, draws=draws)
    assert odds.answer.sum() == pytest.approx(1.0)
    error = 4.5 * 0.5 / np.sqrt(draws)
    for k, m in enumerate("ab"):
        np.testing.assert_allclose(odds.drawn[0, k], drawn[m], atol=error)
        for text in set(a if m == "a" else b):  # equal answers share what they have together
            at = [i for i, t in enumerate(a if m == "a" else b) if t == text]
            assert odds.answer[0, k, at].sum() == pytest.approx(answer[m][at].sum(), abs=error)
    np.testing.assert_allclose(odds.draws[0], steps, atol=2 * error)
    if sum(step.n for step in plan.steps if step.model == "b") < len(b):
        assert vote_matches(arrays, plan, 1, draws=draws)[0] == pytest.approx(matched, abs=error)


@settings(max_examples=100, deadline=None)
@given(words, words, plans, plans)
def test_votes_are_played_as_the_executor_does_in_the_same_orders_whatever_was_played_before(a, b, plan, before):
    one = record([0.0] * 3, [0.0] * 3, texts=(tuple(a), tuple(b)))
    said = {f"{m}{i}": t for m, values in (("a", a), ("b", b)) for i, t in enumerate(values)}
    arrays = SampleArrays.of([one], POOL, reward="majority")
    orders = shuffled(arrays, draws=12, seed=3)[0].tolist()

    def score(texts):
        return MajorityVote().score(Query("q"), [said[t] for t in texts])

    answer, drawn, steps, _ = played(one, plan, score, is_joint=True, orders=orders)
    plays = Plays(arrays, draws=12, seed=3)
    plays.odds(before)
    odds = plays.odds(plan)
    np.testing.assert_allclose(odds.answer[0], [answer["a"], answer["b"]], atol=1e-12)
    np.testing.assert_allclose(odds.drawn[0], [drawn["a"], drawn["b"]], atol=1e-12)
    np.testing.assert_allclose(odds.draws[0], steps, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.data())
def test_votes_of_subsets_are_counted_once_for_records_that_vote_alike(answers, data):
    size = len(answers)
    n = data.draw(st.integers(1, size - 1))
    quality = np.array([data.draw(st.lists(st.sampled_from((0.0, 0.5, 1.0)), min_size=size, max_size=size))] * 2)
    order = data.draw(st.permutations(range(size)))
    same = np.array([answers, [(0, 7, 5, 9)[answers[i]] for i in order]])  # dealt and named otherwise
    quality[1] = quality[0, order]
    expected, matched = np.zeros(size), []
    for drawn in combinations(range(size), n):
        votes = [sum(answers[i] == answers[j] for j in drawn) if answers[i] else 0 for i in drawn]
        leading = [i for i, v in zip(drawn, votes, strict=True) if v == max(votes)]
        left = [j for j in range(size) if j not in drawn]
        expected[leading] += 1 / len(leading) / comb(size, n)
        matched.append(np.mean([quality[0, i] >= quality[0, j] for i in leading for j in left]))
    np.testing.assert_allclose(vote_shares(same, n), [expected, expected[order]], atol=1e-12)
    np.testing.assert_allclose(matched_shares(same, quality, n), np.mean(matched), atol=1e-12)


def test_candidates_are_the_closed_forms_of_one_model():
    one = record([0.3, 0.1, 0.9, 0.3], [0.5] * 4, texts=(("x", "y", "x", ""), ("y",) * 4))
    for n in (1, 2, 3):
        plan = Plan.of(Candidate("a", n))
        by_reward = odds_of(SampleArrays.of([one], POOL), plan).answer[0, 0]
        np.testing.assert_allclose(by_reward, winner_weights(np.array([0.3, 0.1, 0.9, 0.3]), n))
        by_vote = odds_of(SampleArrays.of([one], POOL, reward="majority"), plan).answer[0, 0]
        np.testing.assert_allclose(by_vote, vote_weights(["x", "y", "x", ""], n) if n > 1 else [0.25] * 4)


def of_reference(quality, *, reward="quality", texts=None):
    theirs = ModelSamples(tuple(quality), text=texts, input_tokens=100, output_tokens=(10.0,) * len(quality))
    other = ModelSamples((0.0,) * 3, text=("z",) * 3, input_tokens=100, output_tokens=(10.0,) * 3)
    return SampleArrays.of([Record("r", "q", {"a": other, "b": theirs}, "r")], POOL, reward=reward)


def matches_of(arrays, n):
    return label_plans(arrays, [Plan.of(Candidate("b", n))]).match_probability[0, 0]


def test_the_best_of_the_reference_is_compared_with_a_sample_that_was_not_drawn():
    # of [1, 0, 0]: the right one is drawn in two of three pairs and matches; else it is the opponent and wins
    assert matches_of(of_reference([1.0, 0.0, 0.0]), 2) == pytest.approx(2 / 3)
    # whoever wins the vote matches, unless the one right sample was left for the opponent
    voted = of_reference([1.0, 0.0, 0.0, 0.0], reward="majority", texts=("x", "y", "y", "z"))
    assert matches_of(voted, 3) == pytest.approx(3 / 4)


def test_matches_that_are_not_wanted_are_nan_and_change_nothing_else():
    arrays, plans = of_reference([1.0, 0.0, 0.0]), [Plan.of(Candidate("b", n)) for n in (1, 2)]
    wanted, spared = label_plans(arrays, plans), label_plans(arrays, plans, matches=False)
    assert np.isnan(spared.match_probability).all()
    assert (spared.quality == wanted.quality).all()
    assert (spared.cost_usd == wanted.cost_usd).all()


def test_a_plan_that_draws_every_sample_of_the_reference_is_judged_by_one_fewer():
    arrays = of_reference([1.0, 0.0, 0.0])
    assert matches_of(arrays, 3) == matches_of(arrays, 2)
    twice = Plan((Step("b", 1, 0.5), Step("a", 1, 0.5), Step("b", 2)))
    once = Plan((Step("b", 1, 0.5), Step("a", 1, 0.5), Step("b", 1)))
    both = label_plans(arrays, [twice, once]).match_probability[0]
    assert both[0] == pytest.approx(both[1])


def test_a_sample_of_the_reference_is_compared_with_the_others():
    one = record([0.0] * 3, [0.0] * 3)  # qualities 0.5, 0.6, 0.7 of the reference
    matches = sample_matches(SampleArrays.of([one], POOL))
    np.testing.assert_allclose(matches[0, 1], [0.0, 0.5, 1.0])
    np.testing.assert_allclose(matches[0, 0], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(sample_matches(SampleArrays.of([one], POOL), margin=0.3)[0, 0], [0, 0, 1 / 3], atol=1e-9)


def test_a_prompt_billed_once_is_counted_once_by_the_labels():
    pool = Pool(("a", "b"), POOL.prices, "b", max_n=3, bills_input={"a": "once"})
    plans = [Plan.of(Candidate("a", 3)), Plan((Step("a", 3, 1.0),))]
    once = label_plans(SampleArrays.of([record([0.0] * 3, [1.0] * 3)], pool), plans).cost_usd[0]
    per_sample = label_plans(SampleArrays.of([record([0.0] * 3, [1.0] * 3)], POOL), plans).cost_usd[0]
    assert per_sample[0] - once[0] == pytest.approx(2 * 100 * 1.0 / 1e6)
    assert once[1] == per_sample[1]  # drawn one at a time: every call bills its prompt


def test_the_published_sampling_estimator_agrees_within_three_standard_errors():
    """10 subsets with replacement of 20 samples, the best of each against 10 samples of the reference."""
    rng = np.random.default_rng(7)
    disagreements = 0
    for _ in range(50):
        reward, quality, reference = rng.normal(size=20), rng.normal(size=20).round(1), rng.normal(size=20).round(1)
        n = int(rng.integers(1, 6))
        exact = winner_weights(reward, n) @ (quality[:, None] >= reference).mean(axis=1)
        estimates = []
        for _ in range(400):
            best = [
                subset[reward[subset].argmax()]
                for subset in rng.permuted(np.tile(np.arange(20), (10, 1)), axis=1)[:, :n]
            ]
            drawn = rng.integers(0, 20, size=10)
            estimates.append((quality[best][:, None] >= reference[drawn]).mean())
        error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
        disagreements += abs(np.mean(estimates) - exact) > 3 * max(error, 1e-9)
    assert disagreements <= 1  # 0.3 % of 50 tries are beyond three standard errors by chance alone


def test_what_the_records_cannot_tell_is_refused():
    arrays = SampleArrays.of([record([0.1, 0.2], [0.5, 0.6])], POOL)
    with pytest.raises(RecordError, match="draws 3 samples of 'a', the record has 2; collect more"):
        label_plans(arrays, [Plan.of(Candidate("a", 3))])
    wild = SampleArrays.of([record([-3.0, 7.0], [0.5, 0.6])], POOL)
    with pytest.raises(RecordError, match="needs a calibrated reward"):
        label_plans(wild, [Plan((Step("a", 1, 0.5), Step("b")))])
    told = ModelSamples((1.0,), None, None, 1, (1.0,))
    with pytest.raises(RecordError, match="a vote needs answers"):
        SampleArrays.of([Record("r", "q", {"a": told, "b": told}, "r")], POOL, reward="majority")
    with pytest.raises(RecordError, match=r"samples\.a\.reward' is missing.*--reward quality"):
        SampleArrays.of([Record("r", "q", {"a": told, "b": told}, "r")], POOL)
    bare = Record("r", "q", {"a": ModelSamples((1.0, 0.0)), "b": ModelSamples((1.0, 1.0))}, "r")
    with pytest.raises(RecordError, match="input_tokens of 'a'|output_tokens of 'a'"):
        SampleArrays.of([bare], POOL, reward="quality")
