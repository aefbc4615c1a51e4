"""Scripted bills: what is told of every sample, and what it costs, worked out by hand in ``bills/*.txt``."""

import asyncio
import re
import threading
from pathlib import Path

import pytest

from bestroute import BestRoute, Delta, GenerationError, Plan, Pool, Price, Query, Sample, Step, Usage, Verifier
from bestroute.types.settings import Settings
from bestroute.types.usage import sum_usage

FOLDER = Path(__file__).parent / "bills"
PRICES = {
    "small": Price(1, 2, cached_input=0.1, cache_write=1.25),
    "mid": Price(3, 6, reasoning=9),
    "large": Price(10, 30, cached_input=2.5),
    "local": Price(0.0, 0.0),
    "odd": Price(0.037, 0.59),
}
SETTINGS = Settings(first_wait_s=0.0, breaker_failures=99)
QUERY = Query("the prompt", input_tokens=50)


class Status(Exception):
    def __init__(self, status, code=None):
        super().__init__(f"status {status}")
        self.status_code, self.code = status, code


def fault(word):
    faults = {
        "timeout": TimeoutError("late"),
        "reset": ConnectionResetError("gone"),
        "context": Status(400, "context_length_exceeded"),
        "filter": Status(400, "content_filter"),
        "quota": Status(429, "insufficient_quota"),
    }
    return Status(int(word)) if word.isdigit() else faults.get(word)


def tokens(text):
    """Read ``100,c80`` as ``(100, {"c": 80})``."""
    count, *details = text.split(",")
    return int(count), {part[0]: int(part[1:]) for part in details}


def samples(word):
    """Read one call's answer, choice by choice."""
    if word.startswith("?"):
        return [Sample(" ".join("a" * int(k)), finish_reason="stop") for k in word[1:].split("+")]
    prompt, choices = word.rstrip("=!").split("/")
    drawn = []
    for i, choice in enumerate(choices.split("+")):
        (out, out_details), (inp, in_details) = tokens(choice), tokens(prompt) if i == 0 else (0, {})
        usage = Usage(inp, out, in_details.get("c", 0), in_details.get("w", 0), out_details.get("r", 0))
        text = "" if word.endswith("!") else "right" if word.endswith("=") else "wrong"
        drawn.append(Sample(text, usage=usage, finish_reason="stop"))
    return drawn


class Scripted:
    """Answers call by call."""

    def __init__(self, words, *, native_n=False):
        self.words, self.native_n = list(words), native_n
        self.lock = threading.Lock()
        self.hangs = 0

    def next(self):
        with self.lock:
            word = self.words.pop(0)
        if (error := fault(word)) is not None:
            raise error
        return word

    def generate(self, query, n, *, params, cancel):
        return samples(self.next())

    async def agenerate(self, query, n, *, params, cancel):
        word = self.next()
        if word == "hang":
            self.hangs += 1
            await asyncio.sleep(60)
        return samples(word)

    def stream(self, query, *, params, cancel):
        word = self.next()
        count = re.fullmatch(r"(?:break|leave)(\d+)", word)
        for _ in range(int(count.group(1)) if count else 1):
            yield Delta("a ")
        if count:
            raise ConnectionResetError("gone")
        yield samples(word)[0]

    async def astream(self, query, *, params, cancel):
        for piece in self.stream(query, params=params, cancel=cancel):
            yield piece


