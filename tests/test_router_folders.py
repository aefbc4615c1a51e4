"""A trained router's folder is all that either adapter needs."""

import contextlib
import json
import shutil
from dataclasses import replace
from hashlib import sha256

import pytest
from click.testing import CliRunner

from bestroute import ArtifactError, ConfigError, MajorityVote, Pool, Price, ProxyRewardModel, Verifier
from bestroute.cli import main
from bestroute.labels import SampleArrays
from bestroute.records.records import write_records
from bestroute.router import MultiHeadRouter
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import LoopbackServer, synthetic_pool, synthetic_records
from langchain_bestroute import BestRouteChat
from llamaindex_bestroute import BestRouteLLM

ADAPTERS = {"langchain": BestRouteChat, "llamaindex": BestRouteLLM}


def asked(model):
    if isinstance(model, BestRouteChat):
        reply = model.invoke("What is 12 * 7?")
        return reply.content, reply.response_metadata["bestroute"]
    reply = model.complete("What is 12 * 7?")
    return reply.text, reply.additional_kwargs["bestroute"]


@pytest.fixture(scope="module")
def server():
    with LoopbackServer() as running:
        yield running


@pytest.fixture(scope="module")
def folders(server, tmp_path_factory):
    """Routers trained on votes and on qualities, over members at the loopback server."""
    where = tmp_path_factory.mktemp("folders")
    plain = synthetic_pool(max_n=2).to_dict()
    for number, entry in enumerate(plain["models"].values()):
        entry |= {"base_url": server.base_url, "api_key_env": "FOLDER_TEST_KEY", "api_model": f"served-{number}"}
    pool = Pool.from_dict(plain, where="here")
    for kind in ("majority", "quality"):
        records = SampleArrays.of(synthetic_records(48, samples=4), pool, reward=kind)
        settings = TrainSettings(reward=kind, offered=4, margin=0.25)
        train_router(records, settings).router.save_pretrained(where / kind)
    return where


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("FOLDER_TEST_KEY", "sk-folder")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_folder_makes_the_members_the_prices_and_the_reward(folders, server, adapter):
    model = ADAPTERS[adapter].from_folder(folders / "majority")
    router = MultiHeadRouter.from_pretrained(folders / "majority")
    assert dict(model.prices) == dict(router.pool.prices)
    assert (model.reference, model.max_n) == (router.pool.reference, 2)
    assert isinstance(model.reward_model, MajorityVote)
    before = len(server.sent())
    text, metadata = asked(model)
    assert text
    assert metadata["model"] in router.pool.models
    (*_, body) = server.sent()[before:]
    assert body["model"].startswith("served-")
    assert dict(server.requests[-1]["headers"])["Authorization"] == "Bearer sk-folder"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_a_folder_cannot_tell_is_one_sentence(folders, adapter, monkeypatch, tmp_path):
    make = ADAPTERS[adapter].from_folder
    with pytest.raises(ConfigError, match="trained with quality rewards, which no folder holds; give reward_model="):
        make(folders / "quality")
    assert make(folders / "quality", reward_model=Verifier(lambda query, text: True))
    with pytest.raises(ArtifactError):
        make(tmp_path)
    monkeypatch.delenv("FOLDER_TEST_KEY")
    with pytest.raises(
        ConfigError, match="the environment variable FOLDER_TEST_KEY that should hold its key is not set"
    ):
        make(folders / "majority")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_callers_own_wins_and_is_warned_of_where_it_differs(folders, adapter, caplog):
    router = MultiHeadRouter.from_pretrained(folders / "majority")
    prices = {**router.pool.prices, router.pool.models[0]: Price(0.001, 0.002)}
    model = ADAPTERS[adapter].from_folder(folders / "majority", prices=prices, max_n=3)
    assert model.prices[router.pool.models[0]] == Price(0.001, 0.002)
    assert model.max_n == 3
    assert f"the prices of {router.pool.models[0]!r} differ from those the router was trained with" in caplog.text


def test_members_of_ones_own_take_the_place_of_the_folders(folders, monkeypatch, caplog):
    from langchain_openai import ChatOpenAI
    from llama_index.llms.openai_like import OpenAILike

    monkeypatch.delenv("FOLDER_TEST_KEY")
    names = MultiHeadRouter.from_pretrained(folders / "majority").pool.models
    chats = {name: ChatOpenAI(model="mine", api_key="x", base_url="http://127.0.0.1:9/v1") for name in names}
    llms = {name: OpenAILike(model="mine", api_key="x", api_base="http://127.0.0.1:9/v1") for name in names}
    assert BestRouteChat.from_folder(folders / "majority", models=chats).models == chats
    assert set(BestRouteLLM.from_folder(folders / "majority", llms=llms).models) == set(names)
    assert "prices" not in caplog.text


