"""An OpenAI-compatible server over one engine: chat completions and responses, answered by the pool's best plan."""
