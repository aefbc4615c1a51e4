"""Answering the rows of a log by batch files (``engine.batch_rounds``): each once, and billed when it is answered."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bestroute.engine.batch_rounds import BatchRounds, HeldBills
from bestroute.engine.engine import BestRoute
from bestroute.engine.route_rows import COLUMNS, answer_of, as_row_query, row_key
from bestroute.errors import StoreError, UnreadableStoreError
from bestroute.errors.redaction import describe
from bestroute.generators.batches import BatchDraws, KeptReplies, are_under_way, replies_file
from bestroute.generators.openai import OpenAIGenerator
from bestroute.types.pool import Pool
from bestroute.types.settings import Settings

if TYPE_CHECKING:
    from bestroute.billing.database.kept_answers import Answers
    from bestroute.billing.ledger import LedgerRow

logger = logging.getLogger(__name__)

_SETTINGS = Settings(attempts=1, breaker_failures=2**31)
"""A line that failed is handed in again by the batches themselves, and says nothing of its member's other lines."""

_AGAIN_S = 5.0
"""How long a database that took nothing is left alone."""
_PATIENCE_S = 60.0
"""How long answered rows wait at last for a database that takes nothing."""


@dataclass
class _Unsettled:
    """A row that has its answer, or failed, and whose replies are kept until the database knows."""

    run: str
    call_id: str
    may_be_billed: bool
    answer: Mapping[str, Any] | None
    is_billed: bool = False


class BatchRows:
    """Answers rows by batches; a ``RouteBatches`` of ``route_log``.

    A row's bills are held until it has its answer, and its replies are kept until these are written and the answer is
    kept. So a run after a kill, or after a database was away, takes up what was answered, and bills it once. A row that
    failed is billed at once, and is drawn anew by the next run.

    Args:
        engine: Whose router, policy, reward model and ledger serve; its members are not called.
        pool: Its pool at the prices of batches.
        members: What writes requests and reads replies, by pool name.
        draws: Makes the draws; it has ``replies``.
        job: The job's name, as in ``route_rows``.
        answers: What was answered before.
        decided_by: As in ``route_rows``.
        stops: Once true, nothing more is handed in or waited for.

    Raises:
        ConfigError: If batches are under way of a run in which something else decided.
    """

    at_once = 20_000
    """Rows whose draws are handed in together; each takes memory while it waits."""

    def __init__(
        self,
        engine: BestRoute,
        pool: Pool,
        members: Mapping[str, OpenAIGenerator],
        draws: BatchDraws,
        job: str,
        answers: Answers,
        *,
        decided_by: str = "",
        stops: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make an engine of stand-ins; nothing is handed in."""
        assert draws.replies is not None
        self.job, self.answers, self.decided_by, self.stops = job, answers, decided_by, stops
        self.ledger = engine.ledger
        self.replies: KeptReplies = draws.replies
        self.replies.begin(decided_by, folder=draws.folder if are_under_way(draws.out) else None)
        self.draws = draws
        self.rounds, self.held = BatchRounds(draws), HeldBills()
        self._unsettled: dict[str, _Unsettled] = {}
        self._away_until = 0.0
        self.engine = BestRoute(
            replace(pool, bills_input="per_sample"),  # a line of a batch is one sample
            self.rounds.members(members),
            engine.router,
            engine.reward_model,
            engine.policy,
            self.held,
            settings=_SETTINGS,
        )

    def __call__(self, batches: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of rows answered; none any more once ``stops``: the next run takes up what is under way.

        Raises:
            UnreadableStoreError: If the database takes no bills or answers now; the next run takes up what was drawn.
        """
        for rows in batches:
            answered = self._answered(rows)
            if answered is None:
                return
            yield answered

    def close(self) -> None:
        """Write what the ledger waits for, and let go of databases and replies; those of answered rows are removed."""
        try:
            self.engine.close()
            self.ledger.close()
            self.draws.tidy()
        finally:
            self.replies.close(is_wanted=are_under_way(self.draws.out))
            self.answers.close()

    def _answered(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
        keys = [row_key(self.job, row, self.decided_by) for row in rows]
        found: dict[str, dict[str, Any]] = dict(self.answers.found(keys))
        for key in found:
            self.replies.done(key, is_new=False)
        todo = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            self.replies.turn(key): partial(self._answer, key, row, found) for key, row in todo.items()
        }
        is_done = self.rounds.run(work, self.stops)
        if not self._settle_all(found):
            raise UnreadableStoreError(
                f"the ledger {self.ledger.url!r} cannot be written now; what was drawn is kept in "
                f"{replies_file(self.draws.out)}, and the same command bills it and goes on"
            )
        if not is_done:
            logger.warning("%d rows wait for batches; the same command goes on", sum(key not in found for key in keys))
            return None
        return [{**row, **found[key]} for key, row in zip(keys, rows, strict=True)]

    async def _answer(self, key: str, row: Mapping[str, Any], found: dict[str, dict[str, Any]]) -> None:
        call_id, may_be_billed = self.replies.call_id(key), self.replies.has_any(key)
        run, query = f"{call_id}-{os.urandom(4).hex()}", as_row_query(row)  # of this try alone
        answer: dict[str, Any] | None = None
        try:
            result = await self.engine.arun(query, run_id=self.job, call_id=run)
        except Exception as error:
            found[key] = {**dict.fromkeys(COLUMNS), "error": describe(error, query)}
        else:
            found[key] = answer = {**answer_of(result), "call_id": call_id}
        self._unsettled[key] = _Unsettled(run, call_id, may_be_billed, answer)
        if time.monotonic() >= self._away_until:
            self._settle(found)

    def _settle_all(self, found: dict[str, dict[str, Any]]) -> bool:
        until = time.monotonic() + _PATIENCE_S
        while not self._settle(found):
            if self.stops() or time.monotonic() >= until:
                return False
            time.sleep(_AGAIN_S)
        return True

    def _settle(self, found: dict[str, dict[str, Any]]) -> bool:
        """Bill rows, keep their answers and let go of their replies; whether the database took all of it.

        Args:
            found: Gets the answers that are kept: another machine's, if that was faster.
        """
        try:
            for key, row in list(self._unsettled.items()):
                if not row.is_billed:
                    self._bill(row.run, row.call_id, may_be_billed=row.may_be_billed)
                    row.is_billed = True
                if not self.ledger.flush():
                    raise UnreadableStoreError(f"the ledger {self.ledger.url!r} takes no rows now")
                if row.answer is not None:
                    found[key] = self.answers.keep(key, row.answer)
                self.replies.done(key)
                del self._unsettled[key]
        except StoreError as error:
            logger.warning("answered rows wait to be billed and kept: %s", error)
            self._away_until = time.monotonic() + _AGAIN_S
            return False
        return True

    def _bill(self, run: str, call_id: str, *, may_be_billed: bool) -> None:
        """Write a run's bills as the call's, unless an earlier one that was killed just then has written them."""
        is_billed = may_be_billed and self.ledger.has_call(call_id)
        rows = self.held.take(run)
        if rows and not is_billed:
            self.ledger.add([_of_call(row, run, call_id) for row in rows])


def _of_call(row: LedgerRow, run: str, call_id: str) -> LedgerRow:
    return {**row, "call_id": call_id, "attempt_id": row["attempt_id"].replace(run, call_id)}
