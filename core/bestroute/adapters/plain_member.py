"""A ``bestroute.Generator`` among a framework's models: it is handed messages as plain OpenAI-style dicts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from bestroute.types.bases import GeneratorBase, completed, has_own
from bestroute.types.protocols import Generator
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Delta, Sample


class PlainMember(GeneratorBase):
    """Draws samples of a generator that knows no framework.

    Args:
        name: Pool name, the model's name where the generator tells none.
        generator: The generator.
        to_plain: From the framework's messages to plain dicts, ``{"role", "content"}``.
        needs: Returns what a query needs beyond text, ``None`` if nothing.
    """

    def __init__(
        self,
        name: str,
        generator: Generator,
        to_plain: Callable[[Sequence[Any]], Sequence[Mapping[str, Any]]],
        needs: Callable[[Query], str | None] = lambda query: "tools" if query.tools else None,
    ) -> None:
        """Keep the generator; nothing is called."""
        self.generator = completed(generator, GeneratorBase)
        self.model_name = str(self.generator.model_name or self.generator.model or name)
        self.native_n = generator.native_n
        self._to_plain, self._needs = to_plain, needs

    @property
    def max_output_tokens(self) -> int | None:  # type: ignore[override]
        """The most tokens of one sample, if the generator tells."""
        limit = self.generator.max_output_tokens
        return limit if isinstance(limit, int) else None

    def without_retries(self) -> PlainMember:
        """Return the same member without retries of its own, where the generator has any."""
        if not has_own(self.generator, GeneratorBase.without_retries):
            return self
        twin = copy(self)
        twin.generator = completed(self.generator.without_retries(), GeneratorBase)
        return twin

    def lacks(self, query: Query) -> str | None:
        """Say what it cannot do: it answers in text alone."""
        needs = self._needs(query)
        return f"it is a plain generator, which answers in text alone, and the query needs {needs}" if needs else None

    def takes_greedy(self, query: Query) -> bool:
        """Whether the generator can draw at temperature 0 in place of one above it."""
        return self.generator.takes_greedy(query)

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples."""
        return self.generator.generate(self._plain(query), n, params=params, cancel=cancel)

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; in a thread where the generator cannot wait."""
        return await self.generator.agenerate(self._plain(query), n, params=params, cancel=cancel)

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the generator's pieces, or the whole sample where it has none."""
        yield from self.generator.stream(self._plain(query), params=params, cancel=cancel)

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the generator's pieces, or the whole sample where it has none, without blocking the loop."""
        async for piece in self.generator.astream(self._plain(query), params=params, cancel=cancel):
            yield piece

    def _plain(self, query: Query) -> Query:
        return replace(query, messages=list(self._to_plain(query.messages or ())))


def is_generator(member: object) -> bool:
    """Whether an object is a ``bestroute.Generator``."""
    return callable(getattr(member, "generate", None)) and hasattr(member, "native_n")
