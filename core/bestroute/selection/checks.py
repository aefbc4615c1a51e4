"""Check samples against a request's requirements, and set their flaw or canonical form."""

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
"""Most JSON values that are parsed; each takes far more time and memory than its text."""

IN_PLACE = 20_000
"""Characters up to which a sample is checked on the event loop; longer ones would block it noticeably."""
_BEFORE_DEADLINE_S = 0.05
"""Samples must be handed on this long before the deadline, checked or not."""


async def judge_off_loop(
    judge: Callable[[Sample], Sample], samples: Sequence[Sample], *, size: int, cancel: Cancel
) -> list[Sample]:
    """Check samples; large ones in a thread, which is waited for until the call's deadline.

    Args:
        judge: Checks one sample.
        samples: The samples; they are returned as "not checked" if time runs out.
        size: Characters to be read in total.
        cancel: The call's cancellation.

    Returns:
        The checked samples.

    Raises:
        CancelledError: If the call is cancelled meanwhile; ``samples_of`` returns its samples, which are to be billed.
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
    """Return the sample with its ``flaw`` or ``form`` set; ``unchecked`` if a check did not finish in time.

    Args:
        sample: The sample; if ``demand.is_json``, ``text`` is its text without calls.
        calls: Its tool calls.
        demand: The request's requirements; if there are none, the sample is returned unchanged.
    """
    if not demand or sample.error is not None:
        return sample
    try:
        return _judged(sample, calls, demand)
    except Unchecked as reason:
        return replace(sample, unchecked=f"not checked: {reason}")
    except Exception as error:  # it is paid for: a failing check must not lose it
        return replace(sample, flaw=f"could not be checked: {type(error).__name__}")


def _judged(sample: Sample, calls: Sequence[Call], demand: Demand) -> Sample:
    if demand.is_json and not calls and sum(map(sample.text.count, ",[{")) > MOST_VALUES:
        raise Unchecked(f"it holds more than {MOST_VALUES:,} values")
    value = read_json(sample.text) if demand.is_json and not calls else None
    try:
        flaw = flaw_of(sample, calls, demand, value)
    except Uncheckable as reason:  # no sample can be checked, so they compete by their text
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
    """Return the flaw of a sample; ``None`` if it may compete.

    Args:
        sample: The sample.
        calls: Its tool calls.
        demand: The request's requirements.
        value: The JSON value of its text, or ``NotJson``.

    Raises:
        Unchecked: If a check did not finish in time.
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
