"""``BestRouteMiddleware``: every model call of an agent is routed, and the graph's state says how.

The router decides anew for each call of the model; the results of tools go to whoever called the tools. A
``BestRouteChat`` does that by the messages alone. The state keeps the same for agents whose other middleware writes
messages anew, and what the thread's calls cost in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, NotRequired

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage

from bestroute._utils.extras import to_install
from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from langchain_bestroute.chat_models import BestRouteChat
from langchain_bestroute.messages import METADATA_KEY, turn_owner, writer_of

try:
    from langchain.agents.middleware.types import (
        AgentMiddleware,
        AgentState,
        ExtendedModelResponse,
        ModelRequest,
        ModelResponse,
        OmitFromInput,
    )
    from langgraph.types import Command
except ImportError as error:
    raise ImportError(f"BestRouteMiddleware needs langchain: {to_install('langchain')} langchain") from error

STATE_KEY = "bestroute"


_SUMS = ("calls", "samples", "cost_usd", "reference_cost_usd")


def with_call(before: Mapping[str, Any] | None, call: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent's state after one more model call; the graph's reducer.

    Args:
        before: The state so far: ``calls``, ``samples``, ``cost_usd``, ``reference_cost_usd``, ``by_model`` (calls)
            and ``last``, the decision of the last call; empty at first.
        call: The same of one call.

    Example:
        >>> one = {"calls": 1, "samples": 2, "cost_usd": 0.5, "reference_cost_usd": 2.0, "by_model": {"small": 1}}
        >>> with_call(with_call({}, one), {**one, "by_model": {"large": 1}})["by_model"]
        {'small': 1, 'large': 1}
    """
    if not before:
        return dict(call)
    by_model = Counter(before["by_model"]) + Counter(call["by_model"])
    return {**call, **{name: before[name] + call[name] for name in _SUMS}, "by_model": dict(by_model)}


class BestRouteState(AgentState[Any]):
    """What an agent's graph keeps of its routed calls."""

    bestroute: NotRequired[Annotated[dict[str, Any], OmitFromInput, with_call]]
    """Plain JSON of all calls of the thread; see ``with_call``."""


class BestRouteMiddleware(AgentMiddleware[BestRouteState, Any, Any]):
    """Routes every model call of an agent made by ``create_agent``.

    The agent's own model is not called: each call goes to the pool, where the router chooses model and plan for it.
    Tools, structured output, streaming, checkpointers and threads work as with any chat model. After each call the
    state's key ``bestroute`` holds what the thread's calls cost in all and the decision of the last one.

    Put it before middleware that is to see the pool as the model (``ModelFallbackMiddleware``), and after middleware
    that is to see the agent's own (``AnthropicPromptCachingMiddleware``).

    Args:
        model: The pool.

    Raises:
        ConfigError: If it is not a ``BestRouteChat``.

    Example::

        pool = BestRouteChat(models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"}, router="router/")
        agent = create_agent("openai:gpt-4o", tools=[search], middleware=[BestRouteMiddleware(pool)])
        state = agent.invoke({"messages": [("user", "What is in stock?")]})
        state["bestroute"]["cost_usd"], state["bestroute"]["by_model"]
    """

    state_schema = BestRouteState

    def __init__(self, model: BestRouteChat) -> None:
        """Keep the pool."""
        super().__init__()
        if not isinstance(model, BestRouteChat):
            raise ConfigError(f"BestRouteMiddleware takes a BestRouteChat, got {brief(model)}")
        self.model = model

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ExtendedModelResponse[Any]:
        """Let the pool answer, and note how."""
        return _noted(handler(self._routed(request)))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ExtendedModelResponse[Any]:
        """Let the pool answer without blocking the loop, and note how."""
        return _noted(await handler(self._routed(request)))

    def _routed(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        state: Mapping[str, Any] = request.state
        calls = state.get(STATE_KEY)
        messages = with_writer(request.messages, calls["last"] if calls else {})
        return request.override(model=self.model, messages=messages)


def with_writer(messages: list[AnyMessage], last: Mapping[str, Any]) -> list[AnyMessage]:
    """Return messages that say who made the tool calls they end with, where only the state still knows.

    Args:
        messages: The request's; they are not changed.
        last: The decision of the last call, with the ``tool_calls`` (ids) it made.
    """
    place = _place_of_calls(messages)
    if place is None or turn_owner(messages) is not None:
        return messages
    message = messages[place]
    assert isinstance(message, AIMessage)
    if writer_of(message) is not None or [call["id"] for call in message.tool_calls] != last.get("tool_calls"):
        return messages
    about = {**message.response_metadata, METADATA_KEY: {"model": last["model"]}}
    return [*messages[:place], message.model_copy(update={"response_metadata": about}), *messages[place + 1 :]]


def _place_of_calls(messages: Sequence[BaseMessage]) -> int | None:
    """Return where the tool calls were made that the last messages answer; ``None`` if they answer none."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage):
            return place if message.tool_calls and place < len(messages) - 1 else None
        if not isinstance(message, ToolMessage):
            return None
    return None


def _noted(response: ModelResponse[Any]) -> ExtendedModelResponse[Any]:
    """Return a response that writes its call into the state; where another model than the pool answered, nothing."""
    message = next((m for m in reversed(response.result) if isinstance(m, AIMessage)), None)
    about = None if message is None else message.response_metadata.get(METADATA_KEY)
    if message is None or not isinstance(about, Mapping):
        return ExtendedModelResponse(response)
    return ExtendedModelResponse(response, Command(update={STATE_KEY: _call_of(message, about)}))


def _call_of(message: AIMessage, about: Mapping[str, Any]) -> dict[str, Any]:
    usage: Mapping[str, Any] = message.usage_metadata or {}
    is_cached = about["cost_usd"] > 0 and usage.get("total_cost") == 0  # LangChain's cache says so
    made = [call["id"] for call in message.tool_calls]
    return {
        "calls": 1,
        "samples": 0 if is_cached else about["n"],
        "cost_usd": 0.0 if is_cached else about["cost_usd"],
        "reference_cost_usd": about["reference_cost_usd"],
        "by_model": {about["model"]: 1},
        "last": {**about, "tool_calls": made},
    }
