import json
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from bestroute import Cancel, GenerationError, MajorityVote, Query
from bestroute.cli.demo_shift import TARGET, demo_shifts, shift_lines
from bestroute.demo.dataset import ROUTER, demo_arrays, demo_pool, demo_records, held_out, training
from bestroute.demo.run import _line, _row
from bestroute.demo.tasks import check, normalise
from bestroute.generators.replay import ReplayGenerator
from bestroute.labels import label_plans
from bestroute.labels.plan_labels import fixed_candidates
from bestroute.router import MultiHeadRouter
from bestroute.stats.bootstrap import resample_groups
from bestroute.types.settings import Settings


def draw(generator, text, n=1):
    return generator.generate(Query(text), n, params={}, cancel=Cancel())


def test_the_records_hold_real_answers_of_three_models_to_240_queries_of_120_groups():
    records = demo_records()
    assert len(records) >= 240
    assert len({r.group for r in records}) == 120
    for record in records:
        for samples in record.samples.values():
            assert samples.size >= 6
            assert samples.text is not None
            assert [check(record.extra, t) for t in samples.text] == list(samples.quality)


def test_the_records_hold_what_the_qwen_models_told_of_their_answers_and_the_greedy_one():
    for record in demo_records():
        for model in ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"):
            samples = record.samples[model]
            drawn = [*zip(samples.signals, samples.text, strict=True), (samples.greedy.signals, samples.greedy.text)]
            assert len(drawn) == 11
            for signals, text in drawn:
                assert signals.logprob_share == 1
                assert signals.sum_logprob <= signals.min_logprob <= signals.mean_logprob <= 0
                assert signals.tokens <= 16
                assert signals.sum_logprob == pytest.approx(signals.mean_logprob * signals.tokens, abs=0.01)
                assert signals.tokens >= len(text.split())
            assert samples.greedy.quality == check(record.extra, samples.greedy.text)


def test_log_probabilities_tell_right_answers_of_the_demo_from_wrong_ones():
    for model, least in (("qwen2.5-coder-0.5b", 0.84), ("qwen2.5-coder-1.5b", 0.87)):
        samples = [record.samples[model] for record in demo_records()]
        said = np.array([s.sum_logprob for one in samples for s in one.signals])
        right = np.array([quality for one in samples for quality in one.quality]) > 0.5
        above = np.searchsorted(np.sort(said[~right]), said[right], "left")
        with_ties = np.searchsorted(np.sort(said[~right]), said[right], "right")
        assert (above + with_ties).mean() / 2 / (~right).sum() > least


def test_held_out_groups_are_not_in_training_and_the_router_has_not_seen_them():
    tested, trained = {r.group for r in held_out()}, {r.group for r in training()}
    assert not tested & trained
    assert len(tested | trained) == 120
    router = MultiHeadRouter.from_pretrained(ROUTER)
    assert not any(router.seen_records.has_id(r.id) or router.seen_records.has_group(r.group) for r in held_out())
    assert all(router.seen_records.has_group(r.group) for r in training())


BUILT = """
import json, sys
from bestroute.demo.build import build
from bestroute.demo.dataset import demo_pool, training
router, prices = build(training(), demo_pool())
router.save_pretrained(sys.argv[1])
print(json.dumps(prices))
"""


def test_the_shipped_router_is_what_the_command_makes(tmp_path):
    from bestroute.demo.build import KERNELS
    from bestroute.demo.dataset import operating_points

    command = [sys.executable, "-c", BUILT, str(tmp_path / "router")]
    done = subprocess.run(command, env={**os.environ, **KERNELS}, capture_output=True, text=True, check=True)
    prices = {float(saving): price for saving, price in json.loads(done.stdout.splitlines()[-1]).items()}
    router, shipped = MultiHeadRouter.from_pretrained(tmp_path / "router"), MultiHeadRouter.from_pretrained(ROUTER)
    queries = [Query(r.query) for r in held_out()]
    assert router.plans == shipped.plans
    assert router.shrinkage == shipped.shrinkage
    assert router.frozen == pytest.approx(shipped.frozen)
    known, shown = (made.predict(queries).familiarity for made in (router, shipped))
    assert shown == pytest.approx(known, abs=0.01)
    assert shown.min() > 0.05  # of kinds it was not trained on, and none too odd to be predicted
    assert shipped.predict([Query("hi")]).familiarity[0] < 0.01
    # another processor or library rounds otherwise, and trees cut at other places where two cuts are nearly as good
    apart = np.abs(router.predict(queries).expected_quality - shipped.predict(queries).expected_quality)
    assert apart.mean() < 0.002
    assert apart.max() < 0.01
    assert prices == pytest.approx(operating_points())


