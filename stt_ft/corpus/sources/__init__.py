"""Corpora of others: how a clip is described in each format, and the words and times that stand beside it."""
