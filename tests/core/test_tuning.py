"""Tuning: what is shown is written and looked up, what is not is refused and changes nothing."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from click.testing import CliRunner

from bestroute import (
    ArtifactError,
    BestRoute,
    BudgetPolicy,
    ConfigError,
    Ledger,
    MajorityVote,
    NotTunedError,
    Pool,
    Price,
    ProxyRewardModel,
    QualityPolicy,
    RecordError,
    Verifier,
    artifacts,
)
from bestroute.cli import main
from bestroute.evaluation import evaluate
from bestroute.labels import SampleArrays
from bestroute.policies.promises import Promise
from bestroute.policies.refused_promises import Refusal, note_refusal, read_refusals
from bestroute.records.records import write_records
from bestroute.reward_models.reward_settings import RewardSettings
from bestroute.reward_models.training import train_reward
from bestroute.router import MultiHeadRouter
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import FakeGenerator, FakeReward, synthetic_pool, synthetic_records
from bestroute.tuning import RefusedError, tune_budget, tune_max_drop
from bestroute.tuning.tune import outcomes_of, with_promise

PROMISES = artifacts.PROMISES.config


def arrays_of(records):
    return SampleArrays.of(records, synthetic_pool(), reward="quality")


@pytest.fixture(scope="module")
def router():
    return train_router(arrays_of(synthetic_records(240)), TrainSettings(reward="quality")).router


@pytest.fixture(scope="module")
def fresh():
    return synthetic_records(1200, seed=3, prefix="tune")


@pytest.fixture
def folder(router, tmp_path):
    router.save_pretrained(tmp_path / "router")
    return tmp_path / "router"


@pytest.fixture(scope="module")
def records(fresh, tmp_path_factory):
    path = tmp_path_factory.mktemp("tune") / "tune.jsonl"
    write_records(path, fresh)
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(*arguments):
    return CliRunner().invoke(main, ["tune", *map(str, arguments)])


def engine(folder, pool=None, reward=None, **how):
    pool = pool or synthetic_pool()
    members = {model: FakeGenerator(["right"]) for model in pool.models}
    return BestRoute(pool, members, folder, reward or Verifier(lambda query, text: 1.0), **how)


def test_a_shown_promise_is_kept_on_fresh_queries_and_saves(router, fresh):
    promise = tune_max_drop(router, arrays_of(fresh), 0.02)
    others = outcomes_of(router, arrays_of(synthetic_records(800, seed=8, prefix="o")), np.array([promise.price_usd]))
    assert others.quality.mean() >= 0.98 * others.reference_quality.mean()
    assert others.cost.mean() < 0.9 * others.reference_cost.mean()
    assert promise.shown_on["order"]["groups"] + promise.shown_on["calibrate"]["groups"] == 300


def test_tuning_twice_promises_the_same_whatever_the_order_of_the_records(router, fresh):
    assert tune_max_drop(router, arrays_of(fresh), 0.02) == tune_max_drop(router, arrays_of(fresh[::-1]), 0.02)


def test_the_command_writes_the_promise_and_it_is_looked_up_everywhere(folder, records):
    before = contents(folder)
    done = run(folder, records, "--max-drop", 0.02, "--confidence", 0.9)
    assert done.exit_code == 0, done.output
    after = contents(folder)
    assert after.pop(PROMISES)
    assert after == before
    loaded = MultiHeadRouter.from_pretrained(folder)
    (promise,) = loaded.promises
    assert (promise.kind, promise.value, promise.confidence, promise.reward) == ("max_drop", 0.02, 0.9, "quality")
    assert QualityPolicy(max_drop=0.02).resolve(loaded).price_usd == promise.price_usd
    made = engine(folder, max_drop=0.02)
    assert made.policy.price_usd == promise.price_usd
    assert "drop of at most 0.02 at confidence 0.9" in made.route("sum list colour 3?").reason
    test = arrays_of(synthetic_records(40, seed=5, prefix="test"))
    policy = evaluate(loaded, test, policy=QualityPolicy(max_drop=0.02), resamples=100).report["policy"]
    assert "drop of at most 0.02" in policy["policy"]


def test_another_reward_than_in_training_is_told(folder, records):
    told = "holds if samples are chosen by recorded, not by quality as in training"
    assert told in run(folder, records, "--max-drop", 0.02, "--reward", "recorded").stdout
    assert "samples are chosen" not in run(folder, records, "--max-drop", 0.02).stdout


def test_the_chat_model_takes_the_promise(folder, records):
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    from langchain_bestroute import BestRouteChat

    pool = synthetic_pool()
    parts = {
        "models": {m: GenericFakeChatModel(messages=iter([AIMessage("right")] * 9)) for m in pool.models},
        "prices": {m: pool.prices[m] for m in pool.models},
        "reference": "large",
        "router": str(folder),
        "reward_model": Verifier(lambda query, text: 1.0),
        "max_n": 3,
        "max_drop": 0.02,
    }
    with pytest.raises(NotTunedError, match="bestroute tune DIR TUNE --max-drop 0.02"):
        BestRouteChat(**parts)
    assert run(folder, records, "--max-drop", 0.02).exit_code == 0
    told = BestRouteChat(**parts).invoke("sum list colour?").response_metadata["bestroute"]
    assert "drop of at most 0.02" in told["reason"]


def test_too_few_queries_are_refused_with_a_number_and_the_router_stays(folder, fresh, tmp_path):
    path = tmp_path / "few.jsonl"
    write_records(path, fresh[:120])
    before = contents(folder)
    done = run(folder, path, "--max-drop", 0.001)
    assert done.exit_code == 2
    assert "cannot promise a drop of at most 0.001" in done.stderr
    assert "no bound could from fewer than" in done.stderr
    after = contents(folder)
    after.pop("refusals.json", None)
    assert after == before


def test_a_refusal_is_seen_later_in_route_monitor_and_report_until_the_folder_has_another_router(
    folder, records, fresh, tmp_path
):
    few = tmp_path / "few.jsonl"
    write_records(few, fresh[:80])
    for drop in (0.001, 0.002):
        assert run(folder, few, "--max-drop", drop).exit_code == 2
    assert run(folder, records, "--max-drop", 0.02).exit_code == 0
    first, second = read_refusals(folder)
    assert (first.kind, first.value, first.confidence, first.queries) == ("max_drop", 0.001, 0.95, 80)
    assert first.on == datetime.now(UTC).date().isoformat()
    assert first.needed > second.needed > 80
    words = f"asked for drop of at most 0.001 at confidence 0.95, refused on {first.on} from 80 queries; it would take"
    assert str(first) == f"{words} about {first.needed:,}"

    Ledger(tmp_path / "bills.db").close()
    page = tmp_path / "report.html"
    for arguments in (
        ["route", folder, "sum list colour?"],
        ["monitor", tmp_path / "bills.db", "--router", folder],
        ["monitor", tmp_path / "bills.db", "--router", folder, "--json"],
        ["report", tmp_path / "bills.db", "--router", folder, "--out", page],
    ):
        done = CliRunner().invoke(main, [*map(str, arguments)])
        assert done.exit_code == 0, done.output
        told = page.read_text() if arguments[0] == "report" else done.stdout
        assert str(first) in told
        assert str(second) in told
        if arguments[0] != "route":
            assert "biased upwards by the choice" in told  # of the promise that was given

    router = MultiHeadRouter.from_pretrained(folder)
    replace(router, shrinkage=router.shrinkage / 2 + 0.1).save_pretrained(folder)
    assert read_refusals(folder) == ()


def test_the_same_refusal_is_listed_once(folder):
    first, second = (Refusal("max_drop", drop, 0.95, "2026-01-31", 80, None) for drop in (0.001, 0.002))
    for refusal in (first, second, first):
        note_refusal(folder, refusal)
    assert read_refusals(folder) == (first, second)


def test_a_damaged_file_of_refusals_is_a_warning_and_the_next_refusal_replaces_it(folder, fresh, tmp_path, caplog):
    few = tmp_path / "few.jsonl"
    write_records(few, fresh[:80])
    assert run(folder, few, "--max-drop", 0.001).exit_code == 2
    text = (folder / "refusals.json").read_text()
    (folder / "refusals.json").write_text(text.replace('"queries": 80', '"queries": "many"'))
    assert read_refusals(folder) == ()
    assert "refusals.json: damaged" in caplog.text
    routed = CliRunner().invoke(main, ["route", str(folder), "sum list colour?"])
    assert routed.exit_code == 0, routed.output
    again = run(folder, few, "--max-drop", 0.002)
    assert again.exit_code == 2
    assert "cannot promise a drop of at most 0.002" in again.stderr
    assert [each.value for each in read_refusals(folder)] == [0.002]


def test_the_number_needed_grows_as_the_allowed_drop_shrinks(router, fresh):
    few = arrays_of(fresh[:120])
    needed = []
    for drop in (0.004, 0.002):
        with pytest.raises(RefusedError) as refusal:
            tune_max_drop(router, few, drop)
        needed.append(refusal.value.queries)
    assert needed[1] > needed[0] > 120


def test_a_refused_promise_keeps_an_older_one(folder, records, fresh, tmp_path):
    assert run(folder, records, "--max-drop", 0.02).exit_code == 0
    few = tmp_path / "few.jsonl"
    write_records(few, fresh[:80])
    assert run(folder, few, "--max-drop", 0.001).exit_code == 2
    assert [p.value for p in MultiHeadRouter.from_pretrained(folder).promises] == [0.02]
    with pytest.raises(NotTunedError, match=r"--max-drop 0.001 \(it was tuned for 0.02\)"):
        engine(folder, max_drop=0.001)


def test_a_router_trained_anew_into_the_folder_has_no_promises(folder, records):
    assert run(folder, records, "--max-drop", 0.02).exit_code == 0
    promises = (folder / PROMISES).read_bytes()
    train_router(arrays_of(synthetic_records(200, seed=4)), TrainSettings(reward="quality")).router.save_pretrained(
        folder
    )
    assert not (folder / PROMISES).exists()
    (folder / PROMISES).write_bytes(promises)  # as if the process had died before the file was removed
    assert MultiHeadRouter.from_pretrained(folder).promises == ()


def test_promises_travel_with_a_saved_router(router, fresh, tmp_path):
    promised = with_promise(router, tune_max_drop(router, arrays_of(fresh), 0.02))
    promised.save_pretrained(tmp_path / "copy")
    assert MultiHeadRouter.from_pretrained(tmp_path / "copy").promises == promised.promises


WHOLE = {"kind": "max_drop", "value": 0.1, "confidence": 0.9, "price_usd": 1, "reward": "quality", "prices": {}}
WHOLE |= {"shown_on": {}, "estimates": {}}


@pytest.mark.parametrize("wrong", [{"prices": {"small": 3}}, {"prices": 3}, {"estimates": []}, {"value": float("nan")}])
def test_a_promise_with_a_part_of_another_kind_is_damaged(folder, wrong):
    told = {"format": 1, "router_sha256": "another", "promises": [WHOLE]}
    (folder / PROMISES).write_text(json.dumps(told))
    assert MultiHeadRouter.from_pretrained(folder).promises == ()
    (folder / PROMISES).write_text(json.dumps({**told, "promises": [{**WHOLE, **wrong}]}))
    with pytest.raises(ArtifactError, match="damaged"):
        MultiHeadRouter.from_pretrained(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 9}', '{"format": 1, "promises": [{}]}'])
def test_damaged_promises_are_named(folder, text):
    (folder / PROMISES).write_text(text)
    with pytest.raises(ArtifactError, match=PROMISES):
        MultiHeadRouter.from_pretrained(folder)


def test_a_budget_is_kept_looked_up_and_void_at_other_prices(folder, records, router):
    budget = 1000 * outcomes_of(router, arrays_of(synthetic_records(80, seed=7, prefix="b")), np.ones(1)).cost.mean()
    text = f"{budget:.3g}"
    done = run(folder, records, "--budget", text)
    assert done.exit_code == 0, done.output
    policy = BudgetPolicy(usd_per_1k=float(text))
    made = engine(folder, policy=policy)
    others = arrays_of(synthetic_records(800, seed=8, prefix="o"))
    assert 1000 * outcomes_of(router, others, np.array([made.policy.price_usd])).cost.mean() <= float(text)
    pool = synthetic_pool()
    dearer = Pool(pool.models, {**pool.prices, "small": Price(0.2, 0.4)}, "large", max_n=3)
    with pytest.raises(NotTunedError, match=r"small input 0.5 -> 0.2"):
        engine(folder, dearer, policy=policy)
    with pytest.raises(NotTunedError, match="--budget 0.001"):
        engine(folder, policy=BudgetPolicy(0.001))
    with pytest.raises(ConfigError, match="usd_per_1k must be > 0"):
        BudgetPolicy(0)


def test_a_drop_at_other_prices_says_in_every_decision_that_it_is_no_promise(folder, records, caplog):
    assert run(folder, records, "--max-drop", 0.02).exit_code == 0
    pool = synthetic_pool()
    dearer = Pool(pool.models, {**pool.prices, "small": Price(0.2, 0.4)}, "large", max_n=3)
    made = engine(folder, dearer, max_drop=0.02)
    assert "so no promise" in made.route("sum list?").reason
    assert "small input 0.5 -> 0.2" in caplog.text


def test_a_promise_shown_for_another_reward_is_none(folder, records, caplog):
    assert run(folder, records, "--max-drop", 0.02).exit_code == 0
    assert run(folder, records, "--budget", 100).exit_code == 0
    engine(folder, max_drop=0.02)
    assert "another reward" not in caplog.text
    voted = engine(folder, reward=MajorityVote(), max_drop=0.02)
    assert (
        "shown for another reward (MajorityVote instead of quality), so no promise" in voted.route("sum list?").reason
    )
    assert "another reward" in caplog.text
    with pytest.raises(NotTunedError, match="another reward"):
        engine(folder, reward=MajorityVote(), policy=BudgetPolicy(usd_per_1k=100))


class Trained(FakeReward):
    """A reward model that was trained: it has a fingerprint."""

    def __init__(self, fingerprint):
        super().__init__(len)
        self.fingerprint = fingerprint


@pytest.mark.parametrize(
    ("shown", "fingerprint", "now", "is_same"),
    [
        ("majority", None, MajorityVote(), True),
        ("majority", None, Verifier(lambda query, text: 1.0), False),
        ("quality", None, Verifier(lambda query, text: 1.0), True),
        ("quality", None, Trained("a"), False),
        ("reward", "a", Trained("a"), True),
        ("reward", "a", Trained("b"), False),
        ("reward", "a", FakeReward(len), False),
        ("recorded", None, Trained("b"), True),
        ("majority", None, None, True),
    ],
)
def test_what_counts_as_another_reward(shown, fingerprint, now, is_same):
    promise = Promise("max_drop", 0.01, 0.95, 1.0, shown, {}, {}, {}, reward_fingerprint=fingerprint)
    assert (promise.reward_change(now) is None) == is_same


def test_a_trained_reward_is_known_again_by_its_fingerprint(folder, records, tmp_path):
    train_reward(synthetic_records(120, samples=3), RewardSettings(reference="large"), resamples=100).save_pretrained(
        tmp_path / "reward"
    )
    done = run(folder, records, "--budget", 100, "--reward", tmp_path / "reward")
    assert done.exit_code == 0, done.output
    (promise,) = MultiHeadRouter.from_pretrained(folder).promises
    assert promise.reward_change(ProxyRewardModel.from_pretrained(tmp_path / "reward")) is None
    assert "instead of" in promise.reward_change(Trained("another"))


def test_an_impossible_budget_is_refused(router, fresh):
    with pytest.raises(RefusedError, match="no number would do"):
        tune_budget(router, arrays_of(fresh), 1e-6)


def test_records_that_the_router_has_seen_are_refused_unless_cross_fitted(folder, tmp_path):
    path = tmp_path / "seen.jsonl"
    write_records(path, synthetic_records(240))
    done = run(folder, path, "--max-drop", 0.05)
    assert done.exit_code == 2
    assert "the router was trained on" in done.stderr
    done = run(folder, path, "--max-drop", 0.2, "--cross-fit", 2)
    assert done.exit_code == 0, done.output
    assert "not on this one" in done.output
    assert MultiHeadRouter.from_pretrained(folder).promises[0].cross_fit == 2


def test_order_records_leave_all_of_tune_to_calibrate(router, fresh, folder, records, tmp_path):
    ordering = tmp_path / "order.jsonl"
    write_records(ordering, synthetic_records(160, seed=6, prefix="order"))
    assert run(folder, records, "--max-drop", 0.02, "--order", ordering).exit_code == 0
    shown = MultiHeadRouter.from_pretrained(folder).promises[0].shown_on
    assert (shown["order"]["queries"], shown["calibrate"]["queries"]) == (160, 1200)
    with pytest.raises(RecordError, match="ORDER and TUNE share the id 'tune0'"):
        tune_max_drop(router, arrays_of(fresh), 0.02, order=arrays_of(fresh[:40]))
    regrouped = [replace(r, group=f"other {r.group}") for r in fresh[:40]]  # the same queries under other groups
    with pytest.raises(RecordError, match="ORDER and TUNE share the id 'tune0'"):
        tune_max_drop(router, arrays_of(fresh), 0.02, order=arrays_of(regrouped))
    renamed = [replace(r, id=f"other {r.id}") for r in fresh[:40]]
    with pytest.raises(RecordError, match="ORDER and TUNE share the group"):
        tune_max_drop(router, arrays_of(fresh), 0.02, order=arrays_of(renamed))


def test_records_that_a_promise_was_shown_on_cannot_test_it(router, fresh, tmp_path):
    ordering = synthetic_records(160, seed=6, prefix="order")
    promise = tune_max_drop(router, arrays_of(fresh), 0.02, order=arrays_of(ordering))
    with_promise(router, promise).save_pretrained(tmp_path)
    tuned = MultiHeadRouter.from_pretrained(tmp_path)
    assert tuned.promises == (promise,)
    policy = QualityPolicy(max_drop=0.02)
    for shown, what in ((fresh, "the id 'tune0'"), (ordering, "the id 'order0'")):
        with pytest.raises(RecordError, match=f"promise of a drop of at most 0.02 .* was shown on {what}"):
            evaluate(tuned, arrays_of(shown[:40]), policy=policy, resamples=100)
    renamed = [replace(r, id=f"other {r.id}") for r in fresh[:40]]
    with pytest.raises(RecordError, match="was shown on the group"):
        evaluate(tuned, arrays_of(renamed), policy=policy, resamples=100)
    assert evaluate(tuned, arrays_of(fresh[:40]), policy=QualityPolicy(1.0), resamples=100).report["queries"] == 40


def test_cross_fit_reads_each_query_once_by_the_routers_own_encoder(fresh):
    class Length:
        width, fingerprint = 2, "length"

        def __init__(self):
            self.asked = []

        def encode(self, texts):
            self.asked += texts
            return np.array([[len(text), 1.0] for text in texts], dtype=np.float32).reshape(len(texts), 2)

    arrays, reads = arrays_of(fresh[:80]), Length()
    settings = TrainSettings(reward="quality", encoder="/nowhere", forest=False, offered=3)
    router = train_router(arrays, settings, encoder=reads).router
    reads.asked.clear()
    with pytest.raises(RefusedError):
        tune_max_drop(router, arrays, 0.001, cross_fit=2)
    assert sorted(reads.asked) == sorted({query.text for query in arrays.queries()})


def test_tokens_of_a_fold_are_told_by_the_other_folds(fresh, monkeypatch):
    """What a fold's records do not tell of tokens is not known from themselves."""
    from bestroute.tuning import tune

    seen = []

    def look(router, arrays, prices):
        seen.append((router.token_means, arrays))
        return outcomes_of(router, arrays, prices)

    monkeypatch.setattr(tune, "outcomes_of", look)
    mute = [
        replace(r, samples={m: replace(s, output_tokens=None) for m, s in r.samples.items()} if i % 2 else r.samples)
        for i, r in enumerate(fresh[:80])
    ]
    arrays = arrays_of(mute)
    router = train_router(arrays, TrainSettings(reward="quality", forest=False, offered=3)).router
    with pytest.raises(RefusedError):
        tune_max_drop(router, arrays, 0.001, cross_fit=2)
    assert len(seen) == 2
    for means, inside in seen:
        filled = inside.output_tokens[[name in {f"tune{i}" for i in range(1, 80, 2)} for name in inside.ids], 0]
        assert np.unique(filled) == pytest.approx([means["small"]["output"]])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give either --max-drop or --budget"),
        (["--max-drop", "0.1", "--budget", "1"], "give either --max-drop or --budget"),
        (["--max-drop", "1"], "max_drop must be in [0, 1)"),
        (["--max-drop", "0.1", "--confidence", "1"], "confidence must be in [0.5, 1)"),
        (["--budget", "0"], "budget must be > 0"),
        (["--max-drop", "0.1", "--cross-fit", "1"], "cross-fit must be in 2.."),
        (["--max-drop", "0.1", "--reward", "luck"], "--reward must be one of"),
    ],
)
def test_bad_arguments_are_one_sentence(folder, records, arguments, sentence):
    done = run(folder, records, *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_qualities_beyond_one_are_refused(router, fresh):
    arrays = arrays_of(fresh[:80])
    with pytest.raises(RecordError, match=r"qualities in \[0, 1\], got 0 to 5"):
        tune_max_drop(router, replace(arrays, quality=arrays.quality * 5), 0.02)


def test_a_reference_that_is_never_right_is_refused(router, fresh):
    arrays = arrays_of(fresh[:80])
    with pytest.raises(RecordError, match="the reference 'large' has mean quality 0"):
        tune_max_drop(router, replace(arrays, quality=arrays.quality * 0), 0.02)


def test_the_file_is_plain_json_that_says_what_it_was_shown_on(folder, records):
    assert run(folder, records, "--max-drop", 0.02).exit_code == 0
    told = json.loads((folder / PROMISES).read_text())["promises"][0]
    assert told["shown_on"]["seed"] == 0
    assert told["prices"]["small"]["input"] == 0.5
    assert told["shown_on"]["settings_passed"] <= told["shown_on"]["settings_tested"] <= 60
