"""Values of the router's constructor, said to a member by the member's own constructor.

``temperature=0.2`` in a constructor is not the same as in a call: the class of a reasoning model drops it, another
knows it under a name of its own. So the class is asked what it makes of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

_NAMES = {
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"),
    "stop": ("stop", "stop_sequences"),
}
"""Under which names the classes know them."""


class CallParams(dict[str, Any]):
    """Parameters of a call that know which of them the router's constructor said.

    Args:
        params: All of them.
        constructed: Names of those that the call itself did not set.
    """

    def __init__(self, params: Mapping[str, Any], constructed: Collection[str] = ()) -> None:
        """Keep both."""
        super().__init__(params)
        self.constructed = frozenset(constructed)


def constructed_in(params: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the constructor in ``params``, which may hold another limit than ``asked`` did."""
    names: Collection[str] = getattr(asked, "constructed", ())
    return {name: params[name] for name in names if name in params and params[name] == asked.get(name)}


def translated(member: BaseChatModel, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the member's fields for some values of the constructor, and the values it has no field for.

    Args:
        member: The chat model; it is not changed.
        values: ``temperature``, ``max_tokens``, ``stop``.
    """
    known = type(member).model_fields
    fields = {name: found for name in values if (found := next((n for n in _NAMES[name] if n in known), None))}
    rest = {name: value for name, value in values.items() if name not in fields}
    if not fields:
        return {}, rest
    wanted = {fields[name]: values[name] for name in fields}
    set_before = {name: member.__dict__[name] for name in member.model_fields_set if name in member.__dict__}
    try:
        made: Any = type(member)(**_by_alias(member, {**set_before, **wanted}))
    except Exception:  # a class whose constructor wants more than its fields
        return wanted, rest
    return {name: made.__dict__[name] for name in {*wanted, "model_kwargs"} if name in made.__dict__}, rest


def _by_alias(member: BaseChatModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under the names that the constructor takes."""
    config, known = type(member).model_config, type(member).model_fields
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return dict(values)
    return {known[name].alias or name: value for name, value in values.items()}
