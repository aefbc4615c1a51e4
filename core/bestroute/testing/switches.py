"""Faults and delays of the loopback server, switched on by the beginning of a model's name.

``slow-50-flaky-1-small`` waits 50 ms before every answer and fails the first one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NUMBERED = ("fail", "flaky", "ratelimit", "slow", "drop", "ctx")
_PLAIN = ("empty", "nousage", "usage1", "one", "trunc", "badjson", "filter")
_SWITCH = re.compile(rf"(?:({'|'.join(_NUMBERED)})-(\d+)|({'|'.join(_PLAIN)}))(?:-|$)")


@dataclass(frozen=True)
class Switches:
    """What a model's name asks for.

    ======================  ==============================================================================
    ``fail-<status>-``      every call fails with that HTTP status
    ``flaky-<k>-``          the first k calls fail with 500
    ``ratelimit-<k>-``      the first k calls fail with 429 and ``Retry-After: 0``
    ``slow-<ms>-``          waits before the answer
    ``drop-<k>-``           hangs up: a stream after k pieces of text, any other call before the answer
    ``ctx-<tokens>-``       400 ``context_length_exceeded`` for a longer prompt
    ``filter-``             400 ``content_filter``
    ``empty-``              an empty text
    ``trunc-``              the text is cut after three tokens, finish reason ``length``
    ``nousage-``            no usage in the reply
    ``usage1-``             n choices, but the usage of the first, as llama.cpp's server does
    ``one-``                one choice, whatever n
    ``badjson-``            a body that is not JSON
    ======================  ==============================================================================
    """

    on: Mapping[str, int] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        """Whether a switch is on."""
        return name in self.on

    def __getitem__(self, name: str) -> int:
        """Return a switch's number."""
        return self.on[name]


def switches(model: str) -> Switches:
    """Read the switches at the beginning of a model's name.

    Example:
        >>> dict(switches("slow-50-flaky-1-small").on)
        {'slow': 50, 'flaky': 1}
    """
    on: dict[str, int] = {}
    while match := _SWITCH.match(model):
        on[match.group(1) or match.group(3)] = int(match.group(2) or 1)
        model = model[match.end() :]
    return Switches(on)
