"""BestRoute for LangChain: a chat model made of chat models."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from bestroute._utils.extras import to_install as _to_install

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(f"BestRouteChat needs langchain-core: {_to_install('langchain')}") from error

from bestroute import ToolsInPrompt, __version__
from bestroute._utils.public import on_demand as _on_demand
from langchain_bestroute.chat_models import BestRouteChat

if _TYPE_CHECKING:
    from langchain_bestroute.decisions import BestRouteDecision as BestRouteDecision
    from langchain_bestroute.middleware import BestRouteMiddleware as BestRouteMiddleware

__all__ = ["BestRouteChat", "ToolsInPrompt", "__version__"]

_ON_DEMAND = {"BestRouteDecision": "decisions", "BestRouteMiddleware": "middleware"}
"""What needs more than langchain-core, or a newer one, and where it is; ``import *`` leaves it out."""

__getattr__ = _on_demand(__name__, globals(), _ON_DEMAND)


def __dir__() -> list[str]:
    """Name what is exported, imported yet or not."""
    return sorted({*globals(), *_ON_DEMAND})
