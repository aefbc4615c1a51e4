"""A trained router's folder is all that either adapter needs."""

import pytest

from bestroute import ArtifactError, ConfigError, MajorityVote, Pool, Price, Verifier
from bestroute.labels import SampleArrays
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
