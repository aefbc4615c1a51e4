"""A run: decide, sample, score, choose, bill."""
