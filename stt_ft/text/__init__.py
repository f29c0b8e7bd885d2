"""Written and spoken forms of a text, as pure functions: no files, no torch."""
