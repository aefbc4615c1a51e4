"""Import of other tools' logs as prompts and records: one module per format, and what they share."""