def test_replay_draws_without_replacement_in_a_seeded_order():
    record = held_out()[0]
    model = demo_pool().reference
    size = record.samples[model].size
    drawn = [draw(ReplayGenerator([record], model, seed=s), record.query, size) for s in (0, 0, 1)]
    texts = [[sample.text for sample in samples] for samples in drawn]
    assert texts[0] == texts[1]
    assert sorted(texts[0]) == sorted(texts[2]) == sorted(record.samples[model].text)
    assert [s.usage.input > 0 for s in drawn[0]] == [True] + [False] * (size - 1)


def test_replay_gives_the_recorded_greedy_answer_first_where_several_are_drawn_and_a_sample_where_one_is():
    from bestroute import BestRoute

    model, pool = "qwen2.5-coder-0.5b", demo_pool()
    records = [r for r in held_out() if r.samples[model].greedy.text not in r.samples[model].text][:5]
    assert records
    members = {m: ReplayGenerator(records, m) for m in pool.models}
    for n, is_greedy in ((3, True), (1, False)):
        always = Settings(greedy_first="always")  # though the rest are choices of another request
        engine = BestRoute(pool, members, lambda q, n=n: (model, n), MajorityVote(normalise), settings=always)
        for record in records:
            first = engine.run(record.query).samples[0]
            assert (first.signals.mode == "greedy") is is_greedy
            assert (first.text == record.samples[model].greedy.text) is is_greedy
            assert first.signals.sum_logprob is not None


def test_an_unknown_query_and_an_empty_urn_fail_loudly():
    record = held_out()[0]
    generator = ReplayGenerator([record], demo_pool().reference)
    with pytest.raises(GenerationError, match="has no recorded answer for this query"):
        draw(generator, "Who are you?")
    draw(generator, record.query, record.samples[demo_pool().reference].size - 1)
    with pytest.raises(GenerationError, match="has 1 recorded samples left"):
        draw(generator, record.query, 2)


def test_no_reward_sees_the_expected_answer():
    queries = []

    class Spy(MajorityVote):
        def score(self, query, texts):
            queries.append(query)
            return super().score(query, texts)

    pytest.importorskip("langchain_core")
    from langchain_bestroute import BestRouteChat

    pool, records = demo_pool(), held_out()[:5]
    chat = BestRouteChat(
        models={m: ReplayGenerator(records, m) for m in pool.models},
        prices=dict(pool.prices),
        router=lambda query: ("qwen2.5-coder-0.5b", 3),
        reward_model=Spy(normalise),
        bills_input="once",
    )
    for record in records:
        chat.invoke(record.query)
    assert [query.text for query in queries] == [record.query for record in records]
    for query, record in zip(queries, records, strict=True):
        assert len(query.messages) == 1
        assert query.messages[0].text == record.query
        assert query.params == {}


