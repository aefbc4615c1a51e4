"""Generators, which draw samples: OpenAI-compatible endpoints, a local server of one, batch files, replayed records."""
