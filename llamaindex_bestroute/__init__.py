"""BestRoute for LlamaIndex. ``BestRouteLLM`` comes with its own issue; nothing is exported before it works."""
