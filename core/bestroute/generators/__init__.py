"""What draws samples: OpenAI-compatible endpoints, a local server of them, and replayed records."""
