"""What commands print stays on its line, whatever users called their tags, models, calls and files."""

import string

import pytest
from click.testing import CliRunner

from bestroute import BestRoute, Ledger, Pool, Price, ThresholdPolicy
from bestroute._utils.text import one_line
from bestroute.billing.outcomes import CallOutcome
from bestroute.cli import main
from bestroute.cli.summary import five_lines
from bestroute.engine.decision import Decision
from bestroute.testing import FakeGenerator, FakeRouter

STRANGE = "a\nno alarm\r\x1b[2J\u2028\u202eb"
CONTROLS = set(STRANGE) - {"\n"} - set(string.printable[:95])
SHOWN = r"a\nno alarm\r\x1b[2J\u2028\u202eb"


def printed(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert not CONTROLS & {*done.stdout, *done.stderr}
    return done


def fill(path, word):
    with Ledger(path) as ledger:
        row = {"time": 1.0, "model": word, "step": 0, "status": "ok", "input_tokens": 1, "output_tokens": 1}
        row |= {"cached_input_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0, "cost_usd": 1.0}
        row |= {"estimated": False, "error": None, "reference_cost_usd": 2.0, "call_id": word}
        ledger.add([{**row, "plan": word, "reason": word, "tags": {word: word}}])
        ledger.note(
            [
                CallOutcome(
                    f"{word}{i}", float(i), word, word, "compared", 1.0, tags={"task": word, word: word}, drop=0.0
                )
                for i in range(20)
            ]
        )
    return path


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("monitor", []),
        ("spend", ["--by", "model,plan"]),
        ("spend", ["--by", "tag"]),
        ("spend", ["--by", "reason"]),
    ],
)
def test_a_line_break_in_a_name_makes_no_line_of_its_own(tmp_path, command, options):
    plain = printed(command, fill(tmp_path / "a.db", "word"), *options)
    strange = printed(command, fill(tmp_path / "b.db", STRANGE), *options)
    assert (plain.exit_code, strange.exit_code) == (0, 0)
    assert len(strange.stdout.split("\n")) == len(plain.stdout.split("\n"))
    assert SHOWN in strange.stdout


def test_an_id_a_path_and_an_error_stay_on_one_line(tmp_path):
    path = fill(tmp_path / "a.db", STRANGE)
    assert printed("feedback", path, STRANGE, "1").stdout == f"{SHOWN}: score 1 stored\n"
    assert printed("feedback", path, f"none{STRANGE}", "1").stderr.count("\n") == 1
    missing = printed("monitor", tmp_path / "no\nsuch.db")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("words", [Decision.explain, five_lines])
def test_a_decision_in_words_has_the_same_lines_whatever_models_are_called(words):
    def lines(small):
        pool = Pool([small, "large"], {small: Price(1, 2), "large": Price(10, 20)}, reference="large")
        router = FakeRouter({(small, 1): 0.9, ("large", 1): 1.0}, [10, 10])
        members = {model: FakeGenerator(["x"]) for model in pool.models}
        return words(BestRoute(pool, members, router, policy=ThresholdPolicy(0.7)).route("hi")).split("\n")

    assert len(lines(STRANGE)) == len(lines("small"))
    assert any(SHOWN in line for line in lines(STRANGE))
    assert not CONTROLS & set("".join(lines(STRANGE)))


def test_other_text_is_shown_as_it_is():
    text = "café 👩‍👩‍👧 \u00a0\\n"
    assert one_line(text) == text
    assert one_line("\t\x7f\x85") == r"\t\x7f\x85"
