"""Writes ``docs/providers.md``: which providers' classes were tried, alone and in a pool, and with what result.

python -m pytest tests/conformance --junitxml=conformance.xml
python -m tests.conformance.table conformance.xml
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from .providers import COLUMNS, LANGCHAIN, UNTRIED, Provider

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
_HEAD = """# Providers

What a provider's own class does alone, it does in a pool. Each class below was called alone and in a pool, on a server
on loopback that speaks the provider's protocol, and compared in content, tool calls, metadata, usage, type of error and
body of the request. Written by `make conformance`; a cell says how many comparisons held.
"""


def outcomes(path: Path) -> dict[str, list[bool]]:
    """Return by test id, without the function's name's arguments, whether it passed."""
    found: dict[str, list[bool]] = {}
    for case in ET.parse(path).iter("testcase"):
        if case.find("skipped") is None:
            held = case.find("failure") is None and case.find("error") is None
            found.setdefault(f"{case.get('classname')}::{case.get('name')}", []).append(held)
    return found


def cell(provider: Provider, tests: Sequence[str], results: Mapping[str, list[bool]], module: str) -> str:
    """Say how a provider did in some tests."""
    held = [
        passed
        for name, every in results.items()
        for passed in every
        if module in name
        and any(f"::{test}[{provider.slug}" in name + "]" for test in tests)
        and name.partition("[")[2].rstrip("]").split("-")[0] == provider.slug
    ]
    if not held:
        return "-"
    return str(len(held)) if all(held) else f"**{sum(held)} of {len(held)}**"


def page(results: Mapping[str, list[bool]]) -> str:
    """Return the whole page."""
    lines = [_HEAD]
    for framework, module, providers in (("LangChain", "test_langchain", LANGCHAIN),):
        lines += [f"## {framework}", ""]
        lines.append("| provider | package | class | protocol | " + " | ".join(COLUMNS) + " |")
        lines.append("|---" * (4 + len(COLUMNS)) + "|")
        notes: list[str] = []
        for provider in providers:
            package = f"`{provider.package}` {provider.version or 'not installed'}"
            cells = [cell(provider, tests, results, module) for tests in COLUMNS.values()]
            about = [provider.name, package, f"`{provider.path.rpartition('.')[2]}`", provider.protocol]
            lines.append("| " + " | ".join([*about, *cells]) + " |")
            notes += [f"- {provider.name}, {feature}: {reason}" for feature, reason in provider.notes.items()]
        lines += ["", "What a class does not do, or does not tell:", "", *notes, ""] if notes else [""]
    if UNTRIED:
        lines += ["## Not tried", "", *(f"- `{package}`: {reason}" for package, reason in UNTRIED.items()), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(outcomes(Path(sys.argv[1]))), encoding="utf-8")
    print(PAGE)  # noqa: T201
