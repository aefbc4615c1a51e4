"""Options that a server rejects by name: detected in its error, left out or renamed, and remembered per member."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bestroute.errors.facts import Facts

logger = logging.getLogger("bestroute")

RENAMES: Mapping[str, str] = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Options that some servers know by another name."""
_REFUSALS = (
    *("unsupported", "not support", "n't support", "not permitted", "not allowed", "forbidden", "unknown"),
    *("unrecognized", "unrecognised", "unexpected", "extra inputs", "extra fields", "extra_forbidden", "extraneous"),
    *("additional propert", "not available", "not accepted", "not a valid", "no such", "instead", "deprecated"),
)
"""Wording by which a server rejects an option itself, rather than its value."""
_ONE_ONLY = ("at most 1", "equal to 1", "must be 1", "only 1", "only one", "only support 1")
"""Wording by which a server rejects more than one choice."""
_COMPLETION_TOKENS = re.compile(r"(?:ft:)?(?:o\d|gpt-5)")
_REASONING_MODEL = re.compile(
    r"(?:^|[/:.])(?:o\d(?:$|[-:])|gpt-[5-9]|gpt-oss|qwq|magistral|grok-[34]-mini|grok-4)|reason|thinking|[-_]r1(?:$|[-:])"
)


def refused_option(error: BaseException, names: Iterable[str]) -> str | None:
    """Return which of these options a server or its client rejects by name; ``None`` if none.

    Only an error that is about the request (400, 422, or a client's own unexpected argument) and says that the option
    is not taken counts; one that dislikes its value does not.

    Args:
        error: The member's error.
        names: Options that were sent.

    Example:
        >>> refused_option(
        ...     ValueError("status code 422: extra inputs are not permitted: stream_options"), ["n", "stream_options"]
        ... )
        'stream_options'
    """
    facts = Facts.of(error)
    if facts.status not in (400, 422) and "unexpected keyword argument" not in facts.words:
        return None
    says_no = any(phrase in facts.words for phrase in _REFUSALS)
    says_one = any(phrase in facts.words for phrase in _ONE_ONLY)
    places = {
        name: found.start()
        for name in names
        if (says_no or (says_one and name == "n")) and (found := _mention(name).search(facts.words))
    }
    return min(places, key=lambda name: places[name], default=None)


def _mention(name: str) -> re.Pattern[str]:
    """Return the pattern of an option in a message; a name of one or two letters must be quoted or marked."""
    word = re.escape(name.lower())
    if len(name) < 3:
        return re.compile(
            rf"(?P<quote>['\"`]){word}(?P=quote)|\b{word} ?=|\b(?:parameter|option|argument|field):? {word}\b"
        )
    return re.compile(rf"(?<![\w-]){word}(?![\w-])")


def wants_completion_tokens(model: str) -> bool:
    """Return whether a model is one of OpenAI's that only take ``max_completion_tokens``: o-series and gpt-5.

    Example:
        >>> [wants_completion_tokens(name) for name in ("o3-mini", "gpt-5-nano", "gpt-4o", "openai/gpt-5")]
        [True, True, False, False]
    """
    return _COMPLETION_TOKENS.match(model) is not None


def is_reasoning_model(model: str) -> bool:
    """Whether a model reasons before it answers, by its name: it takes no temperature and gives no log-probabilities.

    Example:
        >>> [is_reasoning_model(name) for name in ("o3-mini", "openai/gpt-5", "deepseek-reasoner", "gpt-4o", "llama-3")]
        [True, True, True, False, False]
    """
    return _REASONING_MODEL.search(model.lower()) is not None


def disliked_option(error: BaseException, names: Iterable[str]) -> str | None:
    """Return which of these options an error is about, whether the option or its value; ``None`` if none.

    Args:
        error: The member's error.
        names: Optional options, which are dropped on any complaint.
    """
    facts = Facts.of(error)
    if facts.status not in (400, 422) and "unexpected keyword argument" not in facts.words:
        return None
    return next((name for name in names if _mention(name).search(facts.words)), None)


class Refusals:
    """The options that a member's server has rejected so far, and how requests are adapted.

    What is learned holds for the member from then on; threads may share it. An option that the caller chose (``keep``)
    is never left out, but may get its other name.

    Args:
        optional: Options that may be left out.
        model: The provider's name of the model, which may imply which name of an option it takes.

    Example:
        >>> refusals = Refusals(["stream_options"])
        >>> request = {"stream_options": {}, "max_tokens": 9}
        >>> refusals.learn(ValueError("status code 400: unknown field stream_options"), request)
        True
        >>> refusals.adapted(request)
        {'max_tokens': 9}
    """

    def __init__(self, optional: Collection[str], model: str = "") -> None:
        """Start without knowledge except for the rule about names."""
        self.optional = optional
        self.left_out: set[str] = set()
        self.not_granted: set[str] = set()
        """Options requested by the engine (``temperature``, ``logprobs``) that the server or this model cannot
        grant."""
        self.renamed: dict[str, str] = {}
        self._is_presumed = wants_completion_tokens(model)
        if self._is_presumed:
            self.renamed["max_tokens"] = "max_completion_tokens"

    def adapted(self, request: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        """Return a request without rejected options, and with the accepted names of the others."""
        if not (self.left_out or self.renamed):
            return dict(request)
        left_out = self.left_out.difference(keep)
        return {self.renamed.get(name, name): value for name, value in request.items() if name not in left_out}

    def granted(self, wishes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the engine's requested options that are not known to be rejected."""
        return {name: value for name, value in wishes.items() if name not in self.not_granted}

    def learn(
        self,
        error: BaseException,
        request: Mapping[str, Any],
        keep: Collection[str] = (),
        wished: Collection[str] = (),
    ) -> bool:
        """Learn from an error; returns whether the request should be sent once more.

        Args:
            error: The member's error.
            request: The request as sent.
            keep: Options that the caller chose.
            wished: Options that the engine requested: they are dropped first, and on any complaint.
        """
        if (wish := disliked_option(error, wished)) is not None:
            self.not_granted.add(wish)
            logger.info("an option that is only wished for is not asked for any more: %s", wish)
            return True
        droppable = [name for name in self.optional if name in request and name not in keep]
        name = refused_option(error, [*(name for name in RENAMES if name in request), *droppable])
        if name is None:
            return False
        if name in RENAMES:
            return self._rename(name)
        self.left_out.add(name)
        logger.info("an option that the server refuses is left out from now on: %s", name)
        return True

    def _rename(self, name: str) -> bool:
        other = RENAMES[name]
        if self.renamed.get(other) == name:  # it was sent under the other name, so neither is accepted
            if not self._is_presumed:
                return False
            self._is_presumed = False  # only the name rule said so
            del self.renamed[other]
        else:
            self.renamed[name] = other
        logger.info("an option has another name for the server from now on: %s is %s", name, other)
        return True
