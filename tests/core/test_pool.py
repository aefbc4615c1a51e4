import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import BestRouteError, ConfigError, Plan, Pool, Price, PriceError, Step
from bestroute.types.pool import most_expensive

GOOD = """
reference: large
max_n: 3
models:
  small: {input_price: 0.15, output_price: 0.6, bills_input: once, logprobs: true}
  large: {input_price: 2.5, output_price: 10.0, temperature: 0.7, base_url: "http://127.0.0.1:1/v1"}
"""


def write(tmp_path, text):
    path = tmp_path / "pool.yaml"
    path.write_text(text)
    return path


def test_a_pool_file_is_read(tmp_path):
    pool = Pool.from_file(write(tmp_path, GOOD))
    assert pool.models == ("small", "large")
    assert pool.prices["small"] == Price(0.15, 0.6)
    assert (pool.reference, pool.max_n) == ("large", 3)
    assert (pool.bills("small"), pool.bills("large")) == ("once", "per_sample")
    assert pool.endpoint("large").temperature == 0.7
    assert [pool.endpoint(model).logprobs for model in pool.models] == [True, None]


def test_a_pool_survives_its_own_file_format(tmp_path):
    pool = Pool.from_file(write(tmp_path, GOOD))
    again = Pool.from_dict(json.loads(json.dumps(pool.to_dict())), where="x")
    assert again.to_dict() == pool.to_dict()
    assert again == pool


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("reference: large", "reference: largo"), "unknown reference 'largo'.*Did you mean 'large'"),
        (("max_n: 3", "max_n: 0"), "'max_n'.*greater than or equal to 1, got 0"),
        (("input_price: 0.15, ", ""), "'models.small.input_price' is missing$"),
        (("input_price: 0.15, ", "input_prize: 0.15, "), "small.input_price' is missing; 'input_prize' stands in its"),
        (("0.15", "-1"), "'models.small.input_price'.*got -1"),
        (("0.15", ".nan"), "'models.small.input_price'"),
        (("once", "twice"), "bills_input"),
        (("logprobs: true", "logprobs: 1"), "'models.small.logprobs'"),
        (("large: {", "small: {"), "line 6: 'small' is written twice"),
        (("models:", "models: ["), "not valid YAML"),
    ],
)
def test_a_malformed_pool_file_is_one_sentence_with_the_file_and_the_field(tmp_path, change, sentence):
    path = write(tmp_path, GOOD.replace(*change, 1))
    with pytest.raises(ConfigError, match=sentence) as caught:
        Pool.from_file(path)
    assert "pool.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_field_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="unknown field 'models.small.outputprice'.*Did you mean 'output_price'"):
        Pool.from_file(write(tmp_path, GOOD.replace("input_price: 0.15", "input_price: 0.15, outputprice: 1", 1)))


@pytest.mark.parametrize(
    ("text", "got"), [("", "nothing"), ("[]", "an array"), ("just text", "a text"), ("42", "a number")]
)
def test_a_pool_file_must_be_a_mapping(tmp_path, text, got):
    with pytest.raises(ConfigError, match=f"must hold 'reference' and 'models', as YAML or JSON, got {got}$"):
        Pool.from_file(write(tmp_path, text))


def test_a_pool_of_two_documents_is_refused_in_a_whole_sentence(tmp_path):
    with pytest.raises(ConfigError, match="line 2: expected a single document in the stream, but found another"):
        Pool.from_file(write(tmp_path, "reference: a\n---\nmodels: {}\n"))


def test_a_missing_pool_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the pool file"):
        Pool.from_file(tmp_path / "none.yaml")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_pool_file_crashes_without_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("pools") / "pool.yaml"
    path.write_bytes(data)
    with pytest.raises(BestRouteError):
        Pool.from_file(path)


def test_every_model_needs_a_price_by_its_exact_name():
    with pytest.raises(PriceError, match="no price for 'large'"):
        Pool(["small", "large"], {"small": Price(1, 2), "larg": Price(1, 2)}, "small")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"models": []}, "at least one model"),
        ({"models": ["a", "a"]}, "'a' is named twice"),
        ({"models": "a"}, "sequence of names"),
        ({"reference": "b"}, "unknown reference 'b'"),
        ({"max_n": 0}, "max_n must be a whole number >= 1"),
        ({"bills_input": "never"}, "bills_input must be one of 'per_sample', 'once'"),
        ({"bills_input": {"b": "once"}}, "unknown bills_input 'b'"),
        ({"prices": {"a": (1, 2)}}, "must be a Price"),
    ],
)
def test_a_pool_checks_itself(arguments, sentence):
    good = {"models": ["a"], "prices": {"a": Price(1, 2)}, "reference": "a"}
    with pytest.raises(ConfigError, match=sentence):
        Pool(**{**good, **arguments})


def test_candidates_come_in_pool_order_then_n_and_the_reference_once(pool):
    names = [str(c) for c in pool.candidates(max_n=2)]
    assert names == ["small x 1", "small x 2", "mid x 1", "mid x 2", "large x 1"]


def test_a_plan_must_fit_the_pool(pool):
    with pytest.raises(ConfigError, match=r"unknown model 'smal'.*Did you mean 'small'"):
        pool.check_plan(Plan((Step("smal"),)))
    with pytest.raises(ConfigError, match=r"n must be in 1\.\.5 \(the pool's max_n\), got 6"):
        pool.check_plan(Plan((Step("small", 6),)))


def test_the_dearest_output_price_is_the_default_reference():
    assert most_expensive({"a": Price(9, 1), "b": Price(1, 9)}, ["b", "a"]) == "b"
