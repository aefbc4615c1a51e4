"""Selection among samples that are tool calls or structured output: discard flawed ones, then choose by agreement.

Pure functions without any framework. An adapter extracts the tool calls of a sample (``Call``) and the request's
requirements (``Demand``), and calls ``judge`` to set ``Sample.flaw`` and ``Sample.form``; the executor then calls
``winner``. Samples are never merged.
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

# Canonical forms of tool calls import those of numbers, units and dates.
__getattr__ = on_demand(__name__, globals(), {"canonical_calls": "call_forms"})
