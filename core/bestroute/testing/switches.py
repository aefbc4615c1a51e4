"""Faults and delays of the loopback server, selected by a prefix of a model's name.

``slow-50-flaky-1-small`` waits 50 ms before every answer and fails the first one.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

_NUMBERED = ("fail", "flaky", "ratelimit", "later", "slow", "drop", "ctx", "chaos", "overload", "logprobs")
_PLAIN = (
    "empty",
    "nousage",
    "usage1",
    "one",
    "trunc",
    "badjson",
    "filter",
    "reasoning",
    "nologprobs",
    "refuse-[a-z_]+",
)
USAGES: Mapping[str, Any] = {
    "usage-none": None,
    "usage-bare": {},
    "usage-zero": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "usage-negative": {"prompt_tokens": -7, "completion_tokens": -3, "total_tokens": -10},
    "usage-nan": {"prompt_tokens": float("nan"), "completion_tokens": float("nan"), "total_tokens": 0},
    "usage-text": {"prompt_tokens": "some", "completion_tokens": "many", "total_tokens": "more"},
}
"""Invalid usages to report."""
_SWITCH = re.compile(rf"(?:({'|'.join(_NUMBERED)})-(\d+)(?:-|$)|({'|'.join([*_PLAIN, *USAGES])})-)")


class Refused(Exception):
    """An HTTP error to answer with, its body in OpenAI's format."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Store the answer; ``kind`` is the body's ``type``, by default OpenAI's for the status."""
        super().__init__(message)
        kind = kind or {429: "requests"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
        self.status, self.headers = status, headers
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class Switches:
    """The switches of a model's name.

    ======================  ==============================================================================
    ``fail-<status>-``      every call fails with that HTTP status
    ``flaky-<k>-``          the first k calls fail with 500
    ``ratelimit-<k>-``      the first k calls fail with 429 and ``Retry-After: 0``
    ``later-<s>-``          the first call fails with 429 and ``Retry-After`` as a date, so many seconds ahead
    ``overload-<k>-``       the first k calls get status 200 and then an error: a stream of chat completions, Responses
                            or Messages as ``overloaded_error``, any other chat completion as a body that has an
                            ``error``; the rest fail with 529
    ``slow-<ms>-``          waits before the answer
    ``drop-<k>-``           hangs up: a stream just ends after k pieces of text, with no finish reason, usage
                            or ``[DONE]``; any other call gets no answer
    ``ctx-<tokens>-``       400 ``context_length_exceeded`` for a longer prompt
    ``filter-``             400 ``content_filter``
    ``refuse-<option>-``    400 for any request that has this option, which is named
    ``reasoning-``          400 as OpenAI's reasoning models answer ``max_tokens``, or a ``temperature`` but 1
    ``empty-``              an empty text; ``empty-trunc-`` one whose finish reason is ``length``
    ``trunc-``              the text is cut to ``max_tokens``, or 3, words; finish reason ``length``
    ``nousage-``            no usage in the reply
    ``usage-<how>-``        a usage that makes no sense, in chat completions: ``none`` (null), ``bare`` (``{}``),
                            ``zero``, ``negative``, ``nan`` or ``text``
    ``usage1-``             n choices, but the usage of the first, as llama.cpp's server does
    ``one-``                one choice, whatever n
    ``nologprobs-``         no log-probabilities, also where they are asked for
    ``logprobs-<k>-``       log-probabilities in the first k calls, and none from then on
    ``badjson-``            a body that is not JSON
    ``chaos-<percent>-``    so many calls in a hundred, the same ones every time, fail with 429, 500 or 503, or get no
                            answer
    ======================  ==============================================================================
    """

    on: Mapping[str, int] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        """Return whether a switch is on."""
        return name in self.on

    def __getitem__(self, name: str) -> int:
        """Return a switch's number."""
        return self.on[name]

    def tells_logprobs(self, call: int) -> bool:
        """Return whether a call of this model, counted from 1, gets the requested log-probabilities."""
        return "nologprobs" not in self and call <= self.on.get("logprobs", call)

    def usage(self, usage: Any) -> Any:
        """Return the usage that is reported in place of the true one."""
        return next((USAGES[name] for name in self.on if name in USAGES), usage)

    def refuse_options(self, body: Mapping[str, Any]) -> None:
        """Reject a request that has an option rejected by the switches.

        Raises:
            Refused: With status 400, the option named.
        """
        for name in (switch.partition("refuse-")[2] for switch in self.on if switch.startswith("refuse-")):
            if body.get(name) is not None:
                raise Refused(400, f"Unrecognized request argument supplied: {name}", param=name)
        if "reasoning" not in self:
            return
        if body.get("max_tokens") is not None:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead."
            )
            raise Refused(400, message, code="unsupported_parameter", param="max_tokens")
        if body.get("temperature") not in (None, 1):
            message = (
                f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
                "Only the default (1) value is supported."
            )
            raise Refused(400, message, code="unsupported_value", param="temperature")

    def refuse(self, call: int, prompt_tokens: int) -> None:
        """Reject a call if the switches say so.

        Args:
            call: Which call of this model it is, counted from 1.
            prompt_tokens: Size of its prompt.

        Raises:
            Refused: With the status and code of the switch.
            ConnectionAbortedError: To hang up.
        """
        if "chaos" in self and (chance := random.Random(call)).random() * 100 < self["chaos"]:
            status = chance.choice((429, 500, 503, None))
            if status is None:
                raise ConnectionAbortedError("chaos")
            raise Refused(status, "chaos", code="chaos", headers=[("Retry-After", "0")] if status == 429 else ())
        if "fail" in self:
            raise Refused(self["fail"], f"forced {self['fail']}", code="forced", kind="forced")
        if "flaky" in self and call <= self["flaky"]:
            raise Refused(500, "flaky", code="server_error")
        if "ratelimit" in self and call <= self["ratelimit"]:
            raise Refused(429, "slow down", code="rate_limit_exceeded", headers=[("Retry-After", "0")])
        if "later" in self and call == 1:
            date = formatdate(time.time() + self["later"], usegmt=True)
            raise Refused(429, "slow down", code="rate_limit_exceeded", headers=[("Retry-After", date)])
        if "filter" in self:
            raise Refused(400, "refused by the content filter", code="content_filter", param="prompt")
        if "ctx" in self and prompt_tokens > self["ctx"]:
            message = f"the context holds {self['ctx']} tokens, the prompt has {prompt_tokens}"
            raise Refused(400, message, code="context_length_exceeded", param="messages")


def switches(model: str) -> Switches:
    """Parse the switches at the beginning of a model's name.

    Example:
        >>> dict(switches("slow-50-flaky-1-small").on)
        {'slow': 50, 'flaky': 1}
    """
    on: dict[str, int] = {}
    while match := _SWITCH.match(model):
        on[match.group(1) or match.group(3)] = int(match.group(2) or 1)
        model = model[match.end() :]
    return Switches(on)