@pytest.fixture(scope="module")
def learnt(server, tmp_path_factory):
    """A router with a reward model of the same records, made by the command, in a folder that was moved since."""
    where = tmp_path_factory.mktemp("learnt")
    entries = synthetic_pool(max_n=2).to_dict()
    for entry in entries["models"].values():
        entry |= {"base_url": server.base_url, "api_model": "served"}
    (where / "pool.yaml").write_text(json.dumps(entries))
    extra = {"judged_by": {"judge": "strict"}}
    records = [replace(record, extra=extra) for record in synthetic_records(48, samples=2)]
    write_records(where / "records.jsonl", records)
    arguments = ["train", str(where / "records.jsonl"), "--pool", str(where / "pool.yaml"), "--reward", "learn"]
    outcome = CliRunner().invoke(main, [*arguments, "--out", str(where / "router"), "--plans", "4", "--margin", "0.25"])
    assert outcome.exit_code == 0, outcome.output
    assert "48 records are few; label about" in outcome.stdout
    assert "verdict: use the default, without a router: " in outcome.stdout
    return (where / "router").rename(where / "moved")


def test_a_moved_folder_still_has_the_reward_model_that_was_learnt_with_it(learnt, caplog):
    for make in ADAPTERS.values():
        text, metadata = asked(make.from_folder(learnt))
        assert text
        assert metadata["model"] in ("small", "mid", "large")
    assert not caplog.messages
    trained_on = MultiHeadRouter.from_pretrained(learnt).trained_on
    assert trained_on.reward == ProxyRewardModel.from_pretrained(learnt / "reward").fingerprint
    assert trained_on.labels == ({"judge": "strict"},)
    digest = sha256((learnt.parent / "records.jsonl").read_bytes()).hexdigest()
    assert trained_on.records == {"records.jsonl": digest}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_another_reward_model_is_warned_of(learnt, folders, adapter, caplog, tmp_path):
    ADAPTERS[adapter].from_folder(learnt, reward_model=MajorityVote())
    assert "the reward model is not the one that the router was trained with" in caplog.text
    caplog.clear()
    ADAPTERS[adapter].from_folder(learnt, reward_model=ProxyRewardModel.from_pretrained(learnt / "reward"))
    ADAPTERS[adapter].from_folder(learnt, reward_model=str(learnt / "reward"))
    assert not caplog.messages
    ADAPTERS[adapter].from_folder(folders / "majority", reward_model=str(learnt / "reward"))
    assert "the reward model is a ProxyRewardModel, but the router was trained with 'majority' rewards" in caplog.text
    caplog.clear()
    changed = tmp_path / "changed"
    shutil.copytree(learnt, changed)
    other = ProxyRewardModel.from_pretrained(learnt / "reward")
    replace(other, report={**other.report, "note": "another"}).save_pretrained(changed / "reward")
    ADAPTERS[adapter].from_folder(changed)
    assert "the reward model is not the one that the router was trained with" in caplog.text


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_another_reference_and_other_members_are_warned_of(folders, adapter, caplog):
    folder = folders / "majority"
    names = MultiHeadRouter.from_pretrained(folder).pool.models
    full = ADAPTERS[adapter].from_folder(folder)
    fewer = {name: full.models[name] for name in names[1:]}
    with contextlib.suppress(ConfigError, ArtifactError):  # the engine may refuse what the warning was about
        ADAPTERS[adapter].from_folder(folder, models=fewer)
    assert f"but the router was trained with '{names[0]}'" in caplog.text
    caplog.clear()
    with contextlib.suppress(ConfigError, ArtifactError):
        ADAPTERS[adapter].from_folder(folder, reference=names[0])
    assert f"the reference is {names[0]!r}, but the router was trained against {names[-1]!r}" in caplog.text


def test_commands_find_the_reward_model_of_a_moved_folder(learnt, tmp_path):
    fresh = tmp_path / "fresh.jsonl"
    write_records(fresh, synthetic_records(24, samples=2, seed=1, prefix="f"))
    done = CliRunner().invoke(main, ["evaluate", str(learnt), str(fresh), "--resamples", "100"])
    assert done.exit_code == 0, done.output
    removed = CliRunner().invoke(main, ["remove-model", str(learnt), "mid", "--out", str(tmp_path / "router2")])
    assert removed.exit_code == 0, removed.output
    assert ProxyRewardModel.from_pretrained(tmp_path / "router2" / "reward").fingerprint
    assert MultiHeadRouter.from_pretrained(tmp_path / "router2").trained_on.reward is not None


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_folder_as_the_router_brings_the_reward_that_it_was_trained_with(folders, server, adapter):
    make = ADAPTERS[adapter]
    whole = make.from_folder(folders / "majority")
    given = {"models": whole.models, "prices": whole.prices, "reference": whole.reference, "max_n": 2}
    model = make(**given, router=str(folders / "majority"))
    assert isinstance(model.engine.reward_model, MajorityVote)
    assert asked(model)[0]
    kept = Verifier(lambda query, text: True)
    assert make(**given, router=folders / "quality", reward_model=kept).engine.reward_model is kept
    with pytest.raises(ConfigError, match="trained with quality rewards, which no folder holds; give reward_model="):
        make(**given, router=folders / "quality")
