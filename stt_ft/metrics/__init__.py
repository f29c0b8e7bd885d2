"""Metrics of transcripts, ends of turns and pause probabilities, as pure functions: no files, no torch."""
