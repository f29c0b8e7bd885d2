"""Simulated speakers: synthetic recordings with known words and times, for the demo, the tests and the tiny model."""
