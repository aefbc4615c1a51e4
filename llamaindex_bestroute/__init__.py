"""BestRoute for LlamaIndex: an LLM made of LLMs."""

from bestroute._utils.extras import to_install

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise ImportError(f"BestRouteLLM needs llama-index-core: {to_install('llamaindex')}") from error

from bestroute import ToolsInPrompt, __version__
from llamaindex_bestroute.llm import BestRouteLLM

__all__ = ["BestRouteLLM", "ToolsInPrompt", "__version__"]
