"""An OpenAI-compatible server over engines: chat completions and responses, answered by the pool's best plan."""
