"""A part with the required methods alone is whole: its base class says what holds of the rest."""

import ast
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import bestroute
from bestroute import (
    BestRoute,
    Candidate,
    ConfigError,
    GeneratorBase,
    Plan,
    PolicyBase,
    Pool,
    Prediction,
    Price,
    Query,
    RewardModelBase,
    RouterBase,
    Sample,
    Step,
    Usage,
)
from bestroute.testing import FakeGenerator, FakeRouter
from bestroute.types.bases import completed, has_own

BASES = (GeneratorBase, PolicyBase, RewardModelBase, RouterBase)
CORE = Path(bestroute.__file__).parent
POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, "large")
ROUTER = FakeRouter({("small", 1): (0.6, 0.5), ("large", 1): (1.0, 1.0)}, output_tokens=[50, 50])


class Duck:
    native_n = False

    def generate(self, query, n, *, params, cancel):
        return [Sample("quack", usage=Usage(1, 1))] * n


class Shortest:
    def score(self, query, texts):
        return [-float(len(text)) for text in texts]


class Cheapest:
    def choose(self, prediction, cost_usd, pool):
        return cost_usd.argmin(axis=1)


class Even:
    def predict(self, queries):
        ones = np.ones((len(queries), 2))
        return Prediction((Plan.of(Candidate("small")), Plan.of(Candidate("large"))), ones, ones, 50 * ones)


def engine(small=None, reward=None, router=None, **options):
    members = {"small": small or Duck(), "large": FakeGenerator(["large"])}
    return BestRoute(POOL, members, router or (lambda query: "small"), reward, **options)


@pytest.mark.parametrize("base", BASES)
def test_every_member_of_a_seam_has_a_default_and_says_what_it_is(base):
    module = ast.parse((CORE / "types" / "bases.py").read_text(encoding="utf-8"))
    body = next(node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == base.__name__)
    for name, value in vars(base).items():
        if name.startswith("_"):
            continue
        if callable(value):
            assert value.__doc__, name
        else:
            at = next(i for i, n in enumerate(body) if isinstance(n, ast.AnnAssign) and n.target.id == name)
            assert isinstance(body[at + 1], ast.Expr), f"{name} has no docstring"


async def test_a_generator_that_can_only_generate_answers_in_all_four_ways():
    one = engine()
    assert one.run("hi").text == "quack"
    assert (await one.arun("hi")).text == "quack"
    assert [piece.text for piece in one.stream("hi")] == ["quack", "quack"]
    assert [piece.text async for piece in one.astream("hi")] == ["quack", "quack"]
    one.close()
    await one.aclose()


def test_the_engine_shows_the_parts_it_was_given_and_no_stand_in():
    small, reward, router, policy = Duck(), Shortest(), Even(), Cheapest()
    one = engine(small, reward, router, policy=policy)
    assert one.generators["small"] is small
    assert (one.reward_model, one.router, one.policy) == (reward, router, policy)
    assert one.route("hi").policy is policy


async def test_close_is_called_by_aclose_where_a_member_has_no_aclose():
    class Closing(Duck):
        closed = 0

        def close(self):
            self.closed += 1

    small = Closing()
    one = engine(small)
    one.close()
    await one.aclose()
    assert small.closed == 2


def test_a_member_that_is_none_or_no_method_is_not_there():
    class Half(Duck):
        agenerate = None
        lacks = "nothing"
        max_output_tokens = None

    whole = completed(Half(), GeneratorBase)
    assert not has_own(whole, GeneratorBase.agenerate)
    assert whole.lacks(Query("hi")) is None
    assert has_own(whole, GeneratorBase.generate)


def test_what_a_part_changes_later_holds_at_once():
    class Growing(Duck):
        max_output_tokens = 5

    small = Growing()
    whole = completed(small, GeneratorBase)
    small.max_output_tokens = 9
    assert whole.max_output_tokens == 9


def test_an_heir_is_its_own_whole():
    class Mine(GeneratorBase):
        def generate(self, query, n, *, params, cancel):
            return [Sample("mine")]

    mine = Mine()
    assert completed(mine, GeneratorBase) is mine
    assert not has_own(mine, GeneratorBase.stream)
    mine.stream = lambda query, *, params, cancel: iter([Sample("else")])
    assert has_own(mine, GeneratorBase.stream)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))])
def test_a_completed_part_is_copied_and_pickled_with_its_part(again):
    whole = again(completed(Cheapest(), PolicyBase))
    assert whole.choose(None, np.array([[2.0, 1.0]]), POOL).tolist() == [1]
    assert not whole.is_light


def test_a_policy_of_ones_own_without_reasons_is_explained_in_numbers():
    told = engine(router=ROUTER, policy=Cheapest()).route("hi").explain()
    assert "taken by Cheapest" in told
    assert "not taken: quality +0.500, cost +" in told


def test_a_policy_of_ones_own_gives_its_reasons():
    class Talking(Cheapest):
        def verdicts(self, prediction, cost_usd, chosen, pool):
            assert cost_usd.shape == (1, 2)
            return ["nothing is cheaper", "too dear"]

    told = engine(router=ROUTER, policy=Talking()).route("hi").explain()
    assert "nothing is cheaper" in told
    assert "too dear" in told


@pytest.mark.parametrize("verdicts", [lambda *_: ["only one"], lambda *_: 1 / 0, lambda *_: None])
def test_a_policy_whose_reasons_fail_is_explained_in_numbers(verdicts):
    policy = Cheapest()
    policy.verdicts = verdicts
    assert "taken by Cheapest" in engine(router=ROUTER, policy=policy).route("hi").explain()


def test_a_policy_may_become_another_one_that_knows_the_router():
    class Later:
        def choose(self, prediction, cost_usd, pool):
            raise AssertionError("it was to be resolved")

        def resolve(self, router, pool, reward_model):
            assert (router, pool, reward_model) == (ROUTER, POOL, None)
            return Cheapest()

    assert engine(router=ROUTER, policy=Later()).run("hi").text == "quack"


def test_a_reward_that_says_nothing_of_itself_is_no_probability():
    with pytest.raises(ConfigError, match="Shortest is not: declare"):
        engine(reward=Shortest(), router=lambda query: Plan((Step("small", 1, accept=0.5), Step("large", 1)))).run("hi")


def test_a_reward_without_training_leads_a_plan_of_its_own():
    class Sure(Shortest):
        range = (0.0, 1.0)
        needs_training = False
        default_accept = 0.5

        def least_samples(self, accept):
            return 2

        def score(self, query, texts):
            return [1.0] * len(texts)

    members = {"small": Duck(), "large": FakeGenerator(["large"])}
    assert str(BestRoute(POOL, members, reward_model=Sure()).route("hi").plan).startswith("small x 2")


def test_the_core_asks_no_part_for_a_member_that_its_base_does_not_name():
    """Where a router, a policy, a reward model or a generator is looked into by name, the name is the base's."""
    parts = {"generator", "router", "policy", "reward", "reward_model", "generators", "member", "decides"}
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("getattr", "hasattr")
            ):
                asked, name = node.args[0], node.args[1]
                words = {n.id for n in ast.walk(asked) if isinstance(n, ast.Name)}
                words |= {n.attr for n in ast.walk(asked) if isinstance(n, ast.Attribute)}
                if words & parts:
                    known = {member for base in BASES for member in dir(base)}
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}"
                    assert name.value in known, f"{path}:{node.lineno}: {name.value}"
