"""BestRoute."""
