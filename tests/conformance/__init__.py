"""Every provider's own class, alone and in a pool: the same call, the same answer, the same request."""
