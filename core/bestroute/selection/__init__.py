"""Choosing among samples that are tool calls, or JSON of a schema: what is broken is out, then agreement decides.

Pure functions that know no framework. An adapter reads from its own objects the calls of a sample (``Call``) and
what the request asked for (``Demand``), and lets ``judge`` fill in ``Sample.flaw`` and ``Sample.form``; the executor
does the rest (``winner``). Samples are never merged.
"""

from typing import TYPE_CHECKING

from bestroute._utils.public import on_demand
from bestroute.selection.agreement import winner
from bestroute.selection.checks import judge, judge_off_loop
from bestroute.selection.output_spec import Demand, read_demand
from bestroute.selection.tool_calls import Call, render_calls

if TYPE_CHECKING:
    from bestroute.selection.call_forms import canonical_calls

__all__ = ["Call", "Demand", "canonical_calls", "judge", "judge_off_loop", "read_demand", "render_calls", "winner"]

# With the forms of tool calls come those of numbers, units and dates.
__getattr__ = on_demand(__name__, globals(), {"canonical_calls": "call_forms"})
