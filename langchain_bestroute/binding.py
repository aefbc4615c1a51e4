"""What a member's ``bind_tools`` or ``with_structured_output`` returns, as a model and the arguments of its call."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding

from bestroute.errors import ConfigError


def bound_call(bound: Runnable[Any, Any], member: BaseChatModel, method: str) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the chat model that is to be called and the arguments that were bound to it.

    Args:
        bound: What the member returned: ``member.bind(...)``, a chat model (itself, or a copy that has the tools).
        member: The member.
        method: Its method, for the error.

    Raises:
        ConfigError: If it is anything else, of which the pool cannot call the model alone.
    """
    model: Any = bound
    kwargs: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        model, kwargs = model.bound, {**model.kwargs, **kwargs}
    if isinstance(model, BaseChatModel):
        return model, kwargs
    raise ConfigError(
        f"{type(member).__name__}.{method} returned a {type(model).__name__}; in a pool it has to return the chat "
        "model, or the chat model with arguments bound (self.bind(...))"
    )
