"""BestRoute for LlamaIndex: an LLM made of LLMs."""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise ImportError('BestRouteLLM needs llama-index-core: pip install "bestroute[llamaindex]"') from error

from llamaindex_bestroute.llm import BestRouteLLM

__all__ = ["BestRouteLLM"]
