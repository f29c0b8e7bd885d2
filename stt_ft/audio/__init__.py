"""Sound: files, the microphone, the telephone channel and synthesised speech."""
