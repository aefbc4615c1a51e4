"""Members: what is known of them, and the copy of one that is called.

The copy tells no callback, does not retry by itself (the engine retries by its rules, and retries of retries would
multiply) and has the router's own settings as fields. The caller's object is never changed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from asyncio import AbstractEventLoop
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from llama_index.core.llms import LLM

from bestroute._utils.closing import close
from bestroute._utils.interruptions import keep_samples
from bestroute.adapters import clients
from bestroute.adapters.framework import Listing
from bestroute.errors import DrawCancelledError
from bestroute.types.sample import Cancel, Sample
from bestroute.types.usage import Usage
from llamaindex_bestroute.description import StoredLLM
from llamaindex_bestroute.providers import arguments_without_retries
from llamaindex_bestroute.tracing import Muted

_PROVIDERS = {"openai_llm": ("openai", "api_base"), "Anthropic_LLM": ("anthropic", "base_url")}
"""Integrations of providers' own models, by class name: the provider, and the field of its address."""
Piece = TypeVar("Piece")
_TIMEOUTS = ("timeout", "request_timeout")
_cancel: ContextVar[Cancel | None] = ContextVar("_cancel", default=None)
"""Of the call that a request is made for."""


def openai_member(arguments: Mapping[str, Any]) -> LLM:
    """Make a member that speaks OpenAI's protocol: OpenAI's own, or like it at another address.

    Raises:
        ImportError: If its package is not installed.
    """
    own = {("api_base" if name == "base_url" else name): value for name, value in arguments.items()}
    package = "llama-index-llms-openai-like" if "api_base" in own else "llama-index-llms-openai"
    try:
        if "api_base" in own:
            made = importlib.import_module("llama_index.llms.openai_like").OpenAILike
            own |= {"is_chat_model": True, "is_function_calling_model": True}
        else:
            made = importlib.import_module("llama_index.llms.openai").OpenAI
    except ImportError as error:
        raise ImportError(
            f"members of this router's folder need it: pip install {package}, or give llms=..."
        ) from error
    member: LLM = made(**own)
    return member


def listing_of(member: LLM) -> Listing | None:
    """Return under what a provider lists an LLM; ``None`` for an integration of which that is not known."""
    if member.class_name() not in _PROVIDERS:
        return None
    provider, address = _PROVIDERS[member.class_name()]
    return Listing(str(getattr(member, "model", "")), provider, getattr(member, address, None))


def quiet(member: LLM, timeout: float | None = None, settings: Mapping[str, Any] | None = None) -> LLM:
    """Return a copy of a member that tells no callback and does not retry by itself.

    What the member keeps beside its fields is the copy's too. Clients that it has made already are shared, with their
    retries off; what its class caches is made anew.

    Args:
        member: The caller's object; it is not changed.
        timeout: Seconds for one request; ``None`` leaves the member's own.
        settings: The router's own settings, which win over the member's.
    """
    known = type(member).model_fields
    update: dict[str, Any] = {"callback_manager": Muted()}
    options: dict[str, Any] = {}
    if (limiter := getattr(member, "rate_limiter", None)) is not None:
        update["rate_limiter"] = OwnTurn(limiter)
    if "max_retries" in known:
        update["max_retries"] = 0
    if timeout is not None:
        update |= {name: timeout for name in _TIMEOUTS if name in known}
        options["timeout"] = timeout
    own = getattr(member, "additional_kwargs", None) or {}
    arguments = {**own, **arguments_without_retries(member)}
    arguments.pop("n", None)  # how many samples is the router's to say
    if arguments != own:
        update["additional_kwargs"] = arguments
    if "n" in known:
        update["n"] = 1
    wanted = {name: value for name, value in (settings or {}).items() if name in known}
    copied = constructed(member, wanted).model_copy(update=update)
    for name in [name for name in copied.__dict__ if name not in known]:
        if isinstance(inspect.getattr_static(type(member), name, None), functools.cached_property):
            del copied.__dict__[name]
    for kept in (copied.__dict__, copied.__pydantic_private__ or {}):
        for name, value in kept.items():
            kept[name] = clients.without_retries(value, options)
    return copied


_Copies = WeakValueDictionary[int, LLM]
_first_copies: _Copies = WeakValueDictionary()
"""Of each member, by its address, the copy that was made first for synchronous calls."""
_first_copies_of_loops: WeakKeyDictionary[AbstractEventLoop, _Copies] = WeakKeyDictionary()
"""The same for calls in an event loop, to which connections belong."""
_OF_REQUESTS = {"callback_manager", "additional_kwargs", "temperature", "max_tokens"}
"""Fields that no client is made with."""


