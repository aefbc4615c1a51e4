"""The bill of a stream under way: what it has told, and what came since."""

from __future__ import annotations

from dataclasses import replace

from bestroute.types.sample import Delta
from bestroute.types.usage import Usage, completed_usage, estimate_tokens


class StreamUsage:
    """Follows a stream, so that one which breaks off is billed by what it has told.

    Example:
        >>> usage = StreamUsage()
        >>> usage.add(Delta("five words and no more", usage=Usage(9, 5)))
        >>> usage.of_broken(prompt_tokens=3)
        Usage(input=9, output=5, cached_input=0, cache_write=0, reasoning=0, estimated=False)
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._texts: list[str] = []
        self._usage: Usage | None = None
        self._is_behind = False

    def add(self, piece: Delta) -> None:
        """Note a piece."""
        if piece.text:
            self._texts.append(piece.text)
        if piece.usage is not None:
            self._usage, self._is_behind = piece.usage, False
        elif piece.text:
            self._is_behind = True

    @property
    def text(self) -> str:
        """What came."""
        return "".join(self._texts)

    def of_broken(self, prompt_tokens: int) -> Usage | None:
        """Return the bill of a stream that ended too early, where it has told any; text since then is estimated.

        Args:
            prompt_tokens: Tokens of the prompt as far as we know, for a usage that tells none.
        """
        usage, text = self._usage, self.text
        if usage is None:
            return None
        if self._is_behind and (output := estimate_tokens(text)) > usage.output:
            usage = replace(usage, output=output, estimated=True)
        return completed_usage(usage, prompt_tokens, text)
