"""Mask personal data in texts before they are written: e-mail and IP addresses, phone, card and security numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute._utils.extras import need

KINDS = ("EMAIL", "PHONE", "SSN", "CREDIT_CARD", "IP_ADDRESS")
"""Kinds of datafog's patterns that are masked; dates and places are kept, since queries depend on them."""
_NAMES = ("id", "group")
"""Fields that identify calls: numbered marks, which start anew in every call, would make different ones equal."""


class Masking:
    """Replaces personal data by marks like ``[EMAIL_1]``; equal texts get the same mark within a call.

    Names of people are not found, since patterns cannot recognise them. Check a sample before you share a file.

    Raises:
        ImportError: If datafog is not installed.
    """

    def __init__(self) -> None:
        """Load the patterns."""
        need("masking personal data", "datafog", extra="import")
        from datafog import scan

        self._scan = scan
        self.found: dict[str, int] = {}
        """Number of masked items by kind."""
        self._names: dict[str, str] = {}

    def mask_line(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Return the line of a call with its texts masked, in the order of the conversation."""
        marks: dict[str, str] = {}
        turns = self.mask(line.get("messages"), marks)
        masked = {name: self.mask(value, marks) for name, value in line.items() if name not in (*_NAMES, "messages")}
        names = {name: self._mask_name(line[name]) for name in _NAMES if name in line}
        return {name: turns if name == "messages" else {**masked, **names}[name] for name in line}

    def clear(self) -> None:
        """Reset the counts and names of earlier lines."""
        self.found.clear()
        self._names.clear()

    def _mask_name(self, name: str) -> str:
        """Return an id or group; one with personal data is replaced by a number, the same in every call."""
        if name not in self._names and self._mask_text(name, {}) == name:
            return name
        return self._names.setdefault(name, f"masked-{len(self._names) + 1}")

    def mask(self, value: Any, marks: dict[str, str]) -> Any:
        """Return plain JSON with all its texts masked.

        Args:
            value: A text, or a list or an object with texts.
            marks: The mark of each text masked so far in this call; extended.
        """
        if isinstance(value, str):
            return self._mask_text(value, marks)
        if isinstance(value, Mapping):
            return {key: self.mask(part, marks) for key, part in value.items()}
        return [self.mask(part, marks) for part in value] if isinstance(value, list | tuple) else value

    def _mask_text(self, text: str, marks: dict[str, str]) -> str:
        found = self._scan(text, engine="regex", entity_types=list(KINDS)).entities
        pieces, at = [], 0
        for entity in sorted(found, key=lambda entity: (entity.start, -entity.end)):
            if entity.start < at:
                continue
            words = text[entity.start : entity.end]
            if words not in marks:
                marks[words] = f"[{entity.type}_{1 + sum(m.startswith(f'[{entity.type}_') for m in marks.values())}]"
            self.found[entity.type] = self.found.get(entity.type, 0) + 1
            pieces += [text[at : entity.start], marks[words]]
            at = entity.end
        return "".join([*pieces, text[at:]])
