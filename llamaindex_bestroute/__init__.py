"""BestRoute for LlamaIndex. Not written yet: nothing is exported before it works."""
