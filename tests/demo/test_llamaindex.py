"""The demo through LlamaIndex: the same decisions, answers and bills as through LangChain."""

import pytest
from click.testing import CliRunner

from bestroute.cli import main

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")
pytest.importorskip("matplotlib")


def figures(out, *flags):
    result = CliRunner().invoke(main, ["demo", "--limit", "30", "--out", str(out), *flags], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_the_flag_changes_the_framework_and_nothing_else(tmp_path):
    chat, llm = figures(tmp_path / "a"), figures(tmp_path / "b", "--llamaindex")
    assert "  routed by BestRouteChat" in chat
    assert "  routed by BestRouteLLM" in llm
    assert [line for line in llm if line.startswith(">")] == [line for line in chat if line.startswith(">")]


def test_one_question_is_answered_live_through_either(server, tmp_path):
    server.answers = lambda model, messages: "84"
    for flags in ((), ("--llamaindex",)):
        asked = ["demo", "--ask", "What is 12 * 7?", "--base-url", server.base_url, *flags]
        result = CliRunner().invoke(main, asked, catch_exceptions=False, env={"OPENAI_API_KEY": "k"})
        assert result.stdout.rstrip().endswith("USD): 84")
