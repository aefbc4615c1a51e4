import sys

import pytest

from bestroute import Price
from bestroute.adapters.known_prices import known_price


@pytest.fixture
def _library():
    pytest.importorskip("genai_prices")


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize(
    ("model", "provider", "base_url", "is_known"),
    [
        ("gpt-4o-mini", "openai", None, True),
        ("gpt-4o-mini", "openai", "https://api.openai.com/v1/", True),
        ("gpt-4o-2024-08-06", "openai", None, True),  # listed as an equality
        ("gpt-4o-mini", "openai", "http://127.0.0.1:8000/v1", False),  # somebody else's server
        ("gpt-4o-mini", "anthropic", None, False),
        ("gpt-4o-mini-2", "openai", None, False),
        ("gpt-4o-", "openai", None, False),
        ("claude-sonnet-5", "anthropic", "https://api.anthropic.com", True),
        ("claude-sonnet-5@20260101", "anthropic", None, False),  # the library has a rule for this prefix
        ("llama", "nobody", None, False),
    ],
)
def test_only_exact_names_at_the_providers_own_address_have_a_price(model, provider, base_url, is_known):
    assert (known_price(model, provider, base_url) is not None) == is_known


@pytest.mark.usefixtures("_library")
def test_the_library_itself_takes_a_prefix_for_a_name():
    from genai_prices import Usage, calc_price

    assert calc_price(Usage(input_tokens=1), "claude-sonnet-5@20260101", provider_id="anthropic").model is not None


@pytest.mark.usefixtures("_library")
def test_a_price_has_its_cached_input():
    price = known_price("gpt-4o-mini", "openai")
    assert price == Price(0.15, 0.6, cached_input=0.075)


@pytest.mark.usefixtures("_library")
def test_a_price_that_depends_on_the_prompts_length_is_not_one_number():
    from genai_prices.data_snapshot import get_snapshot

    tiered = [
        (provider.id, model.id)
        for provider in get_snapshot().providers
        for model in provider.models
        if hasattr(getattr(model.prices, "input_mtok", None), "tiers")
    ]
    assert tiered
    provider, model = tiered[0]
    assert known_price(model, provider) is None


def test_without_the_library_no_price_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    assert known_price("gpt-4o-mini", "openai") is None
