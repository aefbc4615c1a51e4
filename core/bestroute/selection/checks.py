"""What is wrong with a sample that came, and in which form it competes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bestroute._utils.interruptions import keep_samples
from bestroute._utils.threads import ThreadsExhausted, arun_in_thread
from bestroute.selection.agreement import CUT
from bestroute.selection.json_schema import Uncheckable, Unchecked, allow_more, misfit
from bestroute.selection.output_spec import Demand
from bestroute.selection.tool_calls import Call, NotJson, canonical, read_json
from bestroute.types.sample import Cancel, Sample

MOST_VALUES = 100_000
"""Values of JSON that are read; each takes many times the time and the memory of what is written of it."""

IN_PLACE = 20_000
"""Characters of a sample that is judged on an event loop; a longer one would be felt there."""
_BEFORE_DEADLINE_S = 0.05
"""What came before the deadline must be handed on before it, judged or not."""


async def judge_off_loop(
    judge: Callable[[Sample], Sample], samples: Sequence[Sample], *, size: int, cancel: Cancel
) -> list[Sample]:
    """Return samples as they are judged: large ones in a thread, which is waited for until the call's deadline.

    Args:
        judge: Judges one.
        samples: They are returned as "not checked" if that takes too long.
        size: Characters that are read in all.
        cancel: Of the call.

    Raises:
        CancelledError: If the call is cancelled meanwhile; ``samples_of`` returns what came, which is to be billed.
    """
    if size <= IN_PLACE:
        return [judge(sample) for sample in samples]
    left = cancel.seconds_left
    seconds = None if left is None else max(0.0, left - _BEFORE_DEADLINE_S)

    def work() -> list[Sample]:
        allow_more()
        return [judge(sample) for sample in samples]

    try:
        outcome = await arun_in_thread(work, name="bestroute-judge", seconds=seconds)
    except ThreadsExhausted:
        return [replace(sample, unchecked="not checked: the system gives no more threads") for sample in samples]
    except BaseException as cancellation:
        keep_samples(cancellation, samples)
        raise
    if outcome is None:
        return [replace(sample, unchecked="not checked: the deadline came first") for sample in samples]
    return outcome.get()


def judge(sample: Sample, calls: Sequence[Call], demand: Demand) -> Sample:
    """Return the sample with its ``flaw`` or its ``form``; where a check did not end in time, ``unchecked`` says so.

    Args:
        sample: What came; ``text`` is its text without calls where ``demand.is_json``.
        calls: Its tool calls.
        demand: What the request asked for; where it asks nothing the sample is returned as it is.
    """
    if not demand or sample.error is not None:
        return sample
    try:
        return _judged(sample, calls, demand)
    except Unchecked as reason:
        return replace(sample, unchecked=f"not checked: {reason}")
    except Exception as error:  # it came and is paid: a check that fails must not lose it
        return replace(sample, flaw=f"could not be checked: {type(error).__name__}")


def _judged(sample: Sample, calls: Sequence[Call], demand: Demand) -> Sample:
    if demand.is_json and not calls and sum(map(sample.text.count, ",[{")) > MOST_VALUES:
        raise Unchecked(f"it holds more than {MOST_VALUES:,} values")
    value = read_json(sample.text) if demand.is_json and not calls else None
    try:
        flaw = flaw_of(sample, calls, demand, value)
    except Uncheckable as reason:  # no sample can be, so they still compete by what they say
        flaw, sample = None, replace(sample, unchecked=f"not checked: {reason}")
    if flaw is not None:
        return replace(sample, flaw=flaw)
    try:
        if demand.is_json and not calls:
            return replace(sample, form=canonical(value))
        from bestroute.selection.call_forms import canonical_calls

        return replace(sample, form=canonical_calls(calls, demand.tools))
    except RecursionError:
        raise Unchecked("it is nested too deeply") from None


def flaw_of(sample: Sample, calls: Sequence[Call], demand: Demand, value: Any) -> str | None:
    """Say what is wrong with a sample, whose text holds a value as JSON; ``None`` if it may compete.

    Raises:
        Unchecked: If a schema's check did not end in time.
    """
    if sample.finish_reason in CUT:
        return "it was cut short"
    if demand.must_call and not calls:
        return "it calls no tool"
    for call in calls:
        if (flaw := _flaw_of_call(call, demand)) is not None:
            return flaw
    if demand.is_json and not calls:
        return _flaw_of_value(value, demand)
    return None


def _flaw_of_call(call: Call, demand: Demand) -> str | None:
    if call.arguments is None:
        return f"the arguments of {call.name!r} do not parse"
    if demand.tool is not None and call.name != demand.tool:
        return f"it calls {call.name!r} where {demand.tool!r} was asked for"
    if call.name not in demand.tools:
        return None if demand.has_foreign_tools else f"it calls the unknown tool {call.name!r}"
    wrong = misfit(call.arguments, demand.tools[call.name])
    return None if wrong is None else f"the arguments of {call.name!r} do not fit: {wrong}"


def _flaw_of_value(value: Any, demand: Demand) -> str | None:
    if value is NotJson:
        return "it is not JSON"
    wrong = None if demand.schema is None else misfit(value, demand.schema)
    return None if wrong is None else f"it does not fit the schema: {wrong}"
