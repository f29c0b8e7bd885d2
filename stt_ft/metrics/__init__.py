"""What is measured of transcripts and of ends of turns, as pure functions: no files, no torch."""
