"""The engine of `bestroute route`, made from a router's folder, on this machine or in a worker of a cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestroute._utils.text import utf8

if TYPE_CHECKING:
    from bestroute.engine.engine import BestRoute
    from bestroute.router import MultiHeadRouter
    from bestroute.types.pool import Pool


def deciding_engine(router: MultiHeadRouter, pool: Pool | None = None, **options: Any) -> BestRoute:
    """Return an engine for decisions alone: its members must not be called.

    Args:
        router: The router.
        pool: Replaces the router's own pool, for other prices.
        options: ``policy`` or ``threshold``.
    """
    from bestroute.engine.engine import BestRoute
    from bestroute.generators.openai import OpenAIGenerator
    from bestroute.reward_models.majority_vote import MajorityVote

    pool = pool or router.pool
    members = {m: OpenAIGenerator(m, native_n=pool.bills(m) == "once") for m in pool.models}
    return BestRoute(pool, members, router, MajorityVote(), **options)


@dataclass(frozen=True)
class MakeEngine:
    """Makes the engine, here or on another machine where the paths are valid.

    Args:
        folder: The router's folder.
        pool: A pool file with other prices, names or addresses than the router's own.
        policy: As on the command line; default: the router's own.
        reward: Name or folder of a reward model; default: the one that the router was trained with.
        ledger: URL of the ledger; ``None``: the engine only decides.
    """

    folder: Path
    pool: Path | None = None
    policy: str | None = None
    reward: str | None = None
    ledger: str | None = None

    def __call__(self) -> BestRoute:
        """Read the folder and make the engine; no model is called.

        Raises:
            ConfigError: If the parts do not fit together, or a member's key is not set.
        """
        from bestroute.billing.ledger import Ledger
        from bestroute.engine.engine import BestRoute
        from bestroute.engine.router_reward import trained_reward
        from bestroute.generators.openai import generators_from
        from bestroute.reward_models.by_name import reward_by_name
        from bestroute.router import MultiHeadRouter
        from bestroute.types.pool import Pool

        router = MultiHeadRouter.from_pretrained(self.folder)
        pool = router.pool if self.pool is None else Pool.from_file(self.pool)
        if self.ledger is None:
            return deciding_engine(router, pool, policy=self.policy)
        reward = trained_reward(router, self.folder) if self.reward is None else reward_by_name(self.reward)
        return BestRoute(pool, generators_from(pool), router, reward, self.policy, Ledger(self.ledger))

    def fingerprint(self, engine: BestRoute, job: str, pool: Pool | None = None) -> str:
        """Return a hash of everything that determines the decisions, and with a ledger the answers, of a job.

        Args:
            engine: The engine that this object made.
            job: The job's name.
            pool: A pool with the prices that are actually paid, if they differ from the engine's.
        """
        draws = None if self.ledger is None else [job, self.reward, getattr(engine.reward_model, "fingerprint", None)]
        made_of = [engine.router.fingerprint, str(engine.policy), (pool or engine.pool).to_dict(), draws]
        return sha256(utf8(json.dumps(made_of, sort_keys=True))).hexdigest()[:16]
