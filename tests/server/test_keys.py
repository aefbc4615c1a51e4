"""Callers' keys: hashed at rest, revocable, with budgets of their own; and who may ask without any."""

import os
import time

import httpx
import pytest
import yaml

from bestroute import ConfigError
from bestroute.server.keys import ApiKey, KeyRing, hash_of, new_key, read_keys

ALICE, BOB = new_key(), new_key()
BODY = {"model": "auto", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def entry(name, key, **fields):
    return {"name": name, "sha256": hash_of(key), **fields}


def test_a_key_is_256_random_bits_and_no_two_are_alike():
    assert len({new_key() for _ in range(100)}) == 100
    assert len(new_key()) > 45


def test_what_is_kept_of_a_key_does_not_tell_it(serve, tmp_path):
    served = serve(keys=[entry("alice", ALICE)])
    assert ALICE not in (tmp_path / "router.yaml").read_text()
    assert ALICE not in repr(vars(served.service.keys))


def test_every_endpoint_but_health_needs_a_key(serve, server):
    served = serve(keys=[entry("alice", ALICE)])
    wrong = [{}, bearer("wrong"), {"authorization": f"Basic {ALICE}"}, {"authorization": "Bearer"}, bearer("é")]
    for path in ("/v1/models", "/metrics", "/v1/chat/completions", "/v1/responses", "/v1/feedback"):
        for headers in wrong:
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            ask = httpx.get if path in ("/v1/models", "/metrics") else httpx.post
            answer = ask(f"{served.url}{path}", headers=encoded)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
    assert served.get("/health").status_code == 200
    assert not server.requests


def test_an_empty_list_of_keys_lets_nobody_in(serve):
    assert serve(keys=[]).get("/v1/models").status_code == 401


def test_a_valid_key_asks_and_its_calls_bear_its_name(serve):
    served = serve(keys=[entry("alice", ALICE), entry("bob", BOB)])
    for key in (ALICE, BOB, BOB):
        assert served.post("/v1/chat/completions", BODY, **bearer(key)).status_code == 200
    totals = served.service.engines.ledger.totals("tag:key")
    assert {name: row["samples"] for name, row in totals.items()} == {"alice": 1, "bob": 2}


def test_a_callers_key_goes_to_no_member(serve, server):
    served = serve(keys=[entry("alice", ALICE)])
    served.post("/v1/chat/completions", BODY, **bearer(ALICE))
    assert ALICE not in repr(server.requests)


def test_a_key_has_a_budget_of_its_own(serve, server):
    served = serve(keys=[entry("alice", ALICE, budget=1e-9, per="day"), entry("bob", BOB)])
    answer = served.post("/v1/chat/completions", BODY, **bearer(ALICE))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "budget_exceeded")
    assert not server.requests
    assert served.post("/v1/chat/completions", BODY, **bearer(BOB)).status_code == 200


@pytest.mark.parametrize("apart", [False, True])
def test_a_key_is_revoked_by_taking_its_line_away(serve, tmp_path, apart):
    keys = [entry("alice", ALICE), entry("bob", BOB)]
    path = tmp_path / ("keys.yaml" if apart else "router.yaml")
    if apart:
        path.write_text(yaml.safe_dump({"keys": keys}))
    served = serve(keys=path.name if apart else keys)
    assert served.get("/v1/models", **bearer(ALICE)).status_code == 200
    data = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**data, "keys": keys[1:]}))
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    assert served.get("/v1/models", **bearer(ALICE)).status_code == 401
    assert served.get("/v1/models", **bearer(BOB)).status_code == 200
    path.write_text("keys: [")
    assert served.get("/v1/models", **bearer(BOB)).status_code == 200, "a file that is being written changes nothing"
    path.write_text(yaml.safe_dump({**data, "keys": []}))
    assert served.get("/v1/models", **bearer(BOB)).status_code == 401, "and no key at all lets nobody in"
    assert served.get("/v1/models").status_code == 401


def test_every_key_is_compared_whichever_is_presented(monkeypatch):
    import hmac

    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b))
    ring = KeyRing([ApiKey("alice", hash_of(ALICE)), ApiKey("bob", hash_of(BOB))])
    for presented, found in ((ALICE, "alice"), (BOB, "bob"), ("x", None), (None, None)):
        compared.clear()
        key = ring.find(presented)
        assert (None if key is None else key.name) == found
        assert compared == [hash_of(ALICE), hash_of(BOB)]


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ("x", "keys must be a list"),
        ([{"name": "a"}], "needs a name and its sha256"),
        ([{"name": "a", "sha256": "abc"}], "64 hexadecimal digits"),
        ([{"name": "a b", "sha256": "0" * 64}], "1 to 64 letters"),
        ([{"name": "a", "sha256": "0" * 64, "budgt": 1}], "Did you mean 'budget'?"),
        ([{"name": "a", "sha256": "0" * 64, "budget": -1}], "must be a number of USD >= 0"),
        ([{"name": "a", "sha256": "0" * 64, "budget": 1, "per": "year"}], "per must be one of"),
        ([{"name": "a", "sha256": "0" * 64, "per": "day"}], "and no budget"),
        ([{"name": "a", "sha256": "0" * 64}, {"name": "a", "sha256": "1" * 64}], "is there twice"),
    ],
)
def test_keys_that_make_no_sense_are_one_sentence(entries, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_keys(entries, "router.yaml")


def test_without_keys_no_web_page_of_another_site_may_ask(served, server):
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}, {"origin": "null"}):
        answer = served.post("/v1/chat/completions", BODY, **headers)
        assert answer.status_code == 403, headers
    assert not server.requests
    assert served.post("/v1/chat/completions", BODY, origin="http://localhost:3000").status_code == 200
