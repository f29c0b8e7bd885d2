"""Inverse text normalisation: spoken numbers written in digits again, whole texts or word by word as a stream brings them."""