def lines(name):
    told = [line for line in (FOLDER / name).read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [pytest.param(*(part.strip() for part in line.split("|")), id=line) for line in told]


def read_plan(text):
    steps = []
    for part in text.replace(" once", "").split(", "):
        model, n, *until = part.replace(" x ", " ").split()
        steps.append(Step(model, int(n), float(until[1]) if until else None))
    return Plan(tuple(steps))


def engine(plan, words):
    plan = read_plan(plan) if isinstance(plan, str) else plan
    once = [part.split()[0] for part in words.pop("plan", "").split(", ") if part.endswith(" once")]
    members = {m: Scripted(words.get(m, []), native_n=m in once) for m in PRICES}
    pool = Pool(tuple(PRICES), PRICES, "large")
    reward = Verifier(lambda query, text: text == "right")
    return BestRoute(pool, members, lambda query: plan, reward, settings=SETTINGS)


def expected_rows(text):
    """Read ``f0~ 100*1+20*2`` as sorted rows of status, USD and whether it is estimated."""
    rows = []
    for term in text.split():
        status = {"f": "failed", "c": "cancelled"}.get(term[0], "ok")
        total = 0.0
        for product in term.strip("fc~").split("+"):
            factors = [float(factor) for factor in product.split("*")]
            total += factors[0] * (factors[1] if len(factors) > 1 else 1.0)
        rows.append((status, total / 1e6, term.endswith("~")))
    return sorted(rows)


def check(it, expected):
    rows = sorted((row["status"], row["cost_usd"], row["estimated"]) for row in it.ledger.rows())
    wanted = expected_rows(expected)
    assert [(r[0], r[2]) for r in rows] == [(r[0], r[2]) for r in wanted]
    assert [r[1] for r in rows] == pytest.approx([r[1] for r in wanted], abs=1e-9, rel=0)
    assert it.ledger.cost_usd == pytest.approx(sum(r[1] for r in wanted), abs=1e-9, rel=0)
    assert len({row["run_id"] for row in it.ledger.rows()}) == 1


@pytest.mark.parametrize("way", ["run", "arun"])
@pytest.mark.parametrize(("plan", "answers", "expected"), lines("runs.txt"))
def test_every_sample_costs_what_it_costs(plan, answers, expected, way):
    words = {"plan": plan}
    for told in answers.split(";"):
        member, _, calls = told.strip().partition(":")
        words[member] = calls.split()
    it = engine(plan, words)
    result = it.run(QUERY) if way == "run" else asyncio.run(it.arun(QUERY))
    check(it, expected)
    assert all(not generator.words for generator in it.generators.values())  # everything scripted was asked for
    assert result.cost_usd == pytest.approx(it.ledger.cost_usd, abs=1e-12, rel=0)
    assert result.usage == sum_usage([s.usage for s in result.samples if s.usage is not None])
    assert result.to_dict()["cost_usd"] == result.cost_usd


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(("member", "answers", "expected"), lines("streams.txt"))
def test_streams_cost_what_was_streamed(member, answers, expected, way):
    it = engine(f"{member} x 1", {member: re.sub(r"(break|leave) (\d)", r"\1\2", answers).split()})

    async def read(pieces, most):
        count = 0
        async for _ in pieces:
            count += 1
            if count == most:
                break
        await pieces.aclose()

    most = int(answers.split()[1]) if answers.startswith("leave") else -1
    is_broken = answers.startswith("break") and not answers.startswith("break 0")
    try:
        if way == "astream":
            asyncio.run(read(it.astream(QUERY), most))
        else:
            pieces = it.stream(QUERY)
            for _ in zip(range(most) if most > 0 else iter(int, 1), pieces, strict=False):
                pass
            pieces.close()
    except GenerationError:
        assert is_broken
    else:
        assert not is_broken
    check(it, expected)


@pytest.mark.parametrize(("plan", "answers", "expected"), lines("cancelled.txt"))
async def test_cancelled_draws_cost_the_prompt_that_was_sent(plan, answers, expected):
    member = plan.split()[0]
    it = engine(plan, {"plan": plan, member: answers.split()})
    task = asyncio.create_task(it.arun(QUERY))
    while it.generators[member].hangs < answers.split().count("hang"):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    check(it, expected)


def test_there_are_scenarios_enough():
    assert sum(len(lines(path.name)) for path in FOLDER.glob("*.txt")) >= 200