def test_labels_of_a_fixed_choice_agree_with_running_it():
    """The exact quality and cost of a fixed choice are the means of what the engine really does."""
    from bestroute import BestRoute

    pool, records = demo_pool(), list(held_out())[:12]
    arrays = demo_arrays(records, pool)
    arms = label_plans(arrays, fixed_candidates(arrays))
    at = [str(plan) for plan in arms.plans].index("qwen2.5-coder-0.5b x 3")
    quality, cost = [], []
    for seed in range(120):
        members = {m: ReplayGenerator(records, m, seed=seed) for m in pool.models}
        vote = MajorityVote(normalise)
        alike = Settings(greedy_first=False)  # labels are those of samples that are drawn alike
        engine = BestRoute(pool, members, lambda q: ("qwen2.5-coder-0.5b", 3), vote, settings=alike)
        results = [engine.run(r.query) for r in records]
        quality.append(np.mean([check(r.extra, x.text) for r, x in zip(records, results, strict=True)]))
        cost.append(np.mean([x.cost_usd for x in results]))
    error = 4 * np.std(quality) / np.sqrt(len(quality)) + 1e-9
    assert np.mean(quality) == pytest.approx(arms.quality[:, at].mean(), abs=error)
    error = 4 * np.std(cost) / np.sqrt(len(cost)) + 1e-15
    assert np.mean(cost) == pytest.approx(arms.cost_usd[:, at].mean(), abs=error)


def test_intervals_resample_whole_groups():
    records = held_out()
    weights = resample_groups([r.group for r in records], resamples=50)
    for group in {r.group for r in records}:
        columns = [i for i, r in enumerate(records) if r.group == group]
        assert (weights[:, columns] == weights[:, columns[:1]]).all()


def test_the_demo_prints_its_table_and_writes_its_plot(tmp_path):
    pytest.importorskip("langchain_core")
    pytest.importorskip("matplotlib")
    from click.testing import CliRunner

    from bestroute.cli import main

    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    for name in ("smollm2-135m x 1", "qwen2.5-coder-1.5b x 5", "tuned to save 30%", "random mixing"):
        assert name in result.stdout
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert "the demo, tuned to save 50%" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_figures_of_the_demos_page_are_the_demos(tmp_path):
    """docs/demo.md quotes the demo's own lines."""
    pytest.importorskip("langchain_core")
    pytest.importorskip("matplotlib")
    from pathlib import Path

    from click.testing import CliRunner

    from bestroute.cli import main

    printed = CliRunner().invoke(main, ["demo", "--out", str(tmp_path)]).stdout
    page = (Path(__file__).parents[2] / "docs" / "demo.md").read_text()
    quoted = [line for line in page.splitlines() if line.startswith(("> ", "* qwen", "* smollm"))]
    assert len(quoted) >= 5
    assert [line for line in quoted if line not in printed] == []


def test_after_a_change_of_traffic_following_is_nearer_to_the_target_than_the_frozen_price_and_audits_are_paid():
    _, found = demo_shifts(streams=6)
    frozen, follow = (abs(of["later"].drop.mean() - TARGET) for of in (found.frozen, found.follow))
    assert abs(found.frozen["before"].drop.mean() - TARGET) < 0.015
    assert frozen > 0.03
    assert follow < frozen / 2
    assert found.follow["later"].audits.mean() > 0.005


def test_a_change_of_traffic_is_played_from_the_shipped_records_and_printed_with_its_spread():
    lines = list(shift_lines(streams=3, calls=500))
    assert "3 streams of 2 x 500 calls" in lines[1]
    figures = [line for line in lines if re.search(r"drop +-?[\d.]+ % \(\+- [\d.]+\), saves +-?[\d.]+ %", line)]
    assert [line.split()[0] for line in figures] == ["before", "after", "later"] * 2
    assert lines == list(shift_lines(streams=3, calls=500))


def test_queries_so_few_that_the_reference_is_right_on_none_in_many_resamples_have_no_interval_of_the_drop():
    answers, reference, cost = np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.ones(2)
    resamples = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])  # in the first the reference is right on none
    with warnings.catch_warnings(action="error"):
        few = _line("few", (answers, cost), (reference, cost), resamples)
        enough = _line("enough", (answers, cost), (reference, cost), resamples[[0] + [1] * 49 + [2] * 49])
    assert few.drop_ci95 is None
    assert _row(few).endswith("0.0% [no interval]")
    assert enough.drop_ci95 == (0.0, 0.0)
