"""The commands of README and pages are run as they stand there, against the loopback server, on records of our own."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bestroute.cli import main
from bestroute.demo.dataset import ROUTER, demo_pool, held_out
from bestroute.generators.batches import batch_draws
from bestroute.records.jsonl import write_jsonl
from bestroute.records.records import write_records
from bestroute.testing import JudgedAnswers, LoopbackServer, write_log

ROOT = Path(__file__).parents[1]
TOPICS = ("bread", "tides", "gears", "bees", "rent")
QUESTIONS = [f"{words} {topic}?" for topic in TOPICS for words in ("Why", "Compare")]
NEEDS = {  # what is started by hand, or asks for what a test has not
    "serve": "tests/server",
    "train-reward": "tests/core/test_reward_cli.py, without a model hub",
    "--engine": "tests/core/test_route_rows.py, where Ray is installed",
}


def commands(page):
    """Yield the arguments of each command of ours on a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    for block in text.split("```bash\n")[1:]:
        for line in block.split("```")[0].splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["bestroute"] and not NEEDS.keys() & set(words):
                yield words[1:]


def run(arguments):
    """Run a command in this folder; what it says is shown if it fails."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, f"{shlex.join(arguments)}\n{done.output}"
    return done


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, and an address that stands for the provider's."""
    monkeypatch.chdir(tmp_path)
    with LoopbackServer() as server:
        members = {"gpt-4o-mini": 0.7, "gpt-4o": 0.9, **dict.fromkeys(demo_pool().models, 0.8)}
        server.answers = JudgedAnswers(members, judge="gpt-4.1")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        yield tmp_path


def test_the_four_commands_of_the_readme_go_from_a_log_to_a_proven_router(folder):
    pytest.importorskip("sklearn")
    write_log(folder, "langsmith", QUESTIONS)
    (folder / "log.jsonl").rename("runs.jsonl")
    story = list(commands("README.md"))
    assert [words[0] for words in story][:4] == ["init", "collect", "train", "evaluate"]
    printed = [run(words).stdout for words in story[:4]]
    assert "pool.yaml: 'small', 'large', the reference is 'large'" in printed[0]
    assert f"{len(QUESTIONS) * 2 * 3} by judge, 0 without a quality" in printed[1]
    assert "verdict: use the default" in printed[2]
    assert "frozen on the training part" in printed[3]


def test_the_commands_of_training_after_those_run_on_records(folder):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    records = held_out()
    groups = sorted({record.group for record in records})[::2]
    write_records(folder / "records.jsonl", [record for record in records if record.group in groups])
    write_records(folder / "fresh.jsonl", [record for record in records if record.group not in groups])
    (folder / "pool.yaml").write_text(json.dumps(demo_pool().to_dict()), encoding="utf-8")
    story = list(commands("docs/training.md"))
    later = story[next(i for i, words in enumerate(story) if words[0] == "split") :]
    assert [words[0] for words in later] == ["split", "train", "train", "evaluate", "compare", "tune"]
    for words in later:
        if words[0] != "tune":
            run(words)
            continue
        refused = CliRunner().invoke(main, words)
        assert "cannot promise a drop of at most 0.01" in refused.stderr, "too few records for any promise"
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_commands_of_batches_decide_and_draw(folder, monkeypatch):
    monkeypatch.setattr(batch_draws, "_sleep", lambda seconds, stops: None)
    write_jsonl(folder / "log.jsonl", [{"id": str(i), "query": text} for i, text in enumerate(QUESTIONS)])
    shutil.copytree(ROUTER, folder / "router")
    written = [run(words) for words in commands("docs/batches.md") if "route" in words]
    assert len(written) == 3
    assert all(f"{len(QUESTIONS)} routed, 0 kept, 0 failed" in done.stdout for done in written)
