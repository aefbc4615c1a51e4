"""A promise on a judge's labels: right by people's verdicts, refused where they are too few, and naive without them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from bestroute.cli import main
from bestroute.judges.gold import HumanVerdict, judged_by_people
from bestroute.labels import SampleArrays
from bestroute.records.records import ModelSamples, Record, write_records
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import synthetic_pool, synthetic_records
from bestroute.tuning.certify import Outcomes, certify_drop
from bestroute.tuning.judged import certify_drop_by_people

SETTINGS, MAX_DROP, WORLDS = 6, 0.02, 200


def world(rng, queries, error):
    """Settings that lose more the more they save, by people and by a judge who is kind to cheap answers."""
    reference = (rng.random(queries) < 0.8).astype(float)
    drops = np.linspace(0.0, 0.1, SETTINGS)
    quality = np.array([np.where(rng.random(queries) < drop / 0.8, 0.0, reference) for drop in drops])
    cost = np.repeat(np.linspace(0.9, 0.4, SETTINGS)[:, None], queries, axis=1)
    kind = rng.random(quality.shape) < error  # to what the cheap models say, right or wrong
    judged = np.where(kind & (quality < reference), 1.0, quality)
    groups = np.arange(queries)
    people = Outcomes(quality, cost, reference, np.ones(queries), groups)
    return people, Outcomes(judged, cost, reference, np.ones(queries), groups), drops


@pytest.mark.parametrize("error", [0.3, 0.6, 0.9])
def test_promises_hold_in_peoples_eyes_where_the_judge_alone_breaks_them(error):
    """200 worlds of 2,000 queries, 400 judged by people; a promise is broken where the true drop is above it."""
    rng = np.random.default_rng(11)
    broken = naive = made = 0
    for _ in range(WORLDS):
        people, judge, drops = world(rng, 2400, error)
        order, calibrate, gold = np.arange(300), np.arange(300, 2000), np.arange(2000, 2400)
        alone = certify_drop(judge.take(order), judge.take(calibrate), max_drop=MAX_DROP, confidence=0.95)
        naive += alone.setting is not None and drops[alone.setting] > MAX_DROP * 0.8
        parts = (judge.take(order), judge.take(calibrate), judge.take(gold), people.take(gold))
        found = certify_drop_by_people(*parts, max_drop=MAX_DROP, confidence=0.95)
        made += found.setting is not None
        broken += found.setting is not None and drops[found.setting] > MAX_DROP * 0.8
    allowed = WORLDS * 0.05 + 2 * (WORLDS * 0.05 * 0.95) ** 0.5
    assert broken <= allowed
    assert naive > allowed
    assert made > WORLDS / 10


def test_too_few_people_are_a_refusal_that_says_how_many_would_do():
    rng = np.random.default_rng(3)
    people, judge, _ = world(rng, 2400, 0.1)
    order, calibrate = judge.take(np.arange(300)), judge.take(np.arange(300, 2000))

    def asked(n):
        gold = np.arange(2000, 2000 + n)
        return certify_drop_by_people(
            order, calibrate, judge.take(gold), people.take(gold), max_drop=0.05, confidence=0.95
        )

    few = asked(60)
    assert few.setting is None
    assert 60 < few.needed < 2000
    assert asked(10).setting is None
    assert asked(400).setting is not None


def test_records_that_people_judged_whole_are_taken_and_others_left():
    records = [
        Record("a", "q", {"m": ModelSamples((1.0, 0.0), ("x", "y")), "r": ModelSamples((1.0,), ("z",))}, "g", "", {}),
        Record("b", "q", {"m": ModelSamples((1.0,), ("x",)), "r": ModelSamples((1.0,), ("z",))}, "h", "", {}),
    ]
    gold = [
        HumanVerdict("a", "x", 0.5),
        HumanVerdict("a", "y", 1.0),
        HumanVerdict("a", "z", 0.0),
        HumanVerdict("b", "x", 1),
    ]
    whole = judged_by_people(records, gold)
    assert list(whole) == ["a"]
    assert whole["a"].samples["m"].quality == (0.5, 1.0)
    assert whole["a"].samples["r"].quality == (0.0,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("by_people")
    pool = synthetic_pool(max_n=2)
    train = SampleArrays.of(synthetic_records(96, samples=4, prefix="train"), pool, reward="quality")
    router = train_router(train, TrainSettings(reward="quality", offered=5, margin=0.25, seed=3)).router
    router.save_pretrained(where / "router")
    fresh = [
        Record(r.id, r.query, {m: with_texts(s) for m, s in r.samples.items()}, r.group, r.task, r.extra)
        for r in synthetic_records(400, samples=2, seed=5, prefix="fresh")
    ]
    write_records(where / "fresh.jsonl", fresh)
    lines = [
        {"id": r.id, "text": text, "quality": quality}
        for r in fresh[:160]
        for s in r.samples.values()
        for text, quality in zip(s.text, s.quality, strict=True)
    ]
    (where / "gold.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return where


def with_texts(samples):
    return ModelSamples(
        samples.quality,
        tuple(f"text {i}" for i in range(samples.size)),
        samples.reward,
        samples.input_tokens,
        samples.output_tokens,
        samples.cost_usd,
    )


def test_the_command_promises_or_refuses_by_gold(folder):
    arguments = ["tune", str(folder / "router"), str(folder / "fresh.jsonl"), "--gold", str(folder / "gold.jsonl")]
    done = CliRunner().invoke(main, [*arguments, "--max-drop", "0.3"])
    if done.exit_code == 0:
        assert "people: 160 queries of 40 groups" in done.stdout
        assert "on the part that people judged: saving" in done.stdout
    refused = CliRunner().invoke(main, [*arguments, "--max-drop", "0.001"])
    assert refused.exit_code == 2
    assert "people's verdicts on 40 groups" in refused.stderr
    assert "--gold is for --max-drop" in CliRunner().invoke(main, [*arguments, "--budget", "1"]).stderr


def test_gold_about_other_answers_is_one_sentence(folder, tmp_path):
    (tmp_path / "gold.jsonl").write_text('{"id": "x", "text": "y", "quality": 1}\n')
    paths = [str(path) for path in (folder / "router", folder / "fresh.jsonl", tmp_path / "gold.jsonl")]
    done = CliRunner().invoke(main, ["tune", *paths[:2], "--max-drop", "0.1", "--gold", paths[2]])
    assert done.exit_code == 2
    assert "no record of TUNE has a human verdict on every sample" in done.stderr
