"""Names of models, groups, tasks and records of any text go through every command that learns from records."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestroute import BestRoute, Pool, Query, Verifier
from bestroute.cli import main
from bestroute.router import MultiHeadRouter
from bestroute.testing import FakeGenerator, synthetic_records

ANY = st.text(st.characters(codec=None, exclude_categories=()))
SMALL, LARGE = "half \ud83d\0", "li\nne\u2028\u202e"
ODD = ["half \ud83d", "nu\0l", "g" * 20_000, "a\nb", "\u202eabc", "null", " x", "../../y"]


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main.main(list(map(str, arguments)), prog_name="bestroute")
    return ended.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of odd names, and a router and a reward model made of them."""
    folder = tmp_path_factory.mktemp("odd")
    for name, prefix in (("train", ""), ("fresh", "fresh ")):
        with (folder / f"{name}.jsonl").open("w") as lines:
            for i, record in enumerate(synthetic_records(32)):
                odd = f"{prefix}{ODD[i % len(ODD)]}"
                samples = {
                    model: {
                        "text": record.samples[old].text,
                        "quality": record.samples[old].quality,
                        "input_tokens": 50,
                        "output_tokens": record.samples[old].output_tokens,
                    }
                    for model, old in ((SMALL, "small"), (LARGE, "large"))
                }
                line = {"id": f"{odd}{i}", "query": f"{prefix}{record.query}", "group": f"{odd}{i % 16}", "task": odd}
                lines.write(json.dumps({**line, "samples": samples}) + "\n")
    prices = {SMALL: {"input_price": 0.1, "output_price": 0.2}, LARGE: {"input_price": 5, "output_price": 10}}
    (folder / "pool.yaml").write_text(json.dumps({"reference": LARGE, "max_n": 2, "models": prices}))
    made = ["train", folder / "train.jsonl", "--pool", folder / "pool.yaml", "--out", folder / "router"]
    assert command(*made, "--reward", "quality", "--plans", "1") == 0
    assert command("train-reward", folder / "train.jsonl", "--out", folder / "reward") == 0
    return folder


def test_a_router_knows_its_models_by_their_names(folder):
    router = MultiHeadRouter.from_pretrained(folder / "router")
    assert router.pool.models == (SMALL, LARGE)
    members = {name: FakeGenerator(["a"]) for name in router.pool.models}
    engine = BestRoute(Pool.from_file(folder / "pool.yaml"), members, folder / "router", Verifier(lambda q, t: 1.0))
    result = engine.run("sum list?")
    assert result.model in {SMALL, LARGE}
    assert engine.route("sum list?", model=SMALL).explain()
    assert set(engine.ledger.totals(by="model")) <= {SMALL.replace("\ud83d", "\\ud83d"), SMALL, LARGE}


def test_what_was_evaluated_is_told_in_every_form(folder, capsys):
    told = [folder / name for name in ("report.json", "decisions.jsonl")]
    fresh = folder / "fresh.jsonl"
    assert command("evaluate", folder / "router", fresh, "--json", told[0], "--decisions", told[1]) == 0
    assert "half" in capsys.readouterr().out
    assert json.loads(told[0].read_text())
    assert len([json.loads(line) for line in told[1].read_bytes().splitlines()]) == 32


def test_a_promise_is_shown_and_found_again(folder):
    assert command("tune", folder / "router", folder / "fresh.jsonl", "--max-drop", "0.9", "--confidence", "0.5") == 0
    assert MultiHeadRouter.from_pretrained(folder / "router").promises
    assert command("route", folder / "router", "sum list?") == 0


def test_records_are_divided_and_compared(folder):
    assert command("split", folder / "train.jsonl", "--out", folder / "parts") == 0
    assert command("compare", folder / "router", folder / "router", folder / "fresh.jsonl") == 0


def test_the_command_prints_the_names_where_the_terminal_takes_no_such_text(folder):
    words = [sys.executable, "-m", "bestroute", "route", str(folder / "router"), "sum list?", "--all"]
    done = subprocess.run(words, capture_output=True, timeout=120, check=False, env={**_environment(), "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def _environment():
    return {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}


@given(ANY, ANY)
def test_a_decision_on_any_text_is_made_and_explained(folder, text, system):
    router = _router(folder)
    prediction = router.predict([Query(text if text.strip() else "?", system=system)])
    assert prediction.match_probability.shape == (1, len(prediction.plans))


_loaded = {}


def _router(folder):
    if folder not in _loaded:
        _loaded[folder] = MultiHeadRouter.from_pretrained(folder / "router")
    return _loaded[folder]
