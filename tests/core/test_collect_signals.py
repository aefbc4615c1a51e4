"""``collect`` keeps what draws tell of themselves, and draws one greedy answer beside the samples where asked."""

import json
import signal
import subprocess
import sys
import time

import pytest

from bestroute import Cancel, Pool, Price, Sample, Signals, Usage
from bestroute.records.collect import Prompt, collect
from bestroute.records.records import read_records
from bestroute.testing import FakeGenerator

PROMPTS = [Prompt(f"q{i}", f"question {i}", f"g{i}", "t", {"id": f"q{i}"}) for i in range(3)]
POOL = Pool(["small", "large"], {"small": Price(1, 2), "large": Price(10, 20)}, "large")


class Member(FakeGenerator):
    """Says how it was asked, and fails where it is told to."""

    def __init__(self, fails=lambda query, temperature: None):
        super().__init__(["x"])
        self.fails, self.temperatures = fails, []

    def generate(self, query, n, *, params, cancel):
        temperature = params.get("temperature", 0.8)
        if (error := self.fails(query, temperature)) is not None:
            raise error
        self.temperatures.append(temperature)
        text = f"{query.text} at {temperature}"
        logprob = -0.5 if temperature else -0.25
        return [Sample(text, usage=Usage(10, 4), signals=Signals(logprob * 4, logprob, logprob, 1.0, 4))]


def members(**options):
    return {model: Member(**options) for model in POOL.models}


def refused(query, temperature):
    return ValueError("status code 400: unsupported value: 'temperature'") if temperature == 0 else None


def test_signals_of_every_draw_stand_beside_its_quality(tmp_path):
    collect(PROMPTS, POOL, members(), tmp_path / "r.jsonl", n=2)
    told = json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])["samples"]["small"]
    assert told["signals"] == {
        "sum_logprob": [-2.0, -2.0],
        "mean_logprob": [-0.5, -0.5],
        "min_logprob": [-0.5, -0.5],
        "logprob_share": [1.0, 1.0],
    }
    assert "greedy" not in told


def test_where_no_draw_tells_any_no_signals_are_recorded(tmp_path):
    collect(PROMPTS, POOL, {m: FakeGenerator(["x"]) for m in POOL.models}, tmp_path / "r.jsonl", n=2)
    assert "signals" not in json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])["samples"]["small"]


def test_a_draw_without_signals_is_null_among_those_with(tmp_path):
    silent = Sample("x", usage=Usage(10, 4), signals=Signals(tokens=4, mode="sampled"))
    telling = Sample("y", usage=Usage(10, 4), signals=Signals(-1.0, -0.25, -0.5, 1.0, 4))
    generators = {m: FakeGenerator([silent, telling]) for m in POOL.models}
    collect(PROMPTS[:1], POOL, generators, tmp_path / "r.jsonl", n=2, concurrency=1)
    (record,) = read_records(tmp_path / "r.jsonl")
    assert [s.sum_logprob for s in record.samples["small"].signals] == [None, -1.0]


def test_one_greedy_answer_is_drawn_beside_the_samples_and_billed(tmp_path):
    generators = members()
    done = collect(PROMPTS, POOL, generators, tmp_path / "r.jsonl", n=2, greedy=True, checker=lambda p, text: 0.5)
    assert (done.drawn, done.kept, done.missing, done.unjudged) == (3 * 2 * 3, 0, 0, 0)
    for record in read_records(tmp_path / "r.jsonl", pool=POOL):
        samples = record.samples["small"]
        assert samples.text == (f"{record.query} at 0.8",) * 2
        assert samples.greedy.text == f"{record.query} at 0.0"
        assert (samples.greedy.quality, samples.greedy.output_tokens) == (0.5, 4)
        assert samples.greedy.cost_usd == pytest.approx(10e-6 + 4 * 2e-6)
        assert samples.greedy.signals == Signals(-1.0, -0.25, -0.25, 1.0, 4, "greedy")
    assert generators["small"].temperatures.count(0.0) == len(PROMPTS)


