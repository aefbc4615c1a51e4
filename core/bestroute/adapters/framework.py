"""What an adapter brings of its framework; with it, everything else of an engine is built from the fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from bestroute.adapters.plain_member import PlainMember, is_generator
from bestroute.errors import ConfigError
from bestroute.generators.tools_in_prompt import PlainWording, ToolsInPrompt, Wording
from bestroute.types.protocols import Generator
from bestroute.types.query import Query


class Listing(NamedTuple):
    """Under what a provider lists a model of its own."""

    model: str
    provider: str
    """``"openai"``, ``"anthropic"``, ``"google_genai"``, ..."""
    base_url: str | None = None
    """Where it is reached; ``None`` is the provider's own address."""


class Framework(ABC):
    """A framework's models as members of a pool."""

    model_word: ClassVar[str] = "model"
    """What it calls one."""
    accepted: ClassVar[str] = "a model"
    """What may be named as a member, for the error; a plain ``Generator`` may be always."""

    @abstractmethod
    def is_model(self, member: Any) -> bool:
        """Whether an object is one of its models."""

    def as_object(self, name: str, member: Any) -> Any:
        """Return a member as an object, where the framework knows other ways to name one.

        Raises:
            ConfigError: If it is something that cannot be a member, and more is to be said of that.
        """
        return member

    @abstractmethod
    def generator(self, name: str, model: Any, *, native_n: bool) -> Generator:
        """Return what draws from one of its models.

        Args:
            name: Pool name.
            model: The model.
            native_n: Ask for ``n`` choices in one call, where it can.
        """

    def listing(self, model: Any) -> Listing | None:
        """Return under what a provider lists one of its models; ``None`` if that is not known."""
        return None

    @abstractmethod
    def plain_messages(self, name: str, messages: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        """Return a conversation as OpenAI-style dicts, for a plain generator of that pool name."""

    def wording(self) -> Wording:
        """Return how a conversation says what has no tools, for members of ``ToolsInPrompt``."""
        return PlainWording()

    def plain_needs(self, query: Query) -> str | None:
        """Say what a query needs that a plain generator has not; ``None`` if nothing."""
        return "tools" if query.tools else None


def as_member(framework: Framework, name: str, member: Any) -> Any:
    """Return a member as an object.

    Raises:
        ConfigError: If it is neither one of the framework's models nor a plain ``Generator``.
    """
    if isinstance(member, ToolsInPrompt):
        return ToolsInPrompt(as_member(framework, name, member.member), wording=member.wording)
    found = framework.as_object(name, member)
    if framework.is_model(found) or is_generator(found):
        return found
    raise ConfigError(
        f"models: {name!r} must be {framework.accepted} or a bestroute.Generator, got {type(found).__name__}"
    )


def as_generator(framework: Framework, name: str, member: Any, *, native_n: bool) -> Generator:
    """Return what the engine draws a member's samples from."""
    if isinstance(member, ToolsInPrompt):
        return ToolsInPrompt(
            as_generator(framework, name, member.member, native_n=native_n), wording=framework.wording()
        )
    if framework.is_model(member):
        return framework.generator(name, member, native_n=native_n)
    return PlainMember(name, member, lambda messages: framework.plain_messages(name, messages), framework.plain_needs)
