"""Which settings are secrets: what is shown, stored or used as a key is told without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SECRET = re.compile(
    r"(?:^|[_-])(?:api_?key|\w*access_key(?:_id)?|secret\w*|passwords?|credentials?|authorization|headers?|"
    r"(?:access|auth|session|bearer|api|refresh)_?token|token|x-api-key)$",
    re.IGNORECASE,
)


def is_secret(name: str, value: Any = None) -> bool:
    """Whether a setting is a secret, by its name, or by its type: pydantic's, known by what they can do.

    Example:
        >>> [is_secret(name) for name in ("api_key", "aws_session_token", "default_headers", "max_tokens")]
        [True, True, True, False]
    """
    return callable(getattr(value, "get_secret_value", None)) or _SECRET.search(name) is not None


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the secrets among them, however deep.

    Example:
        >>> without_secrets({"user": "ann", "extra": {"api_key": "sk-1", "seed": 3}, "tools": [{"token": "t"}]})
        {'user': 'ann', 'extra': {'seed': 3}, 'tools': [{}]}
    """
    kept = {name: value for name, value in settings.items() if not is_secret(str(name), value)}
    return {name: _inside(value) for name, value in kept.items()}


def _inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple):
        items = [_inside(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value
