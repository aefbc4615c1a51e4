"""BestRoute for LangChain: a chat model made of chat models."""

from bestroute._utils.extras import to_install

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(f"BestRouteChat needs langchain-core: {to_install('langchain')}") from error

from bestroute import ToolsInPrompt, __version__
from langchain_bestroute.chat_models import BestRouteChat

__all__ = ["BestRouteChat", "ToolsInPrompt", "__version__"]
