from types import SimpleNamespace

import pytest

from bestroute.types.usage import Usage, completed_usage, read_usage

OPENAI = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
RESPONSES = {"input_tokens": 9, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}}
ANTHROPIC = {"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1}
GEMINI = {"prompt_token_count": 9, "candidates_token_count": 4, "cached_content_token_count": 2}
XAI = {"prompt_tokens": 9, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 3}}
DEEPSEEK = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 3}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (OPENAI, Usage(9, 4, cached_input=3)),
        (RESPONSES, Usage(9, 4, reasoning=2)),
        (ANTHROPIC, Usage(15, 4, cached_input=5, cache_write=1)),
        (GEMINI, Usage(9, 4, cached_input=2)),
        ({**GEMINI, "thoughts_token_count": 30}, Usage(9, 34, cached_input=2, reasoning=30)),
        ({**GEMINI, "candidates_token_count": None, "thoughts_token_count": 30}, Usage(9, 30, 2, reasoning=30)),
        ({**GEMINI, "tool_use_prompt_token_count": 5}, Usage(14, 4, cached_input=2)),
        ({**XAI, "total_tokens": 13}, Usage(9, 4, reasoning=3)),
        ({**XAI, "total_tokens": 16}, Usage(9, 7, reasoning=3)),
        (DEEPSEEK, Usage(9, 4, cached_input=6)),
        (SimpleNamespace(prompt_tokens=9, completion_tokens=4, prompt_tokens_details=None), Usage(9, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 0}, Usage(9, 0)),
        ({"prompt_tokens": 2, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}, Usage(2, 1, 2)),
    ],
)
def test_every_providers_words_are_read(told, expected):
    assert read_usage(told) == expected


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"prompt_tokens": 3},
        {"prompt_tokens": -1, "completion_tokens": 2},
        {"prompt_tokens": "3", "completion_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": 2},
        {"prompt_tokens": 3.5, "completion_tokens": 2},
        {"prompt_tokens": 10**400, "completion_tokens": 2},
        {"prompt_tokens": 3, "completion_tokens": 2**63},
        {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": -1}},
    ],
)
def test_what_makes_no_sense_is_left_to_an_estimate(told):
    assert read_usage(told) is None


@pytest.mark.parametrize(
    ("usage", "text", "expected"),
    [
        (None, "one two", Usage(9, 2, estimated=True)),
        (Usage(0, 0), "one two", Usage(9, 2, estimated=True)),
        (Usage(0, 5), "one two", Usage(9, 5, estimated=True)),
        (Usage(7, 0, cached_input=3), "one two", Usage(7, 2, cached_input=3, estimated=True)),
        (Usage(7, 0), "", Usage(7, 0)),
        (Usage(7, 5), "one two", Usage(7, 5)),
    ],
)
def test_0_tokens_for_a_text_are_estimated(usage, text, expected):
    assert completed_usage(usage, 9, text) == expected


def test_0_tokens_for_a_tool_call_are_estimated_and_a_choice_without_the_prompt_stays_so():
    assert completed_usage(Usage(7, 0), 9, "", has_reply=True) == Usage(7, 1, estimated=True)
    assert completed_usage(Usage(0, 5), 0, "one two") == Usage(0, 5)