def shares_clients(copied: LLM, member: LLM, settings: Mapping[str, Any], loop: AbstractEventLoop | None) -> bool:
    """Whether a copy of a member has the clients of one that was made before, those yet to be made among them.

    Routers over the same members make copies that differ in what is said in every request alone. The one that was
    made first lives as long as any of the others.

    Args:
        copied: A copy of the member, just made.
        member: What it was copied from.
        settings: The router's own settings.
        loop: The event loop that its asynchronous connections belong to.
    """
    copies = _first_copies if loop is None else _first_copies_of_loops.setdefault(loop, WeakValueDictionary())
    first = copies.get(id(member))
    if first is None or not _are_reached_alike(copied, first, _OF_REQUESTS | settings.keys()):
        copies[id(member)] = copied
        object.__setattr__(copied, "_bestroute_member", member)  # its address is nobody else's meanwhile
        return False
    object.__setattr__(copied, "__pydantic_private__", first.__pydantic_private__)
    object.__setattr__(copied, "_bestroute_first", first)
    return True


def _are_reached_alike(one: LLM, other: LLM, aside: Collection[str]) -> bool:
    fields = [name for name in type(one).model_fields if name not in aside]
    ours, theirs = one.__pydantic_private__ or {}, other.__pydantic_private__ or {}
    kept = {name: value for name, value in ours.items() if value is not None and _is_plain(value)}
    return all(vars(one).get(name) == vars(other).get(name) for name in fields) and all(
        theirs.get(name) == value for name, value in kept.items()
    )


def variant(member: LLM, settings: Mapping[str, Any]) -> LLM:
    """Return the member with other settings; clients it makes are the member's own, and outlive the variant."""
    changed = {name: value for name, value in settings.items() if getattr(member, name) != value}
    if not changed:
        return member
    copied = member.model_copy(update=changed)
    object.__setattr__(copied, "__pydantic_private__", member.__pydantic_private__)
    return copied


def constructed(member: LLM, settings: Mapping[str, Any]) -> LLM:
    """Return the member as its own constructor makes it of other settings; clients stay the member's own.

    A constructor may translate a setting (a reasoning model takes no temperature), or keep it in a place of its own.
    """
    if not settings:
        return member
    try:
        plain, twin = (StoredLLM(type(member), {**vars(member), **overrides}).restore() for overrides in ({}, settings))
    except Exception:  # of a class whose constructor wants what its fields do not tell
        return variant(member, settings)
    copied = member.model_copy(update={name: getattr(twin, name) for name in settings})
    for kept, before, after in (
        (copied.__dict__, vars(plain), vars(twin)),
        (copied.__pydantic_private__ or {}, plain.__pydantic_private__ or {}, twin.__pydantic_private__ or {}),
    ):
        changed = {name for name in kept if name in before and name in after and _is_plain(after[name])}
        kept.update({name: after[name] for name in changed if before[name] != after[name]})
    return copied


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | tuple | dict)


@contextmanager
def until(cancel: Cancel) -> Iterator[None]:
    """Let the limiter of the member that is called know when nobody waits any more."""
    token = _cancel.set(cancel)
    try:
        yield
    finally:
        _cancel.reset(token)


def each_until(cancel: Cancel, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield pieces of a stream; ``until`` holds while each is waited for, and not for who reads them."""
    try:
        while True:
            with until(cancel):
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
            yield piece
    finally:
        close(pieces)


class OwnTurn:
    """Waits for a member's own limiter, in its place: a draw that waits has sent nothing, and need not be sent.

    Args:
        limiter: The member's.
    """

    def __init__(self, limiter: Any) -> None:
        """Keep it."""
        self.limiter = limiter

    def __eq__(self, other: object) -> bool:
        """Whether both wait for the same."""
        return isinstance(other, OwnTurn) and other.limiter is self.limiter

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        """Return what the limiter has; nothing of a copy that has none yet."""
        if name == "limiter":
            raise AttributeError(name)
        return getattr(self.limiter, name)

    def acquire(self, *arguments: Any, **options: Any) -> None:
        """Wait.

        Raises:
            DrawCancelledError: If nobody waits for the draw any more.
        """
        cancel = _cancel.get()
        with nullcontext() if cancel is None else cancel.before_sending():
            self.limiter.acquire(*arguments, **options)
        if cancel is not None and cancel.is_set:
            raise _never_sent()

    async def async_acquire(self, *arguments: Any, **options: Any) -> None:
        """Wait without blocking the loop; what is cancelled meanwhile costs nothing."""
        try:
            await self.limiter.async_acquire(*arguments, **options)
        except BaseException as error:
            keep_samples(error, [Sample("", usage=Usage(), error=_never_sent())])
            raise


def _never_sent() -> DrawCancelledError:
    return DrawCancelledError("the draw was called off before anything was sent")