def test_greedy_answers_are_asked_for_later_and_never_twice(tmp_path):
    out, generators = tmp_path / "r.jsonl", members()
    collect(PROMPTS, POOL, generators, out, n=2)
    done = collect(PROMPTS, POOL, generators, out, n=2, greedy=True)
    assert (done.drawn, done.kept) == (6, 12)
    done = collect(PROMPTS, POOL, generators, out, n=3, greedy=True)
    assert (done.drawn, done.kept) == (6, 18)
    collect(PROMPTS, POOL, generators, out, n=3)  # without the option they stay
    assert all(r.samples["small"].greedy is not None for r in read_records(out))
    assert generators["small"].temperatures.count(0.0) == len(PROMPTS)


def test_a_greedy_answer_that_nobody_judged_is_judged_later_without_a_draw(tmp_path):
    out = tmp_path / "r.jsonl"
    assert collect(PROMPTS, POOL, members(), out, n=1, greedy=True).unjudged == 12
    done = collect(PROMPTS, POOL, members(), out, n=1, greedy=True, checker=lambda p, text: float("0.0" in text))
    assert (done.drawn, done.unjudged) == (0, 0)
    samples = read_records(out)[0].samples["small"]
    assert (samples.quality, samples.greedy.quality) == ((0.0,), 1.0)


def test_a_model_that_takes_no_temperature_has_no_greedy_answer_and_nothing_is_missing(tmp_path, caplog):
    generators = {"small": Member(), "large": Member(fails=refused)}
    done = collect(PROMPTS, POOL, generators, tmp_path / "r.jsonl", n=2, greedy=True, concurrency=1)
    assert (done.missing, done.failures) == (0, ())
    samples = [r.samples for r in read_records(tmp_path / "r.jsonl")]
    assert all(s["large"].greedy is None and s["small"].greedy is not None for s in samples)
    assert caplog.text.count("'large' takes no temperature of 0") == 1


def test_a_greedy_answer_whose_samples_all_failed_waits_for_them(tmp_path):
    def only_greedy(query, temperature):
        return RuntimeError("down") if temperature else None

    out = tmp_path / "r.jsonl"
    done = collect(PROMPTS[:1], POOL, members(fails=only_greedy), out, n=1, greedy=True)
    assert (done.drawn, done.missing) == (2, 2)
    generators = members()
    done = collect(PROMPTS[:1], POOL, generators, out, n=1, greedy=True)
    assert (done.drawn, done.missing) == (2, 0)
    assert generators["small"].temperatures == [0.8]
    assert read_records(out)[0].samples["small"].greedy.text == "question 0 at 0.0"
    assert list(tmp_path.iterdir()) == [out]


def test_a_stop_at_any_moment_loses_no_greedy_answer(tmp_path):
    out, generators = tmp_path / "r.jsonl", members()
    for there in range(1, 19):
        stop = Cancel()
        collect(
            PROMPTS,
            POOL,
            generators,
            out,
            n=2,
            greedy=True,
            concurrency=1,
            stop=stop,
            on_sample=lambda kept, wanted, stop=stop, there=there: kept >= there and stop.set(),
        )
    assert sum(len(generators[m].temperatures) for m in POOL.models) == 18
    assert all(s.size == 2 and s.greedy is not None for r in read_records(out) for s in r.samples.values())


KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
from pathlib import Path
from test_collect_signals import POOL, PROMPTS, Member
from bestroute.records.collect import collect

class Slow(Member):
    def generate(self, query, n, **options):
        time.sleep(0.02)
        with open({log!r}, "a") as log:
            log.write("draw\\n")
        return super().generate(query, n, **options)

collect(PROMPTS, POOL, {{m: Slow() for m in POOL.models}}, Path({out!r}), n=2, greedy=True, concurrency=1)
"""


def test_killed_again_and_again_it_ends_with_one_greedy_answer_each(tmp_path):
    out = tmp_path / "r.jsonl"
    code = KILLED.format(folder=str(__file__).rpartition("/")[0], log=str(tmp_path / "log"), out=str(out))
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code])
        before = (tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""
        while process.poll() is None:
            if (tmp_path / "log").exists() and len((tmp_path / "log").read_text()) >= len(before) + 15:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        process.wait()
    subprocess.run([sys.executable, "-c", code], check=True)
    records = read_records(out, pool=POOL)
    assert all(s.size == 2 and s.greedy is not None for r in records for s in r.samples.values())
