"""Logs of other tools, read into prompts and records: one file for each export, and what all of them share."""
