import pytest

from bestroute import BestRouteError, ConfigError, Price, PriceError, Usage
from bestroute.types.prices import price_of
from bestroute.types.usage import divide_usage, estimate_tokens, sum_usage


def test_a_million_tokens_cost_the_price():
    assert Price(2.0, 8.0).cost_usd(Usage(1_000_000, 0)) == 2.0
    assert Price(2.0, 8.0).cost_usd(Usage(0, 1_000_000)) == 8.0


def test_cached_written_and_reasoning_tokens_have_their_own_prices():
    price = Price(10.0, 20.0, cached_input=1.0, cache_write=12.0, reasoning=40.0)
    usage = Usage(input=100, output=50, cached_input=60, cache_write=30, reasoning=20)
    # 10 plain input, 60 cached, 30 written, 30 plain output, 20 reasoning
    assert price.cost_usd(usage) == pytest.approx((10 * 10 + 60 * 1 + 30 * 12 + 30 * 20 + 20 * 40) / 1e6, abs=1e-15)


def test_without_their_own_price_cached_tokens_are_input_and_reasoning_is_output():
    plain = Price(10.0, 20.0).cost_usd(Usage(100, 50))
    assert Price(10.0, 20.0).cost_usd(Usage(100, 50, cached_input=60, reasoning=20)) == plain


def test_an_unknown_price_is_an_error_that_names_the_model_and_a_close_one():
    with pytest.raises(PriceError, match=r"no price for 'gpt-4o-mini'; .*Did you mean 'gpt-4o'") as caught:
        price_of("gpt-4o-mini", {"gpt-4o": Price(1, 2)})
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, BestRouteError)


def test_free_must_be_said_and_is_then_free():
    assert Price(0.0, 0.0).cost_usd(Usage(10**6, 10**6)) == 0.0
    with pytest.raises(ConfigError, match="pass 0.0 if it is free"):
        Price(None, 1.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "1", True])
def test_a_price_must_be_a_finite_number_not_below_zero(bad):
    with pytest.raises(ConfigError, match="Price: output"):
        Price(1.0, bad)


def test_usage_refuses_what_counts_nothing():
    for count in (float("nan"), float("inf"), 1.5, "3", None):
        with pytest.raises(ConfigError, match="input tokens must be a whole number >= 0"):
            Usage(count, 1)
    with pytest.raises(ConfigError, match="output tokens must be a whole number >= 0, got -1"):
        Usage(1, -1)


def test_a_divided_bill_adds_up_and_bills_the_prompt_once():
    parts = divide_usage(Usage(30, 17, cached_input=5, reasoning=4), ["a b c", "d", "e f g h i j"])
    assert sum_usage(parts) == Usage(30, 17, cached_input=5, reasoning=4)
    assert [part.input for part in parts] == [30, 0, 0]


def test_the_usage_of_one_choice_is_not_believed_for_all():
    parts = divide_usage(Usage(30, 4), ["one two three four"] * 3)
    assert all(part.estimated for part in parts)
    assert sum(part.output for part in parts) == 3 * estimate_tokens("one two three four")


def test_choices_that_were_cut_count_their_limit():
    parts = divide_usage(Usage(30, 16), ["ab", "cd"], [16, 16])
    assert [part.output for part in parts] == [16, 16]
    assert all(part.estimated for part in parts)


def test_a_sum_with_a_missing_part_is_an_estimate():
    assert sum_usage([Usage(3, 4), None]) == Usage(3, 4, estimated=True)
