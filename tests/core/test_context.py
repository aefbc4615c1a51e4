import pytest

from bestroute.adapters.retrieval_context import split_context

RULED = "Below:\n-----\nMars is red.\n-----\nWhich is red?"


@pytest.mark.parametrize(
    ("text", "question", "context"),
    [
        (RULED, "Below:\nWhich is red?", "Mars is red."),
        ("=====\nMars is red.\n=====\nWelcher?", "Welcher?", "Mars is red."),
        ("a\n-----\nb\n-----\nc\n-----\nd", "a\nd", "b\n-----\nc"),
        ("<context>Mars</context> Which?", "Which?", "Mars"),
        ("Which? <document id='1'>Mars</document>", "Which?", "Mars"),
        ("What is 12 * 7?", "What is 12 * 7?", ""),
        (" kept as it is \n", " kept as it is \n", ""),
        ("one rule\n-----\nis none", "one rule\n-----\nis none", ""),
        ("short\n---\nrules\n---\nare markdown", "short\n---\nrules\n---\nare markdown", ""),
        ("-----\nall material\n-----", "-----\nall material\n-----", ""),
        ("<context>all material</context>", "<context>all material</context>", ""),
        ("a - b ----- c\n----- d", "a - b ----- c\n----- d", ""),
        ("", "", ""),
    ],
)
def test_a_question_is_told_from_its_context_by_layout(text, question, context):
    assert split_context(text) == (question, context)
