"""``llama_index.llms.bestroute``: the name by which LlamaIndex's users look for an LLM."""

from llamaindex_bestroute import BestRouteLLM

__all__ = ["BestRouteLLM"]
