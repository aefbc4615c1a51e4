"""What a policy takes notice of: audits, of this process and of others that share its ledger, and what needs none."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from bestroute._utils.fork_safe import ProcessState
from bestroute._utils.interruptions import is_interruption
from bestroute.billing.ledger import Ledger
from bestroute.billing.outcomes import CallOutcome
from bestroute.errors import ConfigError
from bestroute.errors.redaction import describe
from bestroute.monitoring.audits import as_audit
from bestroute.types.bases import PolicyBase, completed, has_own
from bestroute.types.protocols import Policy

logger = logging.getLogger("bestroute.engine")

CATCH_UP_S = 1.0
"""How often audits of other processes are looked for in a database."""
_LATE_S = 600.0
"""How long after its call an audit may be written, and still be taken notice of by other processes."""
_SETTLED_S = 1.0
"""How long after a call of others it is counted among those that lost nothing; by then it is in the database."""
_MOST_KNOWN = 20_000


class PolicyNotices(ProcessState):
    """Tells a policy of each audit once, and of calls that need none; what it raises costs nothing.

    Of a ledger that several engines write, what was decided for another target says nothing of this policy, and is left
    out. A fork goes on with what the policy knows.

    Args:
        policy: Takes notice if it has a method ``observe`` of its own.
        ledger: Where others' audits are found, and those of the time before this engine.
    """

    def __init__(self, policy: Policy | None, ledger: object) -> None:
        """Know of nothing yet."""
        super().__init__()
        whole = None if policy is None else completed(policy, PolicyBase)
        self._policy = whole if whole is not None and has_own(whole, PolicyBase.observe) else None
        self._target = None if whole is None else whole.max_drop
        self._ledger = ledger if isinstance(ledger, Ledger) else None
        self.share = 0.0
        """Of calls that are audited now."""
        self._known: dict[str, None] = {}
        """Calls whose audit was taken notice of."""
        self._own: deque[float] = deque()
        """When this process's calls were made that lost nothing and are to be left out of those of the ledger."""
        self._looked_at = self._newest = self._counted = -math.inf
        self._began = time.time()

    # In a call's thread.

    @property
    def is_behind(self) -> bool:
        """Whether it is time to look for what others have written; from then on it is not for a while."""
        if self._policy is None or self._ledger is None:
            return False
        wait_s = CATCH_UP_S if self._ledger.is_persistent else math.inf
        now = time.monotonic()
        if now < self._looked_at + wait_s:
            return False
        self._looked_at = now
        return True

    def certain(self, at: float) -> None:
        """Tell of a call that lost nothing, made at a moment, seconds since 1970."""
        if self._policy is not None and self._ledger is not None:
            if self._ledger.is_persistent:
                self._own.append(at)
            self._certain(1, self.share)

    def failed(self) -> None:
        """Tell of an audit that showed nothing."""
        if (policy := self._policy) is not None:
            self._safely(policy.observe_failed)

    # In a thread of the auditor's.

    def tell(self, outcome: CallOutcome) -> None:
        """Tell of an audit, once."""
        if (policy := self._policy) is None:
            return
        with self._guard():
            if outcome.call_id in self._known:
                return
            self._known[outcome.call_id] = None
            while len(self._known) > 2 * _MOST_KNOWN:
                del self._known[next(iter(self._known))]
        self._safely(lambda: policy.observe(as_audit(outcome)))

    def catch_up(self) -> None:
        """Tell of what the ledger has and this process does not know."""
        ledger, now = self._ledger, time.time()
        if ledger is None:
            return
        try:
            found = ledger.outcomes(since=min(self._newest, now) - _LATE_S, status="compared")
            found = [outcome for outcome in found if outcome.target == self._target][-_MOST_KNOWN:]
            certain = self._certain_calls(ledger, found, now)
        except ConfigError as error:
            logger.warning("audit: %s", error)
            return
        with self._guard():
            fresh = [outcome for outcome in found if outcome.call_id not in self._known]
        self._newest = max([self._newest, *(outcome.time for outcome in found)])
        for i, outcome in enumerate(fresh):
            before = certain // (len(fresh) - i)
            self._certain(before, outcome.probability)
            certain -= before
            self.tell(outcome)
        self._certain(certain, self.share)

    def _certain_calls(self, ledger: Ledger, found: Sequence[CallOutcome], now: float) -> int:
        """Return how many calls of others lost nothing since the last look, or since the first of so many audits."""
        until = now - _SETTLED_S if ledger.is_persistent else self._began
        since = min(self._counted, until)
        if since == -math.inf and len(found) == _MOST_KNOWN:
            since = found[0].time
        everybody = ledger.count_outcomes("certain", target=self._target, since=since, until=until)
        self._counted, own = until, 0  # only once the ledger has answered
        while self._own and self._own[0] < until:
            own += self._own.popleft() >= since
        return max(0, everybody - own)

    def _certain(self, calls: int, probability: float) -> None:
        if calls and (policy := self._policy) is not None:
            self._safely(lambda: policy.observe_certain(calls, probability))

    def _safely(self, notice: Callable[[], object]) -> None:
        try:
            notice()
        except BaseException as error:  # of a policy of somebody else's
            logger.warning("the policy could not take notice of an audit: %s", describe(error))
            if is_interruption(error):
                raise
