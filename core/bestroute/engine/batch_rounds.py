"""Many runs at once whose draws go by batch files: what all of them wait for is handed in together, a round at a time.

A run is a task on a loop of its own, and its members are stand-ins that wait. When every run waits for a draw, the
draws are handed in, a file a model; what comes back lets runs go on, and what they ask next is the next round. So a
plan of two steps takes two rounds, fallbacks are draws like others, and the engine is the one of single calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from bestroute._utils.threads import in_own_thread
from bestroute.billing.ledger import Ledger, LedgerRow
from bestroute.billing.outcomes import CallOutcome
from bestroute.generators.batches import BatchDraws, draw_key
from bestroute.generators.openai import OpenAIGenerator
from bestroute.types.bases import GeneratorBase
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Sample

_SETTLED_S = 0.01
"""How long nothing may happen until it is believed that every run waits."""


@dataclass
class _Row:
    """A run under way."""

    key: str
    waiting: int = 0
    """Draws that it waits for."""
    outcomes: list[tuple[_WaitingDraw, Sample | BaseException]] = field(default_factory=list)
    """What some of these came to, while it waits for the others."""
    draws: dict[str, int] = field(default_factory=dict)
    """How many draws it has asked each member for."""


_row: ContextVar[_Row] = ContextVar("bestroute_batch_row")


@dataclass(frozen=True, eq=False)
class _WaitingDraw:
    """A draw that waits; a ``BatchJob``."""

    key: str
    model: str
    query: Query
    params: Mapping[str, Any]
    row: _Row
    outcome: asyncio.Future[Sample | BaseException]
    at: int = 0
    is_greedy: bool = False
    """What its parameters say of that is left to the member; the key alone says which draw of its run it is."""

    def sampling(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the parameters that the engine gave it."""
        return self.params


class BatchRounds:
    """Runs rows together, and makes their draws by batches.

    Args:
        draws: Makes them; its ``replies`` keep what came, so that a run that is begun anew finds it.
    """

    def __init__(self, draws: BatchDraws) -> None:
        """Wait for nothing."""
        self.draws = draws
        self._waiting: list[_WaitingDraw] = []
        self._busy = 0
        """Runs that wait for no draw."""
        self._changes = 0

    def members(self, members: Mapping[str, OpenAIGenerator]) -> dict[str, GeneratorBase]:
        """Return stand-ins for members, by pool name."""
        return {model: _StandIn(model, member, self) for model, member in members.items()}

    def run(self, rows: Mapping[str, Callable[[], Coroutine[Any, Any, None]]], stops: Callable[[], bool]) -> bool:
        """Run rows to their end.

        Args:
            rows: By key, what runs each; it raises nothing but interruptions.
            stops: Once true, nothing more is handed in or waited for.

        Returns:
            Whether all came to their end; else those that did not were called off.
        """
        return asyncio.run(self._run(rows, stops))

    async def _run(
        self, rows: Mapping[str, Callable[[], Coroutine[Any, Any, None]]], stops: Callable[[], bool]
    ) -> bool:
        self._waiting, self._busy = [], len(rows)
        tasks = [asyncio.ensure_future(self._one(_Row(key), work)) for key, work in rows.items()]
        try:
            while await self._all_wait():
                if stops():
                    return False
                draws, self._waiting = self._waiting, []
                await in_own_thread(self._round, draws, stops, asyncio.get_running_loop())
                if stops() and not all(draw.outcome.done() for draw in draws):
                    return False
            return True
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                    raise outcome

    async def _one(self, row: _Row, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        _row.set(row)
        try:
            await work()
        finally:
            self._changes += 1
            self._busy -= 1

    async def _all_wait(self) -> bool:
        """Wait until every run waits for a draw, or is over; whether any waits."""
        before = -1
        while self._busy or before != self._changes:
            before = self._changes
            await asyncio.sleep(_SETTLED_S)
        return bool(self._waiting)

    def _round(self, draws: Sequence[_WaitingDraw], stops: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> None:
        """Make draws, in a thread; each is handed on as it comes."""
        for draw, outcome in self.draws(draws, {}, stops):
            loop.call_soon_threadsafe(self._hand_on, draw, outcome)

    def _hand_on(self, draw: _WaitingDraw, outcome: Sample | BaseException) -> None:
        """Hand on what a row's draws came to when it waits for no other: one that fails calls off none of them."""
        row = draw.row
        row.outcomes.append((draw, outcome))
        if len(row.outcomes) < row.waiting:
            return
        outcomes, row.outcomes = row.outcomes, []
        for each, result in outcomes:
            if not each.outcome.done():
                each.outcome.set_result(result)

    async def draw(self, model: str, query: Query, params: Mapping[str, Any]) -> Sample | BaseException:
        """Wait for a draw of a member."""
        row, loop = _row.get(), asyncio.get_running_loop()
        number = row.draws[model] = row.draws.get(model, 0) + 1
        draw = _WaitingDraw(draw_key(row.key, number), model, query, params, row, loop.create_future())
        self._waiting.append(draw)
        self._note_waiting(row, 1)
        try:
            return await draw.outcome
        finally:
            self._note_waiting(row, -1)

    def _note_waiting(self, row: _Row, change: int) -> None:
        self._changes += 1
        before, row.waiting = row.waiting, row.waiting + change
        self._busy += (row.waiting == 0) - (before == 0)


class _StandIn(GeneratorBase):
    """A member whose draws wait for the next round."""

    def __init__(self, model: str, member: OpenAIGenerator, rounds: BatchRounds) -> None:
        self._name, self._member, self._rounds = model, member, rounds
        self.model, self.provider = member.model, member.provider

    @property
    def max_output_tokens(self) -> int | None:  # type: ignore[override]
        """As the member's."""
        return self._member.max_output_tokens

    def takes_greedy(self, query: Query) -> bool:
        """As the member does."""
        return self._member.takes_greedy(query)

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples, a line of a batch each."""
        while True:
            request = self._rounds.draws.forms[self._name].request(query, params)
            outcomes = await asyncio.gather(*(self._rounds.draw(self._name, query, params) for _ in range(n)))
            failure = next((outcome for outcome in outcomes if not isinstance(outcome, Sample)), None)
            if failure is None:
                return [outcome for outcome in outcomes if isinstance(outcome, Sample)]
            if n > 1 or not self._member.learns(failure, request, params):
                raise failure

    def close(self) -> None:
        """Close the member's connections."""
        self._member.close()


class HeldBills(Ledger):
    """A ledger that holds the bills of each call until they are taken."""

    def __init__(self) -> None:
        """Hold none."""
        super().__init__()
        self._held: dict[str, list[LedgerRow]] = {}

    def add(
        self, rows: Sequence[LedgerRow], *, outcomes: Sequence[CallOutcome] = (), timeout_s: float | None = None
    ) -> None:
        """Hold rows."""
        for row in rows:
            self._held.setdefault(row["call_id"], []).append(row)

    def take(self, call_id: str) -> list[LedgerRow]:
        """Return what is held of a call, and hold it no more."""
        return self._held.pop(call_id, [])
