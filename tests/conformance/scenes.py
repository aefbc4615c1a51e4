"""What a stub of a provider is to answer to one request, in no provider's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scene:
    """One reply."""

    text: str = "The answer is 84."
    call: tuple[str, Mapping[str, Any]] | None = None
    """A tool to be called and its arguments, in place of the text."""
    value: Mapping[str, Any] | None = None
    """An object to answer with: by a call of the one tool that the request forces, else as JSON text."""
    usage: tuple[int, int] = (11, 5)
    """Input and output tokens that are billed."""
    status: int = 200
    """What is not 200 is answered with the provider's error body."""
    retry_after: str | None = None
    is_cut: bool = False
    """The connection is closed after the first words, without an end."""


ANSWER = Scene()
CALL = Scene(call=("multiply", {"a": 12, "b": 7}))
VALUE = Scene(value={"product": 84, "unit": "pieces"})
REFUSED = Scene(status=400)
BUSY = Scene(status=429, retry_after="0")
CUT = Scene(is_cut=True)
