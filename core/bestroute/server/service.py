"""State shared by all requests of a process, and the conversion of a request to an engine's call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from bestroute._utils.threads import in_own_thread
from bestroute.engine.call_context import STICKY
from bestroute.engine.engine import BestRoute
from bestroute.server.chat_request import ChatRequest
from bestroute.server.config import ServerConfig, read_keys_again
from bestroute.server.engines import Engines
from bestroute.server.keys import ApiKey, KeyRing
from bestroute.server.prometheus import Requests
from bestroute.server.tool_turns import mark_of

_CLOSE_S = 10.0
CHOICES = "several choices are asked for: one draw that has them all"


class Service:
    """The engines, keys and counters.

    Args:
        config: The validated configuration.

    Raises:
        ConfigError: If it is inconsistent.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Build everything; no model is called."""
        self.config = config
        self.engines = Engines(config)
        self.keys = KeyRing(config.keys, config.keys_file, read_keys_again, self.engines.ledger_store)
        self.requests = Requests()
        self.started = int(time.time())
        self._owners = {mark_of(model): model for model in config.pool.models}

    async def call(self, request: ChatRequest, key: ApiKey | None) -> tuple[BestRoute, dict[str, Any]]:
        """Return the engine that answers a request, and the options of the call.

        Raises:
            RequestError: If the model does not exist.
        """
        engine, chosen = self.engines.find(request.model)
        options = {**request.options, **chosen}
        options["deadline_s"] = min(options.get("deadline_s", self.config.timeout_s), self.config.timeout_s)
        if key is not None:
            options["tags"] = {**options.get("tags", {}), "key": key.name}
            options["budget"] = await self._budget(key)
        if "model" not in options and (owner := self._owners.get(request.mark or "")) is not None:
            options |= {"model": owner, "reason": STICKY}
        if request.choices > 1 and "model" not in options:
            options |= await self._one_draw(engine, request, options)
        return engine, options

    async def _one_draw(self, engine: BestRoute, request: ChatRequest, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return call options for a single draw of the model at the end of the plan."""
        known = {name: options[name] for name in ("allow", "session", "tags") if name in options}
        decision = await engine.aroute(request.query, **known)
        return {"model": decision.plan.steps[-1].model, "n": 1, "reason": CHOICES}

    async def _budget(self, key: ApiKey) -> Any:
        if self.keys.is_ready(key):
            return self.keys.budget_of(key)
        return await in_own_thread(self.keys.budget_of, key)  # it may open a database

    async def aclose(self) -> None:
        """Wait for calls in progress to be billed, write pending data, close the members' connections."""
        until = time.monotonic() + _CLOSE_S
        while self.requests.under_way and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for engine in self.engines.each():
            await engine.aclose()
        await in_own_thread(self.close)

    def close(self) -> None:
        """Write pending data of budgets, ledger and, last, traces."""
        self.keys.close()
        self.engines.close()
