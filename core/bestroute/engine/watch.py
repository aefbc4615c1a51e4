"""Alarms while calls run: draws and audits of this process are checked in the background, and alarms are reported.

``monitor`` checks what all processes wrote to the ledger.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bestroute._utils.fork_safe import ProcessState
from bestroute._utils.interruptions import is_interruption
from bestroute.billing.ledger_rows import LedgerRow
from bestroute.billing.outcomes import CallOutcome
from bestroute.errors.redaction import describe

if TYPE_CHECKING:
    from bestroute.monitoring.alarms import Alarm, Alarms
    from bestroute.monitoring.audits import Audit

logger = logging.getLogger("bestroute.engine")

AT_ONCE = 64
"""How many calls are checked together."""
_MOST_WAITING = 100 * AT_ONCE


class Watch(ProcessState):
    """Watches the calls of one process.

    Args:
        models: The pool's models.
        target: The target drop; ``None``: there is none, and no alarm about a drop is raised.
        on_alarm: The user's function, called with each alarm in a separate thread.
        meter: Counts alarms for metrics; called with each alarm, too.
    """

    def __init__(
        self,
        models: Sequence[str],
        target: float | None,
        on_alarm: Callable[[Alarm], object] | None,
        meter: Callable[[Alarm], object] | None = None,
    ) -> None:
        """Begin with nothing observed."""
        super().__init__()
        self.models, self.target, self.on_alarm, self.meter = models, target, on_alarm, meter
        self._share = 1.0
        self._forget_parent()

    def _forget_parent(self) -> None:
        self._rows: deque[Sequence[LedgerRow]] = deque(maxlen=_MOST_WAITING)
        self._outcomes: deque[CallOutcome] = deque(maxlen=_MOST_WAITING)
        self._alarms: Alarms | None = None
        self._counts: Counter[tuple[str, str]] = Counter()

    @property
    def share(self) -> float:
        """Of calls that are audited now."""
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        with self._guard():
            self._share = share
            if self._alarms is not None and share:
                self._alarms.least_probability = share

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Number of alarms of this process by kind and model (``""``: about no model), including zeros."""
        from bestroute.monitoring.alarms import kinds_of

        self._guard()
        return {name: self._counts[name] for name in kinds_of(self.models)}

    def note_rows(self, rows: Sequence[LedgerRow]) -> None:
        """Note the ledger rows of a call, without waiting."""
        self._rows.append(rows)

    def note_outcome(self, outcome: CallOutcome) -> None:
        """Note the outcome of a call, without waiting."""
        self._outcomes.append(outcome)

    @property
    def is_due(self) -> bool:
        """Whether enough was noted for a check."""
        return len(self._rows) >= AT_ONCE or len(self._outcomes) >= AT_ONCE

    @property
    def is_waiting(self) -> bool:
        """Whether anything noted is still unchecked."""
        return bool(self._rows or self._outcomes)

    def observe(self, audit: Audit) -> None:
        """Check an audit."""
        if self.target is None:
            return
        with self._guard():
            raised = self._all().observe(audit)
        self._tell(raised)

    def observe_failed(self) -> None:
        """Note an audit that showed nothing."""
        with self._guard():
            if self._alarms is not None:
                self._alarms.observe_failed()

    def look(self) -> None:
        """Check everything that was noted."""
        from bestroute.monitoring.draw_facts import draw_facts

        with self._guard():
            alarms = self._all()
            raised: list[Alarm] = []
            outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
            draws: dict[str, list[dict[str, float]]] = {}
            for rows in [self._rows.popleft() for _ in range(len(self._rows))]:
                for model, facts in draw_facts(rows):
                    draws.setdefault(model, []).append(dict(facts))
            alarms.observe_certain(sum(outcome.status == "certain" for outcome in outcomes))
            if known := [o.familiarity for o in outcomes if o.familiarity is not None]:
                raised += [alarm for _, alarm in alarms.observe_queries(known)]
            for model, of in draws.items():
                raised += [alarm for _, alarm in alarms.observe_draws(model, of)]
        self._tell(raised)

    def _all(self) -> Alarms:
        if self._alarms is None:
            from bestroute.monitoring.alarms import Alarms

            self._alarms = Alarms(self.target or 0.0, self.models, least_probability=self._share or 1.0)
        return self._alarms

    def _tell(self, raised: Sequence[Alarm]) -> None:
        for alarm in raised:
            logger.warning("alarm: %s", alarm)
            with self._guard():
                self._counts[alarm.kind, alarm.model] += 1
            for name, listener in (("the meter of alarms", self.meter), ("on_alarm", self.on_alarm)):
                try:
                    if listener is not None:
                        listener(alarm)
                except BaseException as error:  # raised by a user's function
                    logger.warning("%s raised: %s", name, describe(error))
                    if is_interruption(error):
                        raise
