"""How much of a conversation is in each member's prompt cache, so that a turn is priced as it will be billed.

The policy sees costs that include each member's cache, so a conversation stays with its member unless moving gains more
than a cold cache costs. The reference's hypothetical cost assumes that it had answered every turn.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bestroute._utils.fork_safe import ProcessState
from bestroute.engine.call_context import Options
from bestroute.engine.prompt_cache import NOTHING_CACHED, CachedTokens
from bestroute.types.pool import Pool
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample
from bestroute.types.settings import Settings

_MOST_SESSIONS = 10_000


@dataclass
class _Session:
    by_model: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Time and prompt tokens of each member's last turn."""
    last: tuple[float, int] = (0.0, 0)
    """The same of the last turn of any member."""
    member: str = ""
    """The member of the last turn."""
    turns: int = 0
    """How many consecutive turns it has had."""


class Sessions(ProcessState):
    """Remembers the last turns of conversations, of this process; safe between threads.

    Args:
        pool: Members without a price for cached input are ignored.
        settings: The assumed lifetime of caches, and the shortest prompt that is cached.
        clock: Seconds, for tests and simulations.
    """

    def __init__(self, pool: Pool, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without conversations."""
        super().__init__()
        self.settings, self.clock = settings, clock
        self.models = frozenset(model for model in pool.models if pool.prices[model].cached_input is not None)
        self._has_reference = pool.reference in self.models
        self._reference = pool.reference
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def cached_tokens(self, query: Query, options: Options) -> CachedTokens:
        """Return how much of a query's prompt is in the caches."""
        if not self.models:
            return NOTHING_CACHED
        now, key = self.clock(), session_key(query, options)
        with self._guard():
            session = self._sessions.get(key)
            if session is None:
                return NOTHING_CACHED
            cached = {m: self._held(m, *session.by_model[m], now) for m in session.by_model if m in self.models}
            reference = self._held(self._reference, *session.last, now) if self._has_reference else 0
        return CachedTokens({model: tokens for model, tokens in cached.items() if tokens}, reference)

    def kept(self, query: Query, options: Options) -> str | None:
        """Return the member that a conversation must stay with for now (``least_turns``); ``None``: any."""
        if self.settings.least_turns < 2:
            return None
        with self._guard():
            session = self._sessions.get(session_key(query, options))
            is_kept = session is not None and 0 < session.turns < self.settings.least_turns
            return session.member if session is not None and is_kept else None

    def _held(self, model: str, at: float, tokens: int, now: float) -> int:
        is_held = now - at <= self.settings.cache_lifetime_of(model) and tokens >= self.settings.cache_least_tokens
        return tokens if is_held else 0

    def note(self, query: Query, options: Options, samples: Sequence[DrawnSample]) -> None:
        """Note which members a turn asked."""
        if not self.models and self.settings.least_turns < 2:
            return
        now, key = self.clock(), session_key(query, options)
        with self._guard():
            session = self._sessions.setdefault(key, _Session())
            self._sessions.move_to_end(key)
            for drawn in samples:
                if drawn.error is None:
                    tokens = query.prompt_tokens if drawn.usage is None else drawn.usage.input or query.prompt_tokens
                    session.by_model[drawn.model] = session.last = (now, tokens)
            if models := [drawn.model for drawn in samples if drawn.error is None]:
                session.turns = session.turns + 1 if models[-1] == session.member else 1
                session.member = models[-1]
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)


def session_key(query: Query, options: Options) -> str:
    """Return the key of a conversation: its session, the framework's thread, or its first message."""
    return options.session or options.thread or f"\0{query.opening}"
