"""What adapters of frameworks share; a third one is built from it."""
