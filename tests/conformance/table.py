"""Writes ``docs/providers.md``: which providers' classes were called, alone and in a pool, and with what result.

BESTROUTE_FULL=1 python -m pytest tests/conformance --junitxml=conformance.xml
python -m tests.conformance.table conformance.xml
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from .llamaindex_providers import LLAMAINDEX
from .providers import LANGCHAIN, Provider

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
COLUMNS = {
    "reply": ("a_reply_is", "the_bill_is"),
    "tools": ("a_tool_call", "a_tool_round"),
    "structured output": ("structured_output", "an_object_is", "a_streamed_object"),
    "400, 429": ("a_refusal", "a_member_that_is_busy"),
    "cut stream": ("a_stream_that_was_cut",),
}
"""Columns of the table, and how the names of the tests behind each begin."""
_HEAD = """# Providers

A provider's class behaves in a pool as it does alone. Each class below was called both ways, on a loopback server that
speaks the provider's protocol. The two were compared in content, tool calls, metadata, usage, type of error, and number
and bodies of the requests.

A cell shows how many comparisons were equal; \"-\" means that the class does not support or not report it. A pool's
request may differ in one field: a stream requests its usage if neither the class nor the user sets that
([faults.md](faults.md#usage-of-streams)).

`BESTROUTE_FULL=1 make conformance` writes this page. `make conformance` alone tests a reply, a stream, a round of
tools, a 400 and a 429 of every class.
"""

Results = dict[tuple[str, str], list[bool]]
"""Whether each test passed, by provider and column."""


def results(path: Path, module: str, providers: Sequence[Provider]) -> Results:
    """Read a report of pytest's."""
    found: Results = defaultdict(list)
    for case in ET.parse(path).iter("testcase"):
        test, _, arguments = str(case.get("name")).partition("[")
        if module not in str(case.get("classname")) or case.find("skipped") is not None:
            continue
        names = [p.name for p in providers if f"{arguments.rstrip(']')}-".startswith(p.name.replace(" ", "-") + "-")]
        column = next((c for c, begins in COLUMNS.items() if test.removeprefix("test_").startswith(begins)), None)
        if names and column is not None:
            held = case.find("failure") is None and case.find("error") is None
            found[max(names, key=len), column].append(held)
    return found


def rows(found: Results, providers: Sequence[Provider]) -> Iterator[str]:
    """Yield the table of a framework, and what its classes do not do."""
    yield "| provider | package | class | protocol | " + " | ".join(COLUMNS) + " |"
    yield "|---" * (4 + len(COLUMNS)) + "|"
    for provider in providers:
        package = f"`{provider.package}` {provider.version or '(not installed)'}"
        about = [provider.name, package, f"`{provider.path.rpartition('.')[2]}`", provider.protocol]
        yield "| " + " | ".join([*about, *(_cell(found.get((provider.name, c), [])) for c in COLUMNS)]) + " |"
    yield ""
    for provider in providers:
        for feature, reason in provider.notes.items():
            yield f"- {provider.name}, {feature}: {reason}."


def _cell(held: Sequence[bool]) -> str:
    if not held:
        return "-"
    return str(len(held)) if all(held) else f"**{sum(held)} of {len(held)}**"


if __name__ == "__main__":
    report, lines = Path(sys.argv[1]), [_HEAD]
    for framework, module, listed in (
        ("LangChain", "test_langchain", LANGCHAIN),
        ("LlamaIndex", "test_llamaindex", LLAMAINDEX),
    ):
        lines += [f"## {framework}", "", *rows(results(report, module, listed), listed), ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(PAGE)  # noqa: T201
