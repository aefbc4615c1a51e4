"""Other people's tests of their own model classes, with every model swapped for a pool of ours around it.

Run ``make peer-tests``. Downloads the source distribution of each installed package into ``.peers`` (their code never
enters this repository), runs its tests plain and swapped (``peer_swap.py``), and prints one beside the other. The
answers that ``langchain-openai`` has recorded of the real API are among them: there a request that is not what the
recorded one was finds no answer.

Exits with 1 if a recorded test passes plain and not swapped, or if a difference has no reason in
``peer_reasons.yaml``. ``--write`` makes ``docs/peer_tests.md`` of what was found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"
PAGE = ROOT / "docs" / "peer_tests.md"
OPTIONS = (
    *("-q", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:warnings", "-o", "asyncio_mode=auto"),
    *("-p", "peer_swap", "--disable-socket", "--allow-unix-socket", "--benchmark-disable", "--tb=no"),
)
RECORDED = ("-m", "vcr", "--record-mode=none")


@dataclass(frozen=True)
class Peer:
    """A package whose tests are run."""

    package: str
    swap: str
    recorded: tuple[str, ...] = ()
    """Arguments of pytest for the tests that have the real API's answers."""
    unit: tuple[str, ...] = ()
    """Arguments of pytest for the tests that have stand-ins for clients."""


UNIT = "tests/unit_tests"
CHAT = "tests/integration_tests/chat_models"
LANGCHAIN = Peer(
    "langchain-openai",
    "langchain",
    recorded=(CHAT, f"--ignore={CHAT}/test_azure_standard.py", *RECORDED),
    unit=tuple(f"{UNIT}/{name}" for name in ("chat_models", "middleware", "test_tools.py", "test_load.py")),
)
LLAMAINDEX = Peer("llama-index-llms-openai", "llamaindex", unit=("tests",))


@dataclass(frozen=True)
class Comparison:
    """What became of a package's tests, plain and swapped."""

    plain: Mapping[str, Any]
    swapped: Mapping[str, Any]

    def passed(self, outcomes: Mapping[str, Any], *, recorded: bool | None = None, called: bool = False) -> list[str]:
        """Return the tests that passed plain, and here too."""
        return [
            test
            for test, plain in self.plain.items()
            if plain.get("outcome") == "passed"
            and outcomes.get(test, {}).get("outcome") == "passed"
            and recorded in (None, plain["recorded"])
            and (not called or self.swapped.get(test, {}).get("calls"))
        ]

    def differences(self) -> list[str]:
        """Return the tests that pass plain and not swapped."""
        swapped = set(self.passed(self.swapped))
        return [test for test in self.passed(self.plain) if test not in swapped]

    def other_requests(self) -> list[str]:
        """Return the tests that pass both ways, and whose requests differ in anything but ids and order."""
        both = self.passed(self.swapped)
        return [test for test in both if _outcome(self.plain[test]) != _outcome(self.swapped[test])]


