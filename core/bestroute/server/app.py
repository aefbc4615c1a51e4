"""The ASGI application: OpenAI's endpoints, and ours."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bestroute._utils.interruptions import is_interruption
from bestroute._utils.text import brief
from bestroute._utils.threads import in_own_thread
from bestroute._utils.version import __version__
from bestroute.engine.decision import Decision
from bestroute.engine.result import Result
from bestroute.errors import ConfigError, StoreError
from bestroute.errors.redaction import describe
from bestroute.server.admission import admit
from bestroute.server.api_errors import ApiErrorBody, RequestError, api_error
from bestroute.server.body import read_json
from bestroute.server.chat_reply import ChatWire
from bestroute.server.chat_request import ChatRequest, read_chat
from bestroute.server.config import ServerConfig
from bestroute.server.decision_headers import headers_of_decision, headers_of_result
from bestroute.server.disconnects import ClientGoneError, while_connected
from bestroute.server.exchange import Exchange
from bestroute.server.prometheus import CONTENT_TYPE, alarm_lines, ledger_lines
from bestroute.server.responses_reply import ResponsesWire
from bestroute.server.responses_request import from_responses
from bestroute.server.service import Service
from bestroute.server.telemetry import continued
from bestroute.server.wire import Wire

Handler = Callable[[Service, Exchange], Awaitable[None]]
_HUNG_UP = 499
_STOPS = RequestError(503, "the server stops, and the call was cancelled; ask again", code="server_stopping")
_LAST_WORDS_S = 1.0
"""How long to wait for slow readers when the server stops, seconds."""
logger = logging.getLogger("bestroute.server")


def create_app(config: ServerConfig) -> Starlette:
    """Return the application of a configuration; its lifespan closes it.

    Raises:
        ConfigError: If the configuration is inconsistent.
    """
    service = Service(config)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await service.aclose()

    def post(path: str, handler: Handler) -> Route:
        return Route(path, RouteHandler(service, path, handler), methods=["POST"])

    def get(path: str, handler: Handler, *, needs_key: bool = True) -> Route:
        return Route(path, RouteHandler(service, path, handler, needs_key=needs_key), methods=["GET"])

    app = Starlette(
        routes=[
            post("/v1/chat/completions", chat_completions),
            post("/v1/responses", responses),
            post("/v1/feedback", feedback),
            get("/v1/models", list_models),
            get("/v1/models/{model:path}", retrieve_model),
            get("/health", health, needs_key=False),
            get("/metrics", metrics),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _not_ours},
    )
    app.state.service = service
    return app


class RouteHandler:
    """An endpoint: admits a request, runs its handler, and converts errors to OpenAI's format.

    Args:
        service: The service shared by all endpoints.
        path: Path of the route.
        handler: Answers a request.
        needs_key: Whether callers need a key, if there are keys.
    """

    def __init__(self, service: Service, path: str, handler: Handler, *, needs_key: bool = True) -> None:
        """Store the arguments."""
        self._service, self._path, self._handler, self._needs_key = service, path, handler, needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        service, exchange = self._service, Exchange(scope, receive, send)
        started = time.perf_counter()
        service.requests.under_way += 1
        status: int | None = None
        try:
            if self._needs_key:
                exchange.key = admit(exchange.request, service.keys, service.config.host)
            with continued(exchange.request.headers) if service.engines.tracing is not None else nullcontext():
                await self._handler(service, exchange)
        except ClientGoneError:
            status = _HUNG_UP
        except asyncio.CancelledError:  # cancelled by uvicorn after ``stop_s``
            status = _STOPS.body.status
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await _tell(exchange, _STOPS.body)
        except BaseException as error:
            if is_interruption(error):
                raise
            await _tell(exchange, api_error(error, exchange.query))
        finally:
            service.requests.under_way -= 1
            seconds = time.perf_counter() - started
            service.requests.note(self._path, exchange.model, status or exchange.status, seconds)


async def _tell(exchange: Exchange, error: ApiErrorBody) -> None:
    """Send an error, in place of the answer or, if that has begun, as its last event."""
    if exchange.status:
        for event, data in () if exchange.wire is None else exchange.wire.failed(error):
            await exchange.send_event(data, event)
        await exchange.end_stream()
        exchange.status = error.status
        return
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
    await exchange.send_json(error.to_json(), error.status, {**error.headers, **headers})


async def chat_completions(service: Service, exchange: Exchange) -> None:
    """Answer ``POST /v1/chat/completions``."""
    body = await read_json(exchange.request, service.config.most_bytes)
    request = read_chat(body)
    marks = request.model not in service.engines.pool.models
    await _answer(service, exchange, request, ChatWire(request.model, wants_usage=request.wants_usage, marks=marks))


async def responses(service: Service, exchange: Exchange) -> None:
    """Answer ``POST /v1/responses``."""
    body = await read_json(exchange.request, service.config.most_bytes)
    request = read_chat(from_responses(body))
    await _answer(
        service, exchange, request, ResponsesWire(body, marks=request.model not in service.engines.pool.models)
    )


async def _answer(service: Service, exchange: Exchange, request: ChatRequest, wire: Wire) -> None:
    exchange.query, exchange.wire = request.query, wire
    engine, options = await service.call(request, exchange.key)
    exchange.model = request.model

    async def whole() -> Result:
        return await engine.arun(request.query, **options)

    async def streamed() -> None:
        decisions: list[tuple[Decision, str]] = []
        stream = engine.astream(request.query, on_decision=lambda *made: decisions.append(made), **options)
        async with aclosing(stream) as items:  # type: ignore[type-var]
            async for item in items:
                if not exchange.status:  # so late, an error before the first piece has a status of its own
                    await exchange.start_stream(headers_of_decision(*decisions[0]))
                for event, data in wire.end(item) if isinstance(item, Result) else wire.pieces(item):
                    await exchange.send_event(data, event)
        await exchange.end_stream()

    if request.streams:
        await while_connected(exchange.receive, streamed())
        return
    result = await while_connected(exchange.receive, whole())
    await exchange.send_json(wire.whole(result), headers=headers_of_result(result))


async def feedback(service: Service, exchange: Exchange) -> None:
    """Answer ``POST /v1/feedback``: ``{"call_id", "score", "note"}``."""
    body = await read_json(exchange.request, service.config.most_bytes)
    call_id, score, note = body.get("call_id"), body.get("score"), body.get("note")
    if not isinstance(call_id, str) or not call_id:
        raise RequestError(400, "call_id must be the bestroute.call_id of an answer", param="call_id")
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise RequestError(400, "score must be a number in [0, 1], or true or false", param="score")
    if note is not None and not isinstance(note, str):
        raise RequestError(400, "note must be a text", param="note")
    try:
        await service.engines.auto.afeedback(call_id, score, note=note)
    except StoreError:
        raise
    except ConfigError as error:
        raise RequestError(404, f"no call {brief(call_id)} is known", code="call_not_found", param="call_id") from error
    await exchange.send_json({"object": "feedback", "call_id": call_id, "score": float(score)})


async def list_models(service: Service, exchange: Exchange) -> None:
    """Answer ``GET /v1/models``."""
    await exchange.send_json({"object": "list", "data": [_model(service, name) for name in service.engines.names]})


async def retrieve_model(service: Service, exchange: Exchange) -> None:
    """Answer ``GET /v1/models/NAME``."""
    name = exchange.request.path_params["model"]
    service.engines.find(name)
    await exchange.send_json(_model(service, name))


def _model(service: Service, name: str) -> dict[str, Any]:
    owner = "member" if name in service.engines.pool.models else "policy"
    return {"id": name, "object": "model", "created": service.started, "owned_by": f"bestroute-{owner}"}


async def health(service: Service, exchange: Exchange) -> None:
    """Answer ``GET /health``."""
    await exchange.send_json({"status": "ok", "version": __version__})


async def metrics(service: Service, exchange: Exchange) -> None:
    """Answer ``GET /metrics``."""
    raised = service.engines.alarms_raised
    lines = [*service.requests.lines(), *alarm_lines(raised), *await in_own_thread(_spend, service)]
    await exchange.send_bytes("".join(f"{line}\n" for line in lines).encode(), CONTENT_TYPE)


def _spend(service: Service) -> list[str]:
    """Return the ledger's metrics; empty if it cannot be read, so that the others stay available."""
    try:
        return list(ledger_lines(service.engines.ledger.totals("model")))
    except StoreError as error:
        logger.error("/metrics says nothing of what was spent: %s", describe(error))
        return []


async def _not_ours(request: Request, error: Exception) -> Response:
    """Return OpenAI's error for an unknown endpoint or method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {404: f"there is no {request.url.path[:200]}", 405: f"{request.url.path[:200]} takes no {request.method}"}
    body = RequestError(status, words.get(status, "the request cannot be answered"), code="unknown_url").body
    return JSONResponse(body.to_json(), status)
