"""Which texts that objects hold are secrets."""

from pydantic import SecretStr

from bestroute.errors.credentials import secrets_of


def test_a_class_that_stands_under_the_name_of_a_secret_holds_none():
    assert list(secrets_of([{"api_key": SecretStr, "token": SecretStr("sk-12345")}])) == ["sk-12345"]
