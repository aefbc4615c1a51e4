"""The LlamaIndex examples differ from plain LlamaIndex by one line (they run in ``tests/test_docs.py``)."""

from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("llamaindex_*.py"))


def test_there_are_four():
    names = [path.stem.removeprefix("llamaindex_") for path in EXAMPLES]
    assert names == ["agent", "chat_engine", "extraction", "query_engine"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_with_that_line_swapped_the_same_program_runs_on_one_model(path, server, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    lines = path.read_text().splitlines()
    swapped = next(i for i, line in enumerate(lines) if line.startswith("# before: "))
    assert lines[swapped - 1].startswith("llm = BestRouteLLM(")
    lines[swapped - 1] = lines[swapped].removeprefix("# before: ")
    program = "\n".join(line for line in lines if not line.startswith('print(f"cost: '))
    exec(compile(program, str(path), "exec"), {})
    assert capsys.readouterr().out
    assert {body["model"] for body in server.sent()} == {"gpt-4o"}