def _outcome(outcome: Mapping[str, Any]) -> list[str]:
    bodies = (json.dumps(body, sort_keys=True) for body in outcome["bodies"])
    return sorted(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", body) for body in bodies)


@dataclass(frozen=True)
class Reason:
    """Why some tests differ."""

    reason: str
    tests: tuple[str, ...] = field(default=())

    def of(self, test: str) -> bool:
        """Whether it is the reason of a test: one of its names begins what follows the test's folder."""
        name = test.partition("chat_models/")[2] or test.partition(f"{UNIT}/")[2] or test
        return any(name.startswith(begin) for begin in self.tests)


def source(peer: Peer, folder: Path) -> Path:
    """Download a package's source distribution, at the version that is installed, and return its folder."""
    release = f"{peer.package}=={version(peer.package)}"
    name = release.replace("==", "-").replace("-", "_", peer.package.count("-"))
    if not (folder / name).is_dir():
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--no-binary", peer.package, "--dest", str(folder), release], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name


def outcomes(peer: Peer, folder: Path, arguments: tuple[str, ...], *, swap: bool) -> dict[str, Any]:
    """Run tests, and return what became of each."""
    path = folder / ("swapped.json" if swap else "plain.json")
    path.unlink(missing_ok=True)
    paths = [str(ROOT / "benchmarks"), *sys.path[1:]]
    environment = {
        **os.environ,
        "OPENAI_API_KEY": "none",
        "CI": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    swapped = ("--swap", peer.swap) if swap else ()
    command = [sys.executable, "-m", "pytest", *OPTIONS, "--rootdir", ".", "--outcomes", str(path), *swapped]
    done = subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    if not path.exists():
        raise SystemExit(f"{peer.package}: pytest ended before any test\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    print(f"{peer.package} {'swapped' if swap else 'plain'}: {done.stdout.strip().splitlines()[-1]}", file=sys.stderr)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def compare(peer: Peer, folder: Path, *, recorded_only: bool) -> Comparison:
    """Run a package's tests plain and swapped."""
    plain: dict[str, Any] = {}
    swapped: dict[str, Any] = {}
    for arguments in (peer.recorded, () if recorded_only else peer.unit):
        if arguments:
            plain |= outcomes(peer, folder, arguments, swap=False)
            swapped |= outcomes(peer, folder, arguments, swap=True)
    return Comparison(plain, swapped)


def report(peer: Peer, compared: Comparison, reasons: list[Reason]) -> Iterator[str]:
    """Yield the lines of a package's part of the page."""
    yield f"## {peer.package} {version(peer.package)}"
    yield ""
    yield "| tests | pass plain | pass swapped | of these call a model |"
    yield "|---|---|---|---|"
    for title, recorded in (("recorded of the real API", True), ("with stand-ins for clients", False)):
        plain = compared.passed(compared.plain, recorded=recorded)
        both = compared.passed(compared.swapped, recorded=recorded)
        called = compared.passed(compared.swapped, recorded=recorded, called=True)
        if plain:
            yield f"| {title} | {len(plain)} | {len(both)} | {len(called)} |"
    yield ""
    requests = compared.other_requests()
    yield f"Of the tests that pass both ways, {len(requests)} send another request than plain (ids and order aside)."
    for test in requests:
        yield f"- `{test}`"
    yield ""
    left = compared.differences()
    for reason in reasons:
        if tests := [test for test in left if reason.of(test)]:
            left = [test for test in left if test not in tests]
            yield f"**{reason.reason}** ({len(tests)})"
            yield ""
            yield from (f"- `{test}`" for test in tests)
            yield ""
    if left:
        yield f"**No reason is known** ({len(left)})"
        yield ""
        yield from (
            f"- `{test}`: {' '.join(compared.swapped.get(test, {}).get('error', '').split())[:160]}" for test in left
        )
        yield ""


def faults(compared: Comparison, reasons: list[Reason]) -> list[str]:
    """Return the differences that must not be: of recorded tests, and those without a reason."""
    return [
        test
        for test in compared.differences()
        if compared.plain[test]["recorded"] or not any(reason.of(test) for reason in reasons)
    ]


def main() -> None:
    """Run the tests of both packages, print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--recorded", action="store_true", help="only the tests that have the real API's answers")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--llama-index-tests", type=Path, help="a folder of tests, where the distribution has none")
    options = parser.parse_args()
    reasons = [Reason(entry["reason"], tuple(entry["tests"])) for entry in _reasons()]
    lines, wrong = [INTRODUCTION], []
    for peer in (LANGCHAIN, LLAMAINDEX):
        folder = source(peer, PEERS)
        if peer is LLAMAINDEX and options.llama_index_tests and not (folder / "tests").exists():
            (folder / "tests").symlink_to(options.llama_index_tests.resolve())
        if not (folder / "tests").exists():
            lines += [f"## {peer.package} {version(peer.package)}", "", NO_TESTS, ""]
            continue
        compared = compare(peer, folder, recorded_only=options.recorded)
        lines += report(peer, compared, reasons)
        wrong += faults(compared, reasons)
    page = "\n".join(lines).rstrip() + "\n"
    print(page)
    if options.write:
        PAGE.write_text(page)
    if wrong:
        raise SystemExit("\n".join([f"{len(wrong)} tests must pass swapped too, or have a reason:", *wrong]))


def _reasons() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yaml.safe_load((ROOT / "benchmarks" / "peer_reasons.yaml").read_text())
    return entries


INTRODUCTION = """# Other people's tests, with our pool in the place of their model

A member should behave in a pool as it does alone. `make peer-tests` checks this with the packages' own tests, and
writes this page. It downloads the source distributions of the packages below and runs the tests of their model classes
twice: as they are, and with every model replaced by a pool of one member, that model.

- What a test reads from a model and a pool does not have (for example its client, to replace it) is taken from the
  member. So a test counts for us only if it makes a call; the last column says how many do.
- Calls that were recorded from the real API are answered only if our request has the same JSON, byte for byte.
- Every difference is listed with its reason. For recorded tests no difference is allowed.
"""
NO_TESTS = """Its source distribution has no tests in it. `python benchmarks/peer_tests.py --llama-index-tests FOLDER`
runs those of a checkout."""

if __name__ == "__main__":
    main()
