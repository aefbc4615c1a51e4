"""BestRoute for LangChain: a chat model made of chat models."""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError('BestRouteChat needs langchain-core: pip install "bestroute[langchain]"') from error

from langchain_bestroute.chat_models import BestRouteChat

__all__ = ["BestRouteChat"]
