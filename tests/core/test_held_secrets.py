"""Which texts that objects hold are secrets."""

import gc
import weakref

import pytest
from pydantic import SecretStr

from bestroute.errors import held_secrets
from bestroute.errors.credentials import secrets_of
from bestroute.errors.redaction import describe


def test_a_class_that_stands_under_the_name_of_a_secret_holds_none():
    assert list(secrets_of([{"api_key": SecretStr, "token": SecretStr("sk-12345")}])) == ["sk-12345"]


class Client:
    def __init__(self, api_key):
        self.api_key = api_key
        self.parts = [Client(None) for _ in range(20)] if api_key else []


class Member:
    def __init__(self, api_key):
        self.client = Client(api_key)


@pytest.fixture
def walks(monkeypatch):
    """The members that were looked through, at a time that stands still."""
    found, walk = [], held_secrets.places_of
    monkeypatch.setattr(held_secrets, "places_of", lambda holder, seen: found.append(holder) or walk(holder, seen))
    monkeypatch.setattr(held_secrets.time, "monotonic", lambda: 1000.0)
    return found


def test_a_member_is_looked_through_once_for_any_number_of_errors(walks):
    members = [Member(f"house-key-{i}") for i in range(5)]
    held_secrets.keep_hidden(members)
    for _ in range(100):
        assert describe(RuntimeError("who is house-key-3?")) == "RuntimeError: who is [hidden]?"
    assert [sum(walked is member for walked in walks) for member in members] == [1] * 5


def test_a_key_that_a_client_changes_is_hidden_at_the_next_error(walks):
    member = Member("house-key-old")
    held_secrets.keep_hidden([member])
    assert "house-key-old" in held_secrets.known_secrets()
    member.client.api_key = "house-key-new"
    assert "house-key-new" in held_secrets.known_secrets()
    member.client.parts[7].api_key = "house-key-deep"
    assert "house-key-deep" in held_secrets.known_secrets()
    assert sum(walked is member for walked in walks) == 1


def test_a_client_that_a_member_makes_later_is_looked_through_at_once(walks):
    member = Member(None)
    held_secrets.keep_hidden([member])
    held_secrets.known_secrets()
    member.async_client = Client("house-key-late")
    assert "house-key-late" in held_secrets.known_secrets()


def test_a_place_that_is_new_deep_inside_is_found_when_it_is_looked_for_again(walks, monkeypatch):
    member = Member("house-key-old")
    held_secrets.keep_hidden([member])
    held_secrets.known_secrets()
    member.client.parts.append(Client("house-key-added"))
    monkeypatch.setattr(held_secrets.time, "monotonic", lambda: 1002.0)
    assert "house-key-added" in held_secrets.known_secrets()


def test_what_is_remembered_of_a_member_keeps_it_not_alive():
    member = Member("house-key-gone")
    member.client.owner = member
    held_secrets.keep_hidden([member])
    held_secrets.known_secrets()
    ref = weakref.ref(member)
    del member
    gc.collect()
    assert ref() is None
    assert "house-key-gone" not in held_secrets.known_secrets()


def test_members_that_are_collected_while_keys_are_looked_up_are_no_error():
    limits = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        holders = [Client(None) for _ in range(3000)]
        for holder in holders:
            holder.itself = holder  # only a collection frees it, and removes it from the table
        held_secrets.keep_hidden(holders)
        gc.collect(0)
        del holder, holders
        gc.set_threshold(500, 0, 1000)  # so the next collection comes some hundred objects later
        gc.enable()
        held_secrets.known_secrets()
    finally:
        gc.set_threshold(*limits)
        gc.enable()


def test_a_variable_that_another_thread_removes_while_keys_are_looked_up_is_no_error(monkeypatch):
    class Changing(dict):
        def __iter__(self):
            names = [*super().__iter__()]
            for name in names:
                self.pop(names[-1], None)  # as another thread would
                yield name

        def items(self):
            return [(name, self[name]) for name in self]

    changing = Changing(FIRST_API_KEY="house-key-kept", SECOND_API_KEY="house-key-gone")
    monkeypatch.setattr(held_secrets.os, "environ", changing)
    found = held_secrets.known_secrets()
    assert "house-key-kept" in found
    assert "house-key-gone" not in found
