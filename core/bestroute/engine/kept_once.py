"""What was paid for is kept where any machine finds it again, its bill first: what is kept is billed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bestroute.billing.ledger import Ledger
from bestroute.errors import ConfigError

if TYPE_CHECKING:
    from bestroute.billing.database.kept_answers import Answers

logger = logging.getLogger(__name__)


def keep_billed(ledger: Ledger, answers: Answers, key: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Keep an answer whose bill was handed to the ledger, and return the one that is kept.

    Where the database is away, the answer is returned all the same: it is paid for. Its bill waits in memory.

    Args:
        ledger: Has the bill.
        answers: Where it is kept.
        key: What it is found by.
        answer: What was paid for.
    """
    if not ledger.flush():
        logger.warning("the ledger %r takes no rows now, so an answer is not kept for other machines", ledger.url)
        return dict(answer)
    try:
        return answers.keep(key, answer)
    except ConfigError as error:
        logger.warning("an answer is not kept for other machines: %s", error)
        return dict(answer)
